"""A metamer as a page of one file: what is drawn, how numbers are packed, and the template round ``page.js``."""

from __future__ import annotations

import base64
import html
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metamerlib.plain import as_integer

if TYPE_CHECKING:
    from torch import Tensor
    from torch_geometric.data import Data

    from metamerlib.search.metamer import Metamer

HERE = Path(__file__).parent
HOPS, MOST_NODES, MOST_FEATURES, MOST_UNITS = 2, 60, 60, 64
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body class="metamers-page">
<main class="metamers"><h1>{title}</h1><div data-metamers></div><noscript>{summary}</noscript></main>
<script>window.METAMERS = {data};</script>
<script>{script}</script>
</body>
</html>
"""


def packed(values: Any, *, kind: str = "float32") -> dict[str, Any]:
    """Pack a matrix ``[rows, columns]`` (or a vector, as one row) into text that ``page.js`` unpacks.

    Args:
        values: The numbers.
        kind: float32; int16, multiples of the largest magnitude / 32767; ones, the places of the ones in a matrix of
            zeros and ones with at most 65536 entries.

    Example:
        >>> unpacked(packed([[0.0, 1.0], [1.0, 0.0]], kind="ones"))
        array([[0., 1.],
               [1., 0.]])
    """
    array = np.atleast_2d(np.asarray(values, dtype=float))
    found: dict[str, Any] = {"type": kind, "shape": list(array.shape)}
    if kind == "ones":
        content = np.flatnonzero(array).astype("<u2")
    elif kind == "int16":
        found["scale"] = float(np.abs(array).max(initial=0)) / 32767 or 1.0
        content = np.round(array / found["scale"]).astype("<i2")
    else:
        content = array.astype("<f4")
    return {**found, "data": base64.b64encode(content.tobytes()).decode()}


def unpacked(found: dict[str, Any]) -> np.ndarray:
    """Return the matrix that :func:`packed` packed, in float64."""
    content = base64.b64decode(found["data"])
    if found["type"] == "ones":
        array = np.zeros(found["shape"])
        array.flat[np.frombuffer(content, "<u2")] = 1
        return array
    numbers = np.frombuffer(content, "<i2" if found["type"] == "int16" else "<f4").astype(float)
    return numbers.reshape(found["shape"]) * found.get("scale", 1.0)


def script_safe(value: Any) -> str:
    """Return JSON that can stand inside a script element, whatever its texts hold."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def style_and_script() -> tuple[str, str]:
    """Return the style sheet and the script of the page."""
    return (HERE / "page.css").read_text("utf8"), (HERE / "page.js").read_text("utf8")


def undirected(edge_index: Tensor) -> list[list[int]]:
    """Return the edges as sorted pairs ``u < v``, each once and without loops."""
    pairs = {(min(u, v), max(u, v)) for u, v in edge_index.t().tolist() if u != v}
    return [list(pair) for pair in sorted(pairs)]


def layout(num_nodes: int, edges: list[list[int]]) -> list[list[float]]:
    """Return a place in the unit square for each node, the same at each call."""
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from(edges)
    whole = num_nodes > 1 and nx.is_connected(graph)
    found = nx.kamada_kawai_layout(graph) if whole else nx.spring_layout(graph, seed=0)
    places = np.array([found[node] for node in range(num_nodes)], dtype=float).reshape(num_nodes, 2)
    low, high = places.min(axis=0), places.max(axis=0)
    return np.round((places - low) / np.maximum(high - low, 1e-9), 3).tolist()


def chosen_node(metamer: Metamer, node: object) -> int:
    """Return the node to be shown: the caller's, or the matched one whose features and edges changed most.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If there is no such node.
    """
    num_nodes = metamer.reference.x.size(0)
    if node is not None:
        index = as_integer("node", node)
        if not 0 <= index < num_nodes:
            raise ValueError(f"node must lie in 0..{num_nodes - 1}, got {index}; None shows the one that changed most")
        return index
    change = np.linalg.norm(_features(metamer.graph) - _features(metamer.reference), axis=1)
    before, after = ({tuple(e) for e in undirected(g.edge_index)} for g in (metamer.reference, metamer.graph))
    np.add.at(change, np.array(sorted(before ^ after), dtype=int).ravel(), 1.0)
    matched = np.arange(num_nodes) if metamer.nodes is None else metamer.nodes.cpu().numpy()
    return int(matched[np.nan_to_num(change[matched]).argmax()])


