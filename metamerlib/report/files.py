"""Files that a kill cannot spoil, and trained models kept under a hash of what made them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metamerlib.plain import as_mapping, as_path, shown
from metamerlib.writing import write_atomic as write_atomic


def project_root(start: str | Path | None = None) -> Path:
    """Return the nearest folder at or above `start` (default: here) that holds `_toc.yml`."""
    here = Path.cwd() if start is None else as_path("start", start).resolve()
    for folder in (here, *here.parents):
        if (folder / "_toc.yml").is_file():
            return folder
    raise FileNotFoundError(f"no _toc.yml in {here} or above it; run inside a checkout of the project")


def store_folder(profile: str, store: str) -> Path:
    """Return the folder of a notebook's tables, which is `store` in the project.

    Args:
        profile: "published", "full" or "quick".
        store: folder relative to the project, or absolute. "results" is for published numbers, so the quick profile
            has _build/quick/results in its place.
    """
    profiles = ("published", "full", "quick")
    store = str(as_path("store", store))
    if not isinstance(profile, str) or profile not in profiles:
        raise ValueError(f"profile is {profile!r}; expected one of {', '.join(profiles)}")
    return project_root() / ("_build/quick/results" if profile == "quick" and store == "results" else store)


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted names, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _check_names(name: str, value: Any) -> None:
    """Raise where a dict inside a parameter has names that are not text, which JSON would make alike."""
    entries = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else []
    if isinstance(value, tuple):
        raise TypeError(f"parameter {name!r} holds a tuple {shown(value)}, which JSON would make a list; give a list")
    if isinstance(value, Mapping):
        as_mapping(f"parameter {name!r}", value, "JSON values by name")
    for entry in entries:
        _check_names(name, entry)


def settings_hash(settings: Mapping[str, Any], **context: Any) -> str:
    """Return 16 hex digits that stand for JSON settings in a context, or name the value that is not JSON."""
    as_mapping("parameters", settings, "JSON values by name")
    for name, value in settings.items():
        _check_names(name, value)
        try:
            canonical_json(value)
        except (TypeError, ValueError) as error:
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            raise TypeError(
                f"parameter {name!r} is {value!r} ({kind}), not a JSON value; give a plain finite number, "
                "text, bool, None or a list of these"
            ) from error
    content = canonical_json({**context, "parameters": dict(settings)})
    return hashlib.sha256(content.encode()).hexdigest()[:16]
