"""Benchmarks of the GPU and of growth: they run to their end on small graphs on a processor, every part of them."""

import subprocess
import sys

import pandas as pd
import pytest

from tests.helpers.copies import ROOT, environment

PARTS = {
    "gpu": {"loss", "restarts", "collection", "bits", "edges", "dimension", "bandwidth", "waits", "equal"},
    "growth": {"features", "bits", "edges", "dimension", "null_draws", "compare"},
}
WORDS = {"gpu": ["--device", "cpu", "--small"], "growth": ["--small", "--sizes", "1000"]}


@pytest.mark.parametrize("name", PARTS)
def test_every_part_ends(name, tmp_path, record_property):
    command = [sys.executable, f"benchmarks/{name}.py", *WORDS[name], "--output", str(tmp_path / "out.csv")]
    done = subprocess.run(command, cwd=ROOT, env=environment(ROOT), capture_output=True, text=True)
    assert done.returncode == 0 and "FAILED" not in done.stdout, done.stdout + done.stderr
    table = pd.read_csv(tmp_path / "out.csv")
    assert set(table["part"]) == PARTS[name] and "error" not in table
    assert name != "gpu" or table["same"].dropna().all()
    record_property("cases", len(PARTS[name]))
