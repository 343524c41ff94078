import math

import pytest

from metamerlib.search.discrete_loop import solve_discrete


class Losses:
    """A solver that shows the given losses; its states are the positions in the list."""

    def __init__(self, *losses):
        self.losses, self.copied = losses, []

    def iterate(self, problem):
        for index, loss in enumerate(self.losses):
            yield (lambda index=index: self.copied.append(index) or index), loss


def run(solver, max_steps=1000, rtol=1e-9, **others):
    return solve_discrete(None, solver, max_steps=max_steps, rtol=rtol, **others)


def test_best_state_is_kept_and_only_improvements_are_copied():
    solver = Losses(0.5, 0.7, 0.2, 0.3, 0.2)
    found = run(solver)
    assert (found.state, found.loss, found.status, found.steps) == (2, 0.2, "stalled", 5)
    assert solver.copied == [0, 2]


def test_tolerance_ends_the_search():
    found = run(Losses(0.5, 0.1, 0.01), rtol=0.1)
    assert (found.state, found.status, found.steps) == (1, "converged", 2)


def test_steps_run_out():
    found = run(Losses(0.5, 0.4, 0.3), max_steps=2)
    assert (found.state, found.status, found.steps) == (1, "max_steps", 2)


def test_flat_loss_stalls_only_when_asked():
    flat = [0.5] * 200
    assert run(Losses(*flat), stall_rtol=1e-3).steps == 51
    assert run(Losses(*flat)).steps == 200
    falling = [0.99**n for n in range(200)]
    assert run(Losses(*falling), stall_rtol=0.1).steps == 200


def test_values_that_are_not_finite_are_never_best():
    found = run(Losses(math.nan, 0.5, math.inf, 0.4))
    assert (found.state, found.status) == (3, "stalled")
    found = run(Losses(*[math.nan] * 20))
    assert (found.state, found.loss, found.status, found.steps) == (None, math.inf, "non_finite", 8)
    found = run(Losses(0.5, *[math.nan] * 20))
    assert (found.state, found.loss, found.status, found.steps) == (0, 0.5, "non_finite", 9)


def test_history_holds_every_loss_in_order_of_time():
    history = run(Losses(0.5, 0.7, 0.2)).history
    assert list(history.columns) == ["step", "loss", "seconds"]
    assert history.loss.tolist() == [0.5, 0.7, 0.2] and history.step.tolist() == [1, 2, 3]
    assert history.seconds.is_monotonic_increasing


@pytest.mark.parametrize("losses", [[], [math.nan]])
def test_nothing_finite_is_no_metamer(losses):
    assert run(Losses(*losses)).status == "non_finite"
