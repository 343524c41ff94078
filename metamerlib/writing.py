"""Files that a kill cannot spoil: written beside their place, then moved into it."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from pathlib import Path

_OLD = 24 * 3600  # seconds after which a temporary file of another machine belongs to nobody
_TEMPORARY = re.compile(r"\..+\.(?P<host>[^.]+)\.(?P<process>\d+)\.tmp")


def write_atomic(path: str | Path, content: bytes) -> Path:
    """Write a file so that a reader finds the old content or the new, never a part of it.

    What killed writers left in the same folder is swept up.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    temporary = path.with_name(f".{path.name}.{_host()}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def sweep(folder: Path) -> None:
    """Delete the temporary files of writers that are no more: killed here, or a day old and from another machine."""
    for file in folder.glob(".*.tmp"):
        named = _TEMPORARY.fullmatch(file.name)
        with contextlib.suppress(OSError):  # another writer may sweep at the same time
            alive = named is not None and named["host"] == _host() and _runs(int(named["process"]))
            mine = named is not None and named["host"] == _host()
            if not alive and (mine or time.time() - file.stat().st_mtime > _OLD):
                file.unlink(missing_ok=True)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "here"


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
