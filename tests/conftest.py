"""One thread per test process, as every command of the Makefile has it, and no window for a figure."""

import os

import pytest

os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="0", MPLBACKEND="Agg")


@pytest.fixture
def graph():
    """The karate club with random float64 features."""
    from metamerlib.graphs.edit import with_features
    from metamerlib.graphs.load import load_graph
    from tests.helpers.metamers import features

    return with_features(load_graph("karate").clone(), features(100))


@pytest.fixture(scope="session")
def browser():
    """Chromium, started once for each test process."""
    from tests.helpers.browser import launched

    yield from launched()
