"""Sweeps: which part of a notebook a shard runs, and what the Snakefile makes of it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book.tools import project, sweeping

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_a_shard_runs_code_down_to_the_last_points_and_draws_nothing():
    points, figure = {"tags": ["points"]}, {"mystnb": {"figure": {"name": "fig-a"}}}
    kinds = [("a = 1", {}), ("t = 0", points), ("draw(t)", figure), ("b = 2", {}), ("u = 0", points), ("t.mean()", {})]
    cells = [
        cell for text, about in kinds for cell in (new_markdown_cell("words"), new_code_cell(text, metadata=about))
    ]
    part = sweeping.computing_part(new_notebook(cells=cells))
    assert [cell.source for cell in part.cells] == ["a = 1", "t = 0", "b = 2", "u = 0"]


def test_a_notebook_without_points_is_an_error():
    with pytest.raises(project.BuildError, match=r"no cell of this notebook is tagged `points`"):
        sweeping.computing_part(new_notebook(cells=[new_code_cell("1 + 1")]))


@pytest.mark.parametrize("words", [[], ["2/2"], ["0-2"], ["-p", "seeds", "0"]])
def test_a_malformed_shard_is_an_error(words):
    with pytest.raises(project.BuildError, match="a shard is given as i/n"):
        sweeping.compute_shard(NOTEBOOKS[0].stem, words)


@pytest.mark.parametrize("words", [["0", "2"], ["two", "2"], ["2", "-1"]])
def test_malformed_numbers_of_shards_and_jobs_are_errors(words):
    with pytest.raises(project.BuildError, match="SHARDS and JOBS are whole numbers"):
        sweeping.sweep(NOTEBOOKS[0].stem, words)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_can_be_shared_out(path):
    notebook = nbformat.read(path, as_version=4)
    if not any("points" in cell.metadata.get("tags", []) for cell in notebook.cells):
        pytest.skip("this notebook computes no points")
    part = sweeping.computing_part(notebook)
    assert "parameters" in part.cells[0].metadata["tags"]


@pytest.mark.skipif(importlib.util.find_spec("snakemake") is None, reason="Snakemake comes with `make sweep`")
def test_snakemake_orders_shards_before_the_notebook(tmp_path):
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--dry-run", "--nolock"]
    for folder in ("notebooks", "metamerlib"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    settings = ["--config", f"notebook={NOTEBOOKS[0].stem}", "shards=3", "args=-p seeds 0"]
    said = subprocess.run([*command, *settings], cwd=tmp_path, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    plan = said.stdout + said.stderr
    assert all(f"{i}-of-3.done" in plan for i in range(3)) and "rule notebook" in plan
