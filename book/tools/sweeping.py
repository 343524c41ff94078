"""Compute one shard of a notebook's points, and all of them with Snakemake."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from book.tools.own import own_run, without_published
from book.tools.project import BUILD, ROOT, BuildError, find_notebook, say
from book.tools.running import execute, raise_failures

SWEEPS = BUILD / "sweep"
PUBLISHED = "published"
QUIET = ("host", "progress", "reason", "rules")


def computing_part(notebook: Any) -> Any:
    """Cut a notebook down to what computes points: code down to the last cell tagged `points`, without figures."""
    code = [cell for cell in without_published(notebook).cells if cell.cell_type == "code"]
    places = [place for place, cell in enumerate(code) if "points" in cell.metadata.get("tags", [])]
    if not places:
        raise BuildError("no cell of this notebook is tagged `points`, so there is nothing to share out")
    kept = code[: places[-1] + 1]
    notebook.cells = [cell for place, cell in enumerate(kept) if place in places or not _draws(cell)]
    return notebook


def _draws(cell: Any) -> bool:
    return "figure" in cell.metadata.get("mystnb", {})


def where(name: str, words: list[str]) -> tuple[dict[str, Any], Path]:
    """Return the parameters of a sweep and the folder of its marks.

    Args:
        name: Of the notebook.
        words: `published` for the points of results/ themselves, else `-p name value` triples.
    """
    if words == [PUBLISHED]:
        return {"profile": "full", "store": "results"}, SWEEPS / name
    run = own_run(name, words, "full")
    return run.parameters, run.folder / "shards"


def compute_shard(name: str, words: list[str]) -> Path:
    """Compute the points of one shard into the store, unmerged; return the executed part of the notebook.

    Args:
        name: of the notebook.
        words: the shard as `i/n`, then what `where` takes.
    """
    import nbformat

    path = find_notebook(name)
    shard, *rest = words or [""]
    numbers = re.fullmatch(r"(\d+)/(\d+)", shard)
    if numbers is None or int(numbers[1]) >= int(numbers[2]):
        raise BuildError(f"a shard is given as i/n with 0 <= i < n, got {shard!r}")
    parameters, folder = where(path.stem, rest)
    stem = "{}-of-{}".format(*numbers.groups())
    output = folder / f"{stem}.ipynb"
    os.environ["METAMERLIB_SHARD"] = shard
    with tempfile.TemporaryDirectory() as scratch:
        part = Path(scratch) / f"{stem}.ipynb"
        nbformat.write(computing_part(nbformat.read(path, as_version=4)), part)
        run = execute(part, output, parameters, ROOT)
    raise_failures([run], output.parent)
    say(f"{path.stem}: shard {shard} is done after {run.seconds:.0f} s")
    return output


def sweep(name: str, words: list[str]) -> None:
    """Compute all points of a notebook in several processes at once, then merge and render.

    Args:
        name: of the notebook.
        words: number of shards, number of processes, then what `where` takes.
    """
    path = find_notebook(name)
    (count, jobs), rest = words[:2], words[2:]
    if not (count.isdigit() and jobs.isdigit() and int(count) and int(jobs)):
        raise BuildError(f"SHARDS and JOBS are whole numbers from 1, got {count!r} and {jobs!r}")
    where(path.stem, rest)
    settings = [f"notebook={path.stem}", f"shards={count}", f"args={shlex.join(rest)}"]
    command = [sys.executable, "-m", "snakemake", "--cores", jobs, "--rerun-incomplete", "--quiet", *QUIET]
    SWEEPS.mkdir(parents=True, exist_ok=True)
    # The system gives this lock back when a sweep is killed; Snakemake's own would have to be taken off by hand.
    with (SWEEPS / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError("another sweep is running here; only one at a time may merge") from None
        done = subprocess.run([*command, "--nolock", "--config", *settings], cwd=ROOT, pass_fds=[lock.fileno()])
    if done.returncode:
        raise BuildError(f"the sweep of {path.stem} did not finish; its points are kept, so run it again")
