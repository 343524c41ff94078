"""Files that a kill cannot spoil: written beside their place, then moved into it."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

_TRIES = 5
_OLD = 24 * 3600  # seconds after which a temporary file of another machine belongs to nobody
_TEMPORARY = re.compile(r"\..+\.(?P<host>[^.]+)\.(?P<process>\d+)\.tmp")


def write_atomic(path: str | Path, content: bytes) -> Path:
    """Write a file so that a reader finds the old content or the new, never a part of it.

    What killed writers left in the same folder is swept up.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{_host()}.{os.getpid()}.tmp")
    try:
        with _opened(temporary) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        reason = f"{error.strerror or error}; it is not written, and what was there before is as it was"
        raise OSError(error.errno, reason, str(path)) from error
    finally:
        with contextlib.suppress(OSError):  # where nothing can be written, nothing can be deleted
            temporary.unlink(missing_ok=True)
    return path


def _opened(path: Path) -> BinaryIO:
    """Open a file to write in a folder that is made, again where another process took it away meanwhile."""
    for _ in range(_TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        with contextlib.suppress(FileNotFoundError):
            return path.open("wb")
    return path.open("wb")


def check_archive(path: Path) -> None:
    """Raise if a file that `torch.save` wrote was damaged, which `torch.load` does not look for.

    Raises:
        ValueError: If the checksum of a part of the archive is wrong. Other files than archives pass.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    if damaged is not None:
        raise ValueError(f"{path} is damaged: the checksum of its part {damaged} is wrong")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where it has none."""
    return str(error).split("\n")[0] or type(error).__name__


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
