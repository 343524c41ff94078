"""Facts about how the book is checked, counted in the files themselves."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

TEST = re.compile(r"^\s*def test_", re.MULTILINE)
VERSIONS = ("python", "torch", "metamerlib")
EXAMPLE = re.compile(r"^\s*>>> ", re.MULTILINE)


def collect_facts(root: Path) -> dict[str, Any]:
    """Return what the page "How this book is checked" shows, from the tables, the tests and the claims of a project.

    Args:
        root: Folder with `results`, `tests` and `metamerlib`.
    """
    results = root / "results"
    runs = _runs(results)
    tried_file = results / "reliability.json"
    tried = json.loads(tried_file.read_text("utf8")) if tried_file.is_file() else {"date": "", "rows": []}
    claims_file = results / "claims.json"
    claims = json.loads(claims_file.read_text("utf8")) if claims_file.is_file() else []
    tables = [path for path in sorted(results.glob("*.parquet")) if not path.name.endswith(".runs.parquet")]
    return {
        "first_run": runs["date"].min() if len(runs) else "",
        "last_run": runs["date"].max() if len(runs) else "",
        "versions": {name: sorted(set(runs[name])) for name in VERSIONS},
        "tests": _count(TEST, root / "tests"),
        "examples": _count(EXAMPLE, root / "metamerlib"),
        "tables": len(tables),
        "rows": sum(pq.read_metadata(path).num_rows for path in tables),
        "points": len(runs),
        "figures": len(list((results / "public" / "figures").glob("fig-*.json"))),
        "compute": [
            {
                "notebook": notebook,
                "device": device,
                "points": len(part),
                "seconds": round(float(part["seconds"].sum()), 1),
            }
            for (notebook, device), part in runs.groupby(["notebook", "device"])
        ],
        "took": {notebook: _took(part) for notebook, part in runs.groupby("notebook")},
        "reliability": {"date": tried["date"], "rows": tried["rows"]},
        "claims": len(claims),
        "certified": sum(bool(claim["certificate"]) for claim in claims),
        "verdicts": {
            verdict: sum(claim["verdict"] == verdict for claim in claims)
            for verdict in ("holds", "fails", "inconclusive", "not tested")
        },
    }


def _runs(results: Path) -> pd.DataFrame:
    """Return all run tables as one, with the notebook that each belongs to."""
    columns = ["notebook", "key", "seconds", "peak_memory_mb", *VERSIONS, "device", "date"]
    parts = [
        pd.read_parquet(path).assign(notebook=notebook_of(path)).reindex(columns=columns)
        for path in sorted(results.glob("*.runs.parquet"))
    ]
    return pd.concat([part for part in parts if len(part)] or [pd.DataFrame(columns=columns)]).astype({"date": str})


def _took(runs: pd.DataFrame) -> dict[str, Any]:
    """Return what the run of one notebook took: points, seconds, memory, days, versions and devices."""
    memory = float(runs["peak_memory_mb"].max())
    return {
        "points": len(runs),
        "seconds": round(float(runs["seconds"].sum()), 1),
        "longest": round(float(runs["seconds"].max()), 1),
        "peak_memory_mb": None if math.isnan(memory) else round(memory),
        "first": runs["date"].min(),
        "last": runs["date"].max(),
        **{name: sorted(set(runs[name])) for name in (*VERSIONS, "device")},
    }


def notebook_of(path: Path) -> str:
    """Return the notebook of a run table: the longest name of a main table that begins its own."""
    name = path.name.removesuffix(".runs.parquet")
    mains = [other.name.removesuffix(".runs.parquet") for other in path.parent.glob("*.runs.parquet")]
    return min((main for main in mains if name == main or name.startswith(f"{main}_")), key=len)


def _count(pattern: re.Pattern[str], folder: Path) -> int:
    return sum(len(pattern.findall(path.read_text("utf8"))) for path in sorted(folder.rglob("*.py")))
