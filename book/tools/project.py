"""Where things are, and fingerprints of what a built page depends on."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
BUILD = ROOT / "_build"
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    # A backend that the terminal is set to would draw nothing in a kernel.
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    # PyTorch Geometric looks for notebook widgets, which the book does without.
    "PYTHONWARNINGS": "ignore:IProgress not found",
}


class BuildError(Exception):
    """A step failed for a reason that its message tells in full."""


def say(text: str) -> None:
    print(text, flush=True)


def relative(path: Path) -> str:
    """Return a path relative to the project where it lies inside."""
    return os.path.relpath(path, ROOT) if path.is_relative_to(ROOT) else str(path)


def notebook_names() -> list[str]:
    return sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def find_notebook(name: str) -> Path:
    """Return the path of a notebook given as `01_first_metamer`, with or without folder and suffix."""
    stem = Path(name).stem
    if stem not in notebook_names():
        known = "\n  ".join(notebook_names()) or "(there are none yet)"
        raise BuildError(f"no notebook is called {name!r}; give NOTEBOOK= one of\n  {known}")
    return NOTEBOOKS / f"{stem}.ipynb"


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def tree_fingerprint(*folders: Path) -> str:
    """Hash the names and contents of all files below the folders."""
    files = [
        (path.relative_to(folder).as_posix(), path)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]
    return _digest(part for name, path in files for part in (name.encode(), path.read_bytes()))


def library_fingerprint() -> str:
    """Hash what every computed number may depend on: the library, the pins, this Python."""
    version = ".".join(map(str, sys.version_info[:2]))
    return _digest(
        [
            version.encode(),
            (ROOT / "constraints.txt").read_bytes(),
            tree_fingerprint(ROOT / "metamerlib").encode(),
        ]
    )


def notebook_fingerprint(path: Path) -> str:
    """Hash a notebook's cells without their outputs: publishing a notebook does not change it."""
    cells = json.loads(path.read_text("utf8"))["cells"]
    kept = [[cell["cell_type"], cell["source"], cell.get("metadata", {})] for cell in cells]
    return _digest([json.dumps(kept, sort_keys=True).encode()])


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf8")) if path.exists() else {}


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", "utf8")
    part.replace(path)
