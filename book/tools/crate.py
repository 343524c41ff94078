"""Describe the results for programs: an RO-Crate, with every file, who made it, by which command, and when."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from book.tools.counted import notebook_of
from book.tools.project import BuildError

NAME = "ro-crate-metadata.json"
FORMATS = {
    ".parquet": "application/vnd.apache.parquet",
    ".json": "application/json",
    ".csv": "text/csv",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".pdf": "application/pdf",
    ".yml": "application/yaml",
}
LICENCE = "https://creativecommons.org/licenses/by/4.0/"


def describe_results(root: Path, files: list[Path], published: str) -> dict[str, Any]:
    """Return the metadata of a crate that holds `files` at their places in the project.

    Args:
        root: The project.
        files: Files below `root/results`.
        published: Day of the release, as 2026-11-29.

    Returns:
        The JSON-LD document of RO-Crate 1.1, the same for the same files and day.

    Raises:
        BuildError: If the package rocrate is missing.
    """
    try:
        from rocrate.model.contextentity import ContextEntity
        from rocrate.rocrate import ROCrate
    except ImportError:
        raise BuildError("the package rocrate is missing; run `make install`, or: pip install rocrate") from None
    citation = yaml.safe_load((root / "CITATION.cff").read_text("utf8"))
    crate = ROCrate(version="1.1")
    crate.name = f"Results of: {citation['title']}"
    crate.description = " ".join(citation["abstract"].split())
    crate.datePublished = published
    crate.keywords = ", ".join(citation["keywords"])
    crate.root_dataset["version"] = str(citation["version"])
    authors = [
        crate.add(ContextEntity(crate, f"#author-{i}", {"@type": "Organization", "name": author["name"]}))
        for i, author in enumerate(citation["authors"])
    ]
    crate.creator = authors
    crate.license = crate.add(
        ContextEntity(crate, LICENCE, {"@type": "CreativeWork", "name": "Creative Commons Attribution 4.0"})
    )
    made: dict[str, list[Any]] = {}
    notebooks = [path.stem for path in (root / "notebooks").glob("*.ipynb")]
    for path in files:
        place = path.relative_to(root).as_posix()
        entity = crate.add_file(path, place, properties=_about(path))
        made.setdefault(_notebook(path, notebooks), []).append(entity)
    for notebook, results in sorted(made.items()):
        if notebook:
            _add_run(crate, root, notebook, results)
    document: dict[str, Any] = json.loads(json.dumps(crate.metadata.generate()))
    document["@graph"].sort(key=lambda entity: (entity["@id"] not in (NAME, "./"), entity["@id"]))
    return document


def _about(path: Path) -> dict[str, Any]:
    return {
        "name": path.name,
        "description": _description(path),
        "encodingFormat": FORMATS.get(path.suffix, "application/octet-stream"),
        "contentSize": str(path.stat().st_size),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def _description(path: Path) -> str:
    name = path.name
    if name.endswith(".runs.parquet"):
        return "For each point of a result table: seconds, memory, versions, device and date."
    if name.endswith(".parquet"):
        return f"Result table; {path.stem}.columns.json says what its columns hold."
    if name.endswith(".columns.json"):
        return "What each column of a result table and of its run table holds."
    if name.endswith(".claims.json"):
        return "Claims of one notebook, with effect, interval and verdict."
    if path.parent.name == "figures":
        if path.suffix == ".csv":
            return "The numbers that are drawn in the figure of this name."
        if path.suffix == ".json":
            return "Caption, columns and provenance of the figure of this name."
        return str(_about_figure(path.with_suffix(".json"))["caption"])
    return "Claims and outputs of all notebooks." if path.suffix in (".json", ".yml") else name


@cache
def _about_figure(path: Path) -> dict[str, Any]:
    about: dict[str, Any] = json.loads(path.read_text("utf8"))
    return about


def _notebook(path: Path, notebooks: list[str]) -> str:
    """Return the notebook that made a file, "" for what belongs to all of them."""
    if path.parent.name == "figures":
        return Path((_about_figure(path.with_suffix(".json"))["notebook"] or {}).get("file", "")).stem
    if path.name.endswith(".runs.parquet"):
        return notebook_of(path)
    stem = path.name.partition(".")[0]
    return max((name for name in notebooks if stem.startswith(name)), key=len, default="")


def _add_run(crate: Any, root: Path, notebook: str, results: list[Any]) -> None:
    """Add what made the files of a notebook: the notebook, its command, first and last day of computing."""
    from rocrate.model.contextentity import ContextEntity

    about = {
        "@type": "SoftwareSourceCode",
        "name": f"notebooks/{notebook}.ipynb",
        "programmingLanguage": "Python",
    }
    source = crate.add(ContextEntity(crate, f"#{notebook}", about))
    runs = sorted((root / "results").glob(f"{notebook}*.runs.parquet"))
    dates = [str(date) for path in runs for date in pd.read_parquet(path).get("date", pd.Series(dtype=object)).dropna()]
    action = {"name": f"make full NOTEBOOK={notebook} && make publish NOTEBOOK={notebook}"}
    if dates:
        action |= {"startTime": min(dates), "endTime": max(dates)}
    crate.add_action(source, f"#run-{notebook}", result=results, properties=action)
