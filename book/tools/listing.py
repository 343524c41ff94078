"""List every published metamer, one row each, from the result tables: what the page Browse shows and may be read by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

MATCHED = 0.05  # the relative error up to which the book calls an activation matched
COLUMNS = {
    "id": "permanent name of the metamer: hash of its point's parameters, then what tells it from others of the point",
    "verdict": "metamer: matched and different. Where a notebook stores no verdict, only the error is judged",
    "error": "distance of the activations, divided by the norm of the target",
    "likeness": "how like the metamer is to its reference, by the measure named next",
    "measure": "S_feat: mean cosine of a node's features in both graphs. Edges kept: share of the reference's edges",
    "graph": "name of the graph",
    "model": "architecture, or the name that the notebook gives the network",
    "layer": "layer whose activations are matched, counted from 1, or its name",
    "varies": "what differs from the reference",
    "node": "the one node whose activation is matched, or the place of the graph in its collection; empty: all nodes",
    "seed": "seed of the weights and of the start of the search",
    "status": "how the search ended; exact: made by a rule, not by a search",
    "settings": "the other parameters of the point",
    "missed": "what a metamer fails by where a notebook stores it",
    "table": "result table that holds the row",
}
_APART = {"device", "null_draws", "graph", "seed", "recipe", "judges", "count", "nodes_drawn", "searched"}


@dataclass(frozen=True)
class Source:
    """Where a table keeps what the list shows; a name in front of = stands for itself."""

    table: str
    varies: str = "features"
    model: str = "architecture"
    layer: str = "layer"
    error: str = "relative_error"
    likeness: str = "feature_cosine"
    measure: str = "S_feat"
    part: str = ""  # column that tells the metamers of one point apart, or =text
    node: str = ""
    status: str = "status"
    graph: str = "graph"
    rows: str = ""  # query for the rows that are metamers


_ONE = {"varies": "features of one receptive field", "node": "node", "part": "node"}
_EDGES = {"varies": "edges", "likeness": "overlap", "measure": "edges kept"}
_WALK = {**_ONE, "part": "=found"}


def _design(layer: str, column: str, **others: str) -> Source:
    columns = {"error": f"relative_error_{column}", "status": f"status_{column}", "part": f"={column}"}
    return Source("15_benchmark", model="design", layer=f"={layer}", **columns, **others)


SOURCES = (
    Source("01_first_metamer"),
    Source("02_feature_metamers"),
    Source("02_feature_metamers_controls"),
    Source("02_feature_metamers_nodes", **_ONE),
    Source("02_feature_metamers_tolerance"),
    Source("02_feature_metamers_untrained"),
    Source("03_binary_features", "features of zeros and ones"),
    Source("04_structure_metamers", **_EDGES),
    Source("04_structure_metamers_judged", status="=max_steps", **_EDGES),
    Source(
        "05_exact_metamers_activations", "edges", likeness="edge_jaccard", measure="edges in common", status="=exact"
    ),
    Source("07_volume_change_found", error="L_act", likeness="", measure="", **_ONE),
    Source("08_walking_the_manifold", error="found_error", likeness="found_cosine", status="=", **_WALK),
    Source(
        "08_walking_the_manifold",
        error="far_error",
        likeness="far_cosine",
        status="far_status",
        **{**_WALK, "part": "=farthest"},
    ),
    Source("08_walking_the_manifold_whole", rows="step == steps", status="walk_status"),
    Source("09_dimension_and_invariance", **_ONE),
    Source("10_graph_metamers", "features of one graph", node="place", part="place"),
    Source("11_depth_width", layer="at", error="L_act"),
    Source("11_depth_width_hops", layer="at", error="L_act"),
    Source("12_mitigations", layer="place", part="place"),
    Source("12_mitigations_frozen", layer="place", part="place"),
    Source("13_transfer", model="source", layer="match", error="L_act"),
    Source(
        "13_transfer_together", model="=gcn, several at once", layer="=logits", error="L_act", likeness="", measure=""
    ),
    Source("14_bayes_judge", model="model", graph="=csbm", likeness="", measure="", rows="status.notna()", **_ONE),
    _design("logits", "logits"),
    _design("last hidden", "hidden", likeness="", measure=""),
    Source("16_heterogeneous", model="model", likeness="S_feat"),
    Source(
        "18_two_sides",
        "edges",
        model="arm",
        layer="=3",
        likeness="",
        measure="",
        part="share",
        status="=",
        rows="kind == 'graph' and side == 'metamer'",
    ),
)
LEFT_OUT = {
    "01_first_metamer_descent": "steps of the searches of the first table",
    "01_first_metamer_entries": "entries of metamers of the first table",
    "01_first_metamer_edges": "edges of a reference",
    "01_first_metamer_nodes": "nodes of a metamer of the first table",
    "01_first_metamer_words": "words of a metamer of the first table",
    "02_feature_metamers_null": "chance matches",
    "03_binary_features_control": "searches for an answer that was planted",
    "03_binary_features_words": "words of metamers of the first table",
    "04_structure_metamers_blind": "searches for an answer that was planted",
    "04_structure_metamers_control": "searches for an answer that was planted",
    "04_structure_metamers_counting": "estimates",
    "04_structure_metamers_family": "all graphs of a small family, not one metamer",
    "04_structure_metamers_mixing": "estimates",
    "05_exact_metamers": "counts of edges that may be exchanged",
    "05_exact_metamers_bridges": "counts of edges",
    "05_exact_metamers_chains": "inputs without a model",
    "05_exact_metamers_molecules": "means over the graphs of a collection",
    "05_exact_metamers_pictures": "edges of the drawings",
    "05_exact_metamers_renamings": "counts of graphs",
    "06_metamer_dimension": "dimensions, not metamers",
    "06_metamer_dimension_whole": "dimensions, not metamers",
    "07_volume_change": "volumes, not metamers",
    "07_volume_change_counted": "volumes, not metamers",
    "08_walking_the_manifold_mutual": "distances between metamers of the first table",
    "08_walking_the_manifold_path": "points on paths between metamers of the first table",
    "08_walking_the_manifold_slice": "points of a plane",
    "08_walking_the_manifold_steps": "steps of walks",
    "08_walking_the_manifold_words": "words along one walk",
    "13_transfer_fingerprint": "judges of one metamer",
    "16_heterogeneous_relations": "networks with a relation left out",
    "17_expressivity": "pairs of inputs, not metamers",
    "17_expressivity_pairs": "pairs of graphs, not metamers",
    "19_targets": "inputs for targets that no graph has",
    "19_targets_between": "inputs for targets that no graph has",
    "19_targets_unreachable": "inputs for targets that no graph has",
    "20_one_paper": "words, logits and steps along walks",
}


def collect_metamers(results: Path) -> pd.DataFrame:
    """Return one row for each published metamer, with the columns of COLUMNS.

    Args:
        results: Folder of the result tables; a table that is not there has no rows.
    """
    parts = [_rows(results, source) for source in SOURCES if (results / f"{source.table}.parquet").is_file()]
    if not parts:
        return pd.DataFrame(columns=list(COLUMNS))
    rows = pd.concat(parts, ignore_index=True)
    if twice := sorted(set(rows["id"][rows["id"].duplicated()])):
        raise ValueError(f"two metamers share the id {twice[0]}; name the column that tells them apart in SOURCES")
    return rows


def write_metamers(results: Path, table: Path, script: Path) -> None:
    """Write the list twice: as a CSV to read, and packed into a script that a page may load from disk.

    Args:
        results: Folder of the result tables.
        table: Path of the CSV.
        script: Path of the script, which sets METAMERS_LISTED: for each column either numbers, or values and codes.
    """
    rows = collect_metamers(results)
    for path in (table, script):
        path.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(table, index=False, float_format="%.4g", lineterminator="\n")
    text = json.dumps(_packed(rows), separators=(",", ":"), ensure_ascii=False)
    script.write_text(f"window.METAMERS_LISTED={text};\n", "utf8")


def _rows(results: Path, source: Source) -> pd.DataFrame:
    path = results / f"{source.table}.parquet"
    held = pd.read_parquet(path)
    held = held[held["error"].fillna("") == ""] if "error" in held else held
    if source.rows:
        held = held.query(source.rows)
    parameters = json.loads((pq.read_schema(path).metadata or {})[b"parameters"])
    part = _column(held, source.part, "")
    rows = pd.DataFrame(
        {
            "id": held["key"] + part.map(lambda text: f"-{text.replace(' ', '-')}" if text else ""),
            "verdict": "",
            "error": _numbers(held, source.error),
            "likeness": _numbers(held, source.likeness) if source.likeness else np.nan,
            "measure": source.measure,
            "graph": _column(held, source.graph, ""),
            "model": _column(held, source.model, ""),
            "layer": _column(held, source.layer, "").str.removeprefix("layer "),
            "varies": source.varies,
            "node": _column(held, source.node, ""),
            "seed": held["seed"].astype(int),
            "status": _column(held, source.status, ""),
            "settings": _settings(held, parameters, source),
            "missed": _column(held, "failed", "") if "failed" in held else "",
            "table": source.table,
        }
    )
    rows["verdict"] = _verdicts(held, rows["error"], source)
    return rows.drop_duplicates("id") if source.table.startswith("13_") else rows


def _numbers(held: pd.DataFrame, name: str) -> pd.Series:
    values = held[name].astype(float)
    return np.sqrt(values) if name == "L_act" else values


def _column(held: pd.DataFrame, name: str, missing: str) -> pd.Series:
    if not name or name.startswith("="):
        return pd.Series(name.removeprefix("=") or missing, index=held.index, dtype=object)
    return held[name].map(lambda value: missing if pd.isna(value) else str(value)).astype(object)


def _settings(held: pd.DataFrame, parameters: Sequence[str], source: Source) -> pd.Series:
    """Return what else a point was asked for, as `name value` with commas."""
    shown = [name for name in parameters if name not in _APART | {source.model, source.layer, source.graph}]

    def text(row: dict[str, Any]) -> str:
        return ", ".join(f"{name} {row[name]}" for name in shown if not pd.isna(row[name]))

    return pd.Series([text(row) for row in held[shown].to_dict("records")], index=held.index, dtype=object)


def _verdicts(held: pd.DataFrame, error: pd.Series, source: Source) -> pd.Series:
    """Return the stored verdict where there is one, else what the error alone says."""
    names = ("matched", "different")
    if set(names) <= set(held) and source.part != "=hidden" and held["matched"].dropna().isin([0, 1]).all():
        matched, different = (held[name].astype(bool) for name in names)
        chosen = np.where(matched & different, "metamer", np.where(matched, "matched, not different", "not matched"))
        return pd.Series(chosen, index=held.index)
    return pd.Series(np.where(error <= MATCHED, "error at most 5 %", "error above 5 %"), index=held.index)


def _packed(rows: pd.DataFrame) -> dict[str, Any]:
    """Return columns as numbers of three digits, or as distinct values and the place of each row's value."""
    columns: dict[str, Any] = {}
    for name in COLUMNS:
        if name in ("error", "likeness"):
            columns[name] = [None if pd.isna(value) else float(f"{value:.3g}") for value in rows[name]]
        elif name == "id":
            columns[name] = _coded(rows["id"].str.partition("-")[0]), rows["id"].str.partition("-")[2].tolist()
        else:
            columns[name] = _coded(rows[name])
    return {"texts": COLUMNS, "rows": len(rows), "columns": columns}


def _coded(values: pd.Series) -> dict[str, Any]:
    codes, distinct = pd.factorize(values)
    return {
        "values": [value.item() if hasattr(value, "item") else value for value in distinct],
        "codes": codes.tolist(),
    }