def view_of(metamer: Metamer, node: object = None) -> dict[str, Any]:
    """Return what the page shows of a metamer: the nodes round one of them, and the features that differ most there.

    Args:
        metamer: The result of a search.
        node: The node in the middle, or None for the matched one that changed most.

    Returns:
        One example, as ``page.js`` reads it: at most 60 nodes within two hops in either graph, 60 features, 64 units.
    """
    centre = chosen_node(metamer, node)
    graphs = {"reference": metamer.reference, "start": metamer.start, "graph": metamer.graph}
    edges = {name: undirected(graph.edge_index) for name, graph in graphs.items()}
    members = _around(centre, [*edges["reference"], *edges["graph"]])
    place = {member: i for i, member in enumerate(members)}
    inside = {
        name: [[place[u], place[v]] for u, v in found if u in place and v in place] for name, found in edges.items()
    }
    whole = {name: _features(graph)[members] for name, graph in graphs.items()}
    difference = np.nan_to_num(np.abs(whole["graph"] - whole["reference"])).sum(axis=0)
    order = np.lexsort((-np.abs(whole["reference"]).sum(axis=0), -difference))[:MOST_FEATURES]
    x = {name: packed(values[:, order]) for name, values in whole.items()}
    names = _names(metamer.reference.get("feature_names"), whole["graph"].shape[1])
    frames: list[dict[str, Any]] = [
        {"name": "the start of the search", "x": x["start"], "edges": inside["start"]},
        {"name": "the metamer", "x": x["graph"], "edges": inside["graph"]},
    ]
    if math.isfinite(metamer.relative_error):
        frames[1]["error"] = metamer.relative_error
    rows, units = _rows(metamer, members, centre), _units(metamer)
    stored = [row for row in rows if row >= 0]
    frames[1]["activation"] = packed(metamer.activation.detach().cpu().numpy()[np.ix_(stored, units)])
    search = {
        "layer": metamer.layer,
        "vary": varied(metamer),
        "status": metamer.status,
        "steps": metamer.steps,
        "target": packed(metamer.target.detach().cpu().numpy()[np.ix_(stored, units)]),
        "rows": [i for i, row in enumerate(rows) if row >= 0],
        "pooled": _pooled(metamer),
        "units": [f"unit {unit}" for unit in units],
        "frames": frames,
    }
    num_nodes, num_features = metamer.reference.x.shape
    return {
        "id": "metamer",
        "title": "metamer",
        "text": f"{len(members)} of {num_nodes} nodes, those around node {centre}, and {len(order)} of {num_features} "
        "features, those that differ most. Edges and features that are not shown count in the error.",
        "nodes": [f"node {member}" for member in members],
        "marks": [str(member) for member in members],
        "features": [names[column] for column in order],
        "y": _labels(metamer.reference, members),
        "layout": layout(len(members), inside["reference"]),
        "edges": inside["reference"],
        "x": x["reference"],
        "models": [{"id": "model", "title": "model", "searches": [search]}],
    }


def page_of(metamer: Metamer, node: object = None) -> str:
    """Return a metamer as the text of one HTML page that asks for nothing outside itself."""
    view = view_of(metamer, node)
    style, script = style_and_script()
    text = html.escape(repr(metamer))
    return PAGE.format(
        policy=html.escape(POLICY), title=html.escape(f"A metamer at layer {metamer.layer}"), style=style,
        summary=f"<p>{text}. This page needs scripts to draw it.</p>", data=script_safe({"examples": [view]}),
        script=script,
    )  # fmt: skip


def shown_share(share: float) -> str:
    """Return a share in per cent, or as a power of ten where it is small.

    Example:
        >>> shown_share(0.00812), shown_share(1.5), shown_share(3e-9)
        ('0.8 %', '150 %', '3e-09')
    """
    if not math.isfinite(share) or 0 < share < 1e-4:
        return f"{share:.0e}"
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{round(100 * share, 1 if share >= 1e-3 else 2):g} %"


def varied(metamer: Metamer) -> str:
    """Return what varied in a search: features, structure or both, from its settings or else from the result."""
    told = metamer.settings.get("vary")
    if isinstance(told, str):
        return told
    edges = undirected(metamer.reference.edge_index) != undirected(metamer.graph.edge_index)
    features = not np.array_equal(_features(metamer.graph), _features(metamer.reference))
    return "both" if edges and features else "structure" if edges else "features"


def _features(graph: Data) -> np.ndarray:
    return graph.x.detach().cpu().to_dense().double().numpy()


def _around(centre: int, edges: list[list[int]]) -> list[int]:
    """Return the nodes within two hops, nearest first, at most as many as can be drawn."""
    beside: dict[int, set[int]] = {}
    for u, v in edges:
        beside.setdefault(u, set()).add(v)
        beside.setdefault(v, set()).add(u)
    found, ring = [centre], [centre]
    for _ in range(HOPS):
        ring = sorted(set().union(*(beside.get(node, set()) for node in ring)) - set(found))
        found += ring
    return found[:MOST_NODES]


def _pooled(metamer: Metamer) -> bool:
    return metamer.nodes is None and len(metamer.target) != metamer.reference.x.size(0)


def _rows(metamer: Metamer, members: list[int], centre: int) -> list[int]:
    """Return the row of the activations that belongs to each node shown, -1 where there is none."""
    if _pooled(metamer):
        batch = metamer.reference.get("batch")
        row = 0 if batch is None else int(batch[centre])
        return [row if row < len(metamer.target) else -1] + [-1] * (len(members) - 1)
    if metamer.nodes is None:
        return members
    row_of = {node: row for row, node in enumerate(metamer.nodes.tolist())}
    return [row_of.get(member, -1) for member in members]


def _units(metamer: Metamer) -> list[int]:
    size = np.nan_to_num(metamer.target.detach().cpu().double().square().sum(dim=0).numpy())
    return sorted(np.argsort(-size, kind="stable")[:MOST_UNITS].tolist())


def _names(given: Any, count: int) -> list[str]:
    fits = isinstance(given, list | tuple) and len(given) == count
    return [str(name) for name in given] if fits else [f"feature {column}" for column in range(count)]


def _labels(graph: Data, members: list[int]) -> list[int] | None:
    y = graph.get("y")
    if y is None or y.dim() != 1 or y.numel() != graph.x.size(0) or y.is_floating_point() or bool((y < 0).any()):
        return None
    return [int(y[member]) for member in members]
