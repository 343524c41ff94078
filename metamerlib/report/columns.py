"""What the columns of result tables mean: the texts of every metric, and the dictionary beside each table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from metamerlib.metrics.columns import METRICS
from metamerlib.plain import as_mapping, shown
from metamerlib.report.arguments import as_folder, as_name
from metamerlib.report.files import write_atomic

COMMON: Mapping[str, str] = {
    "key": "hash of the point's parameters, its experiment and its recipe",
    "recipe": "version of the experiment's code",
    "error": "message of the point's failure; empty if it succeeded",
    "graph": "name of the graph, or package.module:factory",
    "architecture": "convolution, or package.module:factory",
    "layer": "layer whose activations are matched, counted from 1",
    "seed": "seed of the weights, of the start of the search, and of the split where the graph has no public one",
    "rtol": "a search has converged when L_act is at most this",
    "device": "cpu or cuda",
    "null_draws": "draws of each kind of chance match; the largest of more draws is larger",
    "status": "how the search ended",
    "steps": "evaluations of loss and gradient",
    "test_accuracy": "share of test nodes that the model classifies correctly",
    "val_accuracy": "share of validation nodes that the model classifies correctly",
    "weights": "hash of the model's weights, to the last bit; empty where the row was computed before it was kept",
    "nodes": "number of nodes of the graph",
    "features": "number of features of a node",
}


RUNS: Mapping[str, str] = {
    "key": COMMON["key"],
    "seconds": "wall-clock seconds that the point took, with its model's training where that was not cached",
    "peak_memory_mb": "largest resident memory of the process so far, MiB",
    "metamerlib": "version of the library",
    "torch": "version of PyTorch",
    "python": "version of Python",
    "device": COMMON["device"],
    "date": "when the point was finished, UTC",
    "shard": "i/n: the point was computed by shard i of n",
}


def describe(name: str, store: str | Path, columns: Mapping[str, str] | None = None) -> Path:
    """Write `<store>/<name>.columns.json`: what each column of a result table and of its run table holds.

    Running it again gives the same bytes.

    Args:
        name: of the table, which must be there.
        store: folder of the tables.
        columns: texts, with units, of the columns that neither METRICS nor COMMON knows, or that mean
            something else here.

    Returns:
        Path of the file.

    Raises:
        ValueError: for a column without a text, or a text without a column.
    """
    name, store = as_name("name", name), as_folder("store", store)
    path = store / f"{name}.parquet"
    if not path.is_file():
        raise FileNotFoundError(f"no table {path}; compute it before its columns are described")
    held = pq.read_schema(path).names
    own = dict(as_mapping("columns", {} if columns is None else columns, "texts by column"))
    for column, text in own.items():
        if not isinstance(text, str):
            raise TypeError(f"the text of column {column!r} must be text, got {shown(text)}")
    texts = {**COMMON, **METRICS, **own}
    undescribed = [column for column in held if not texts.get(column, "").strip()]
    unknown = sorted(own.keys() - set(held))
    if undescribed or unknown:
        raise ValueError(
            f"table {name!r}: columns without a text: {', '.join(undescribed) or 'none'}; "
            f"texts without a column: {', '.join(unknown) or 'none'}"
        )
    about = {
        "table": f"{name}.parquet",
        "columns": {column: texts[column] for column in held},
        "runs": {"table": f"{name}.runs.parquet", "columns": dict(RUNS)},
    }
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    return write_atomic(Path(store) / f"{name}.columns.json", text.encode())
