"""Ctrl-C ends a book that is being computed within seconds, leaves nothing half-written, and the next run goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.helpers.copies import copy_of_the_project, environment

NOTEBOOKS = ["09_dimension_and_invariance", "10_graph_metamers"]


def kernels(folder: Path) -> list[int]:
    """Return the processes that work in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if folder in Path(process.cwd()).parents and "ipykernel" in " ".join(process.cmdline()):
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def wait_until(condition, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.2)
    return bool(condition())


@pytest.mark.whole
def test_ctrl_c_ends_the_book_at_once_and_the_next_run_goes_on(tmp_path):
    project = copy_of_the_project(tmp_path, NOTEBOOKS)
    command = [sys.executable, "-m", "book.tools", "quick", "--jobs", "2"]
    started = subprocess.Popen(
        command, cwd=project, env=environment(project), start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert wait_until(lambda: len(kernels(project)) == 2, 90), started.communicate(timeout=5)
    time.sleep(3)
    asked = time.monotonic()
    os.killpg(started.pid, signal.SIGINT)
    said, _ = started.communicate(timeout=30)
    assert time.monotonic() - asked < 10
    assert started.returncode == 130 and "the same command goes on from there" in said
    assert "Traceback" not in said and "ERROR" not in said
    assert wait_until(lambda: not kernels(project), 15)
    executed = project / "_build" / "quick" / "notebooks"
    assert not [*executed.glob("*")]
    assert not [path for path in project.rglob("*.part")] and not [path for path in project.rglob(".*.tmp")]

    again = "from book.tools import build; build.compute_quick(False, 2)"
    done = subprocess.run(
        [sys.executable, "-c", f"if __name__ == '__main__':\n    {again}"],
        cwd=project, env=environment(project), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ERROR" not in done.stdout + done.stderr
    assert sorted(path.stem for path in executed.glob("*.ipynb")) == NOTEBOOKS
