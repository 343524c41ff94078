"""Compute and pack what the page Explorer shows: small graphs, trained weights, and searches frame by frame.

``python -m metamerlib.report.explorer`` writes two files into ``book/_static``: ``explorer-data.js``, which the page
reads, and ``explorer-fallback.html``, a picture and a table for readers without scripts. Cora_ML is loaded as
:func:`metamerlib.load_graph` does; the rest is embedded. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import html
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metamerlib.report.files import project_root
from metamerlib.search.page import layout, packed, script_safe, undirected, unpacked
from metamerlib.writing import write_atomic

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from metamerlib.models.gnn import GNN
    from metamerlib.search.metamer import Metamer

SEED, WIDTH, FRAMES, RTOL = 0, 16, 8, 1e-6
CONVOLUTIONS = {"gcn": "GCN", "sage": "GraphSAGE", "gin": "GIN"}
LARGEST_FILE = 600_000
PAPER = 2407  # of Cora_ML: 14 papers of four classes within two hops, 316 words
FEATURES, WORDS, EDGES, SWITCH = "features", "whole words", "edges", "exact switch"
TELLS = {
    FEATURES: "Every feature may take any value.",
    WORDS: "A paper has a word or lacks it; the number of words stays.",
    EDGES: "Edges move, and their number stays.",
    SWITCH: "Two bonds exchange their ends, chosen by proof: no search, and no error at any depth.",
}
SETTINGS: dict[str, dict[str, Any]] = {
    FEATURES: {"vary": "features", "rtol": RTOL},
    WORDS: {"vary": "features", "values": "binary", "rtol": RTOL, "max_steps": 400},
    EDGES: {"vary": "structure", "rtol": RTOL, "max_steps": 300},
}
KIND = {FEATURES: "int16", WORDS: "ones"}
OPENING, CLOSING = "window.METAMERS = ", ";\n"


def karate() -> dict[str, Any]:
    """Return the karate club with three trained models, features and edges varied."""
    from metamerlib.graphs.load import load_graph

    graph = load_graph("karate")
    models = {conv: _trained(conv, graph) for conv in CONVOLUTIONS}
    return {
        **_example("karate", graph, models, {1: [FEATURES, EDGES], 2: [FEATURES, EDGES]}, kind="ones"),
        "title": "Karate club",
        "text": "34 members of a club, 78 friendships, and a feature that names each member.",
        "nodes": [f"member {i}" for i in range(34)],
        "features": [f"is member {i}" for i in range(34)],
        "classes": [f"group {c}" for c in range(4)],
    }


def cora() -> dict[str, Any]:
    """Return the papers within two hops of one in Cora_ML as a graph of their own, with the words that they hold."""
    from torch_geometric.data import Data
    from torch_geometric.utils import k_hop_subgraph

    from metamerlib.graphs.load import load_graph

    whole = load_graph("Cora_ML")
    papers, edge_index, _, _ = k_hop_subgraph(PAPER, 2, whole.edge_index, relabel_nodes=True, num_nodes=whole.num_nodes)
    counts = whole.x[papers].sum(dim=0)
    words = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())]
    graph = Data(x=whole.x[papers][:, words], edge_index=edge_index, y=whole.y[papers])
    models = {conv: _narrowed(_trained(conv, whole), words, whole.num_classes) for conv in CONVOLUTIONS}
    searches = {1: [WORDS], 2: [WORDS]}
    found = _example("cora", graph, models, searches, kind="ones", more={"gcn": {1: [FEATURES], 2: [FEATURES]}})
    names = [f"class {c}" for c in range(whole.num_classes)]
    return {
        **found,
        "title": "Cora_ML: one paper and its neighbourhood",
        "text": f"The {len(papers)} papers within two citations of paper {PAPER}, as a graph of their own, and the "
        f"{len(words)} words in them. The models learnt on all of Cora_ML.",
        "node": int((papers == PAPER).nonzero()),
        "nodes": [f"paper {int(paper)}" for paper in papers],
        "features": [whole.feature_names[int(word)] for word in words],
        "classes": list(whole.get("class_names") or names),
    }


def molecule() -> dict[str, Any]:
    """Return decalin and what a switch of two bonds makes of it, seen by models with random weights."""
    import torch

    from metamerlib.exact.switching import switch_metamer
    from metamerlib.graphs.load import load_graph

    graph = load_graph("decalin")
    other = switch_metamer(graph, seed=SEED)
    edges = undirected(other.edge_index)
    models = {}
    for conv in CONVOLUTIONS:
        torch.manual_seed(SEED)
        models[conv] = _untrained(conv, 1, 4).eval()
    found = _example("decalin", graph, models, {}, kind="float32")
    for model, row in zip(models.values(), found["models"], strict=True):
        frames = [
            {"name": "decalin", "step": 0, "errors": layer_errors(model, graph, graph)},
            {"name": "after the switch", "step": 1, "edges": edges, "layout": layout(10, edges),
             "errors": layer_errors(model, graph, other)},
        ]  # fmt: skip
        row["searches"] = [
            {"layer": layer["name"], "vary": SWITCH, "text": TELLS[SWITCH], "frames": frames} for layer in row["layers"]
        ]
    return {
        **found,
        "title": "A molecule: decalin",
        "text": "Ten carbon atoms in two hexagons that share a bond, all with the same feature. The models are not "
        "trained, since the switch is exact for every weight.",
        "nodes": [f"atom {i}" for i in range(10)],
        "features": ["carbon"],
        "classes": None,
    }


def layer_errors(model: GNN, reference: Data, graph: Data) -> list[float]:
    """Return the relative error of the activations of a graph at each layer of a model, over all nodes."""
    from metamerlib.probing.probe import Probe

    errors = []
    for layer in range(1, len(model.layers) + 1):
        probe = Probe(model, layer)
        wanted, got = (probe(each).activation.double() for each in (reference, graph))
        errors.append(float((got - wanted).norm() / wanted.norm()))
    return errors


def packed_model(conv: str, model: GNN) -> dict[str, Any]:
    """Pack the weights of a model, layer by layer, as ``page.js`` reads them."""
    layers = []
    for k, layer in enumerate(model.layers):
        inner: Any = layer.conv
        weights = {name: value.detach().numpy() for name, value in inner.named_parameters()}
        names = {
            "gcn": {"weight": "lin.weight", "bias": "bias"},
            "sage": {"weight": "lin_l.weight", "bias": "lin_l.bias", "root": "lin_r.weight"},
            "gin": {"inner": "nn.0.weight", "inner_bias": "nn.0.bias", "weight": "nn.2.weight", "bias": "nn.2.bias"},
        }[conv]
        last = k == len(model.layers) - 1
        row: dict[str, Any] = {"name": "logits" if last else f"layer {k + 1}", "kind": conv}
        row |= {"act": "none" if last else "elu"} | ({"eps": float(inner.eps)} if conv == "gin" else {})
        layers.append(row | {name: packed(weights[own]) for name, own in names.items()})
    return {"id": conv, "title": CONVOLUTIONS[conv], "layers": layers}


def search_frames(model: GNN, graph: Data, layer: int, kind: str, count: int = FRAMES) -> dict[str, Any]:
    """Search for a metamer again and again with more steps and the same seed, and pack what was found.

    Errors are those of the packed graphs, whose features are rounded.
    """
    from metamerlib.search.find import find_metamer

    def found(**more: Any) -> Metamer:
        return find_metamer(model, graph, layer=layer, seed=SEED, **(SETTINGS[kind] | more))

    last = found()
    steps = np.unique(np.geomspace(1, max(last.steps, 2), count - 1).astype(int))[:-1]
    results = [(0, last.start), *((int(step), found(max_steps=int(step)).graph) for step in steps)]
    frames = [_frame(model, graph, other, step, kind) for step, other in [*results, (last.steps, last.graph)]]
    name = "logits" if layer == len(model.layers) else f"layer {layer}"
    told = {"layer": name, "vary": kind, "text": TELLS[kind], "status": last.status, "steps": last.steps}
    return {**told, "frames": frames}


def _frame(model: GNN, reference: Data, graph: Data, step: int, kind: str) -> dict[str, Any]:
    import torch

    from metamerlib.graphs.edit import with_features

    if kind == EDGES:
        return {
            "step": step, "edges": undirected(graph.edge_index), "errors": layer_errors(model, reference, graph)
        }  # fmt: skip
    x = packed(graph.x.numpy(), kind=KIND[kind])
    rounded = with_features(reference, torch.from_numpy(unpacked(x)).float())
    return {"step": step, "x": x, "errors": layer_errors(model, reference, rounded)}


def _example(
    name: str, graph: Data, models: dict[str, GNN], searches: dict[int, list[str]], *, kind: str,
    more: dict[str, dict[int, list[str]]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    rows = []
    for conv, model in models.items():
        wanted = [(layer, vary) for layer, kinds in searches.items() for vary in kinds]
        wanted += [(layer, vary) for layer, kinds in (more or {}).get(conv, {}).items() for vary in kinds]
        found = [search_frames(model, graph, layer, vary, 6 if name == "cora" else FRAMES) for layer, vary in wanted]
        rows.append({**packed_model(conv, model), "searches": found})
    edges = undirected(graph.edge_index)
    y = None if graph.get("y") is None else graph.y.tolist()
    x = packed(graph.x.numpy(), kind=kind)
    return {"id": name, "y": y, "edges": edges, "layout": layout(graph.x.size(0), edges), "x": x, "models": rows}


def _untrained(conv: str, in_channels: int, out_channels: int) -> GNN:
    from metamerlib.models.gnn import GNN

    return GNN(
        conv=conv, in_channels=in_channels, hidden_channels=WIDTH, out_channels=out_channels, num_layers=2, act="elu"
    )


def _trained(conv: str, graph: Data) -> GNN:
    from metamerlib.models.training import train

    return train(_untrained(conv, graph.x.size(1), graph.num_classes), graph, seed=SEED).model  # type: ignore[return-value]


def _narrowed(model: GNN, columns: Any, out_channels: int) -> GNN:
    """Return a model that reads some features only: the same answers where all others are zero."""
    narrow = _untrained(model.conv, len(columns), out_channels)
    weights = model.state_dict()
    for name, value in narrow.state_dict().items():
        weights[name] = weights[name] if weights[name].shape == value.shape else weights[name][:, columns]
    narrow.load_state_dict(weights)
    return narrow.eval()


def explorer_data() -> dict[str, Any]:
    """Compute all examples: a minute or two on one thread."""
    return {"examples": [karate(), cora(), molecule()]}


def read_data(path: str | Path) -> dict[str, Any]:
    """Read a packed file."""
    text = Path(path).read_text("utf8")
    return json.loads(text.removeprefix(OPENING).removesuffix(CLOSING))


def fallback(data: dict[str, Any]) -> str:
    """Return a picture and a table of the last frames, for readers without scripts."""
    rows, heads = [], ("graph", "model", "layer", "what varies", "steps", "error at layer 1", "error at the logits")
    for example in data["examples"]:
        for model in example["models"]:
            for search in model["searches"]:
                errors = [f"{error:.1e}" for error in search["frames"][-1]["errors"]]
                steps = search.get("steps", "none")
                cells = [example["title"], model["title"], search["layer"], search["vary"], steps, *errors]
                rows.append("".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells))
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(f"<tr>{row}</tr>\n" for row in rows)
    molecule = data["examples"][-1]
    last = molecule["models"][0]["searches"][0]["frames"][-1]
    pictures = _picture(molecule["edges"], molecule["layout"]) + _picture(last["edges"], last["layout"])
    return (
        "<noscript>\n<p>This page computes in the browser and needs scripts. Without them: decalin and its metamer, "
        f"which no model here tells apart, and what every stored search reached.</p>\n<p>{pictures}</p>\n"
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n</noscript>\n"
    )


def _picture(edges: list[list[int]], places: list[list[float]]) -> str:
    at = [(10 + 180 * x, 10 + 140 * y) for x, y in places]
    lines = "".join(f'<path d="M{at[u][0]:.0f} {at[u][1]:.0f}L{at[v][0]:.0f} {at[v][1]:.0f}"/>' for u, v in edges)
    circles = "".join(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="6"/>' for x, y in at)
    return (
        f'<svg viewBox="0 0 200 160" width="200" role="img" aria-label="A graph of {len(at)} nodes and {len(edges)} '
        f'edges" stroke="currentColor" fill="currentColor">{lines}{circles}</svg> '
    )


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, help="where to write; default: book/_static of the project")
    folder = parser.parse_args().folder or project_root() / "book" / "_static"
    data = explorer_data()
    text = f"{OPENING}{script_safe(data)}{CLOSING}"
    if len(text) > LARGEST_FILE:
        raise ValueError(f"the packed file has {len(text)} bytes, more than {LARGEST_FILE}; take fewer frames")
    write_atomic(folder / "explorer-data.js", text.encode())
    write_atomic(folder / "explorer-fallback.html", fallback(data).encode())
    print(f"{folder / 'explorer-data.js'}: {len(text) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
