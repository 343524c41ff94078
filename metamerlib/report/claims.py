"""All claims of a store in one file, for the claims page of the book and for whoever reads them by machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metamerlib.plain import as_path
from metamerlib.report.files import write_atomic
from metamerlib.report.findings import COLUMNS

INDEX = "claims.json"


def collect_claims(store: str | Path) -> list[dict[str, Any]]:
    """Return the claims of every study of a store, by study in the order in which each made them.

    Args:
        store: Folder with the tables, the files `<study>.claims.json` and `public/figures`.

    Returns:
        Rows with notebook, the columns of `findings.claim`, and table: the study's, "" if it has none.

    Raises:
        ValueError: If two claims share an id, one lacks a column, or one has neither a figure that was published
            nor a table; the claim is named.
    """
    store = as_path("store", store)
    if not store.is_dir():
        raise FileNotFoundError(f"store is {str(store)!r}, and no such folder is there; give the one with the tables")
    rows: list[dict[str, Any]] = []
    seen: dict[str, str] = {}
    for path in sorted(store.glob("*.claims.json")):
        study = path.name.removesuffix(".claims.json")
        table = f"{study}.parquet"
        for row in json.loads(path.read_text("utf8")):
            name = f"claim {row.get('id')!r} of {study}"
            if missing := [column for column in COLUMNS if column not in row]:
                raise ValueError(f"{name} lacks {', '.join(missing)}; publish the notebook again")
            if row["id"] in seen:
                raise ValueError(f"{name} has the id of one of {seen[row['id']]}; ids are permanent, rename one")
            seen[row["id"]] = study
            drawn = (store / "public" / "figures" / f"{row['figure']}.json").is_file()
            if row["figure"] and not drawn:
                raise ValueError(f"{name} names the figure {row['figure']!r}, which {store} does not hold")
            if not drawn and not (store / table).is_file():
                raise ValueError(f"{name} has neither a figure nor the table {table}; give it one to rest on")
            rows.append({**row, "notebook": study, "table": table if (store / table).is_file() else ""})
    return rows


def write_claims(store: str | Path) -> Path:
    """Write `<store>/claims.json`, all claims of the store, and return its path; equal claims give equal bytes."""
    text = json.dumps(collect_claims(store), indent=1, ensure_ascii=False) + "\n"
    return write_atomic(Path(store) / INDEX, text.encode())
