"""What a long computation says to the terminal."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable


def to_terminal(line: str) -> None:
    """Write a line to the terminal's error stream; in a notebook it does not land in the saved outputs."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.write(sys.stderr.fileno(), f"{line}\n".encode())


def terminal_writer(name: str, total: int) -> Callable[[int, str | None], None]:
    """Return a function that says how many of `total` points are done, every ten seconds and at each new error."""
    start, shown = time.perf_counter(), -math.inf
    told: set[str | None] = {None}

    def say(done: int, error: str | None) -> None:
        nonlocal shown
        now = time.perf_counter()
        error = None if error in told else error
        told.add(error)
        if error is None and done < total and now - shown < 10:
            return
        shown, seconds = now, now - start
        left = f", about {seconds / done * (total - done):.0f} s left" if done < total else ""
        failed = f", failed: {error}" if error else ""
        to_terminal(f"{name}: {done}/{total} points, {seconds:.0f} s{left}{failed}")

    return say
