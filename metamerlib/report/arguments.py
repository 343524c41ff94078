"""What callers of a store hand in: names of tables, folders, points and shards."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metamerlib.plain import as_integer, as_list, as_mapping, as_path, as_text, shown

SHARD_VARIABLE = "METAMERLIB_SHARD"


def as_name(what: str, got: object) -> str:
    """Return the name of a table: letters, digits, dots, hyphens and underscores, so that it stays in its store."""
    name = as_text(what, got, "02_feature_metamers")
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ValueError(f"{what} is {name!r}; expected letters, digits, dots, hyphens and underscores, and no folder")
    return name


def as_folder(what: str, got: object) -> Path:
    """Return the path of a folder, which may be still to be made."""
    path = as_path(what, got)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{what} is {str(path)!r}, a file; give a folder")
    return path


def check_function(function: object) -> None:
    """Raise unless a function has a name for the table to keep."""
    if not callable(function) or not isinstance(getattr(function, "__name__", None), str):
        raise TypeError(f"function must be a plain one, whose name the table keeps, got {shown(function)}; use def")


def as_points(points: object) -> list[Mapping[str, Any]]:
    """Return points that all have the same parameters, so that no column has gaps."""
    found = [as_mapping("a point", point, "parameters by name") for point in as_list("points", points, "dicts")]
    for place, point in enumerate(found):
        if set(point) != set(found[0]):
            odd = sorted(set(point) ^ set(found[0]))
            raise ValueError(
                f"points[{place}] and points[0] do not both have {', '.join(odd)}; give every point the same parameters"
            )
    return found


def as_shard(shard: object) -> tuple[int, int]:
    """Return the number of a shard and how many there are; None asks the environment, and is everything there."""
    text = os.environ.get(SHARD_VARIABLE) or "0/1"
    if shard is None and not re.fullmatch(r"\d+/\d+", text):
        raise ValueError(f"{SHARD_VARIABLE} is {text!r}; expected i/n with 0 <= i < n")
    given = tuple(map(int, text.split("/"))) if shard is None else shard
    if not isinstance(given, list | tuple) or len(given) != 2:
        raise TypeError(f"shard must be a pair of integers (i, n) with 0 <= i < n, got {shown(shard)}")
    index, count = (as_integer("shard", part) for part in given)
    if not 0 <= index < count:
        raise ValueError(f"shard is {(index, count)}; expected (i, n) with 0 <= i < n")
    return index, count


def as_array(
    what: str, got: object, *shape: str | int, integers: bool = False, missing: bool = False, empty: bool = False
) -> np.ndarray:
    """Return numbers as an array of a shape.

    Args:
        what: Name of the argument, for the error.
        got: What was handed in.
        *shape: A number for a fixed size, a name for a free one; none at all for any shape.
        integers: Whether only integers will do.
        missing: Whether NaN may stand for what is not known.
        empty: Whether there may be no entry.
    """
    wanted = f" [{', '.join(map(str, shape))}]" if shape else ""
    try:
        found = np.asarray(got)
    except Exception as error:  # a tensor on another device, a ragged list
        raise TypeError(f"{what} must be an array{wanted}, got {shown(got)}: {error}") from error
    if found.dtype.kind not in ("iub" if integers else "iubf"):
        raise TypeError(f"{what} must be an array{wanted} of {'integers' if integers else 'numbers'}, got {shown(got)}")
    fits = len(shape) == found.ndim and all(
        isinstance(a, str) or a == b for a, b in zip(shape, found.shape, strict=False)
    )
    if (shape and not fits) or not (found.size or empty):
        raise ValueError(f"{what} must be an array{wanted} with entries, got {list(found.shape)}")
    if found.dtype.kind == "f" and (np.isinf(found).any() or (np.isnan(found).any() and not missing)):
        raise ValueError(f"{what} holds {int((~np.isfinite(found)).sum())} entries that are not finite; leave them out")
    return found


def check_axes(ax: object) -> None:
    """Raise unless there are axes to draw on, or None for new ones."""
    if ax is not None and not hasattr(ax, "set_xlabel"):
        raise TypeError(f"ax must be matplotlib axes or None, got {shown(ax)}; make some with plt.subplots()")
