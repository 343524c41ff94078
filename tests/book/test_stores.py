"""Runs and sweeps on parameters of one's own leave the published results alone, and publishing still works."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.helpers.copies import changed, copy_of_the_project, environment

NAME = "01_first_metamer"


def build(project: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "book.tools", *words],
        cwd=project, env=environment(project), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.whole
def test_a_sweep_with_other_seeds_leaves_the_checkout_clean_and_publish_passes(tmp_path):
    project = copy_of_the_project(tmp_path, [NAME])
    other = ["-p", "profile", "quick", "-p", "graphs", "karate", "-p", "layers", "2", "-p", "seeds", "7,8"]
    # What the rules of the Snakefile call, one after the other.
    for shard in ("0/2", "1/2"):
        build(project, "shard", NAME, shard, *other)
    said = build(project, "run", NAME, *other)
    assert changed(project) == ""
    (folder,) = (project / "_build" / "runs" / NAME).iterdir()
    rows = pd.read_parquet(folder / "results" / f"{NAME}.parquet")
    assert sorted(rows["seed"]) == [7, 8] and f"{NAME}: " not in said  # nothing was left to the last rule
    assert (folder / "shards" / "0-of-2.ipynb").is_file() and (folder / "page" / "notebooks" / f"{NAME}.html").is_file()

    build(project, "publish", NAME)
    names = [line[3:] for line in changed(project).splitlines()]
    assert not [name for name in names if name.endswith((".parquet", ".csv", ".svg", ".pdf", ".png"))]
