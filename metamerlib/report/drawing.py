"""Draw what a metamer is: plain arrays and tables in, matplotlib axes or figures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from metamerlib.plain import as_count, as_list, as_mapping, check_positive, shown
from metamerlib.report.arguments import as_array, check_axes

_FIRST, _SECOND, _QUIET = "#0072B2", "#D55E00", "#767676"
_TITLES = ("reference", "metamer")


def draw_graph_pair(
    reference: np.ndarray,
    metamer: np.ndarray,
    *,
    colours: np.ndarray | None = None,
    metamer_colours: np.ndarray | None = None,
    positions: np.ndarray | None = None,
    labels: Sequence[str] | None = None,
    colour_label: str = "feature value",
    titles: tuple[str, str] = _TITLES,
) -> Figure:
    """Draw two graphs side by side on the same node positions; edges that only one has stand out.

    Args:
        reference: edge_index arrays [2, E], either or both directions of each edge.
        metamer: edge_index arrays [2, E], either or both directions of each edge.
        colours: of the reference's nodes, values [N] (one shared scale) or RGB in 0 to 1 [N, 3].
        metamer_colours: of the metamer's nodes, by default the same.
        positions: [N, 2], by default a layout of the reference.
        labels: N short texts to write on the nodes.
        colour_label: what the values in `colours` are.
        titles: over the two graphs.
    """
    for name, index in (("reference", reference), ("metamer", metamer)):
        if (as_array(name, index, 2, "E", integers=True, empty=True) < 0).any():
            raise ValueError(f"{name} must hold edges between nodes counted from 0, got a negative one")
    if positions is not None:
        as_array("positions", positions, "N", 2)
    if labels is not None:
        labels = as_list("labels", labels, "texts")
    if not isinstance(titles, list | tuple) or len(titles) != 2:
        raise TypeError(f"titles must be a pair of texts, got {shown(titles)}")
    if not isinstance(colour_label, str):
        raise TypeError(f"colour_label must be text, got {shown(colour_label)}")
    edges = [{(min(a, b), max(a, b)) for a, b in np.asarray(index).T.tolist()} for index in (reference, metamer)]
    shades = _shades(colours, metamer_colours)
    num_nodes = max([1 + max(edge) for both in edges for edge in both] + [len(s) for s in shades if s is not None])
    places = _layout(edges[0], num_nodes) if positions is None else np.asarray(positions)
    for shade in shades:
        if shade is not None and len(shade) != len(places):
            raise ValueError(f"there are {len(shade)} colours for {len(places)} nodes; give one for each")
    if len(places) < num_nodes or (labels and len(labels) != num_nodes):
        raise ValueError(f"there are {len(places)} positions and {len(labels or [])} labels for {num_nodes} nodes")
    values = [shade for shade in shades if shade is not None and shade.ndim == 1]
    scale = Normalize(min(v.min() for v in values), max(v.max() for v in values)) if values else None
    fig, axes = plt.subplots(1, 2, figsize=(7.0, 4.0))
    size = 200.0 if labels else float(np.clip(4000 / num_nodes, 12, 160))
    for ax, title, own, other, shade in zip(axes, titles, edges, edges[::-1], shades, strict=True):
        _edges(ax, places, sorted(own & other), color="#9A9A9A", linewidth=0.9, label="in both")
        _edges(ax, places, sorted(own - other), color=_SECOND, linewidth=1.8, label="only in this graph")
        fill = {"color": "#D9D9D9"} if shade is None else {"c": shade, "norm": scale if shade.ndim == 1 else None}
        dots = ax.scatter(*places.T, s=size, edgecolors="#222222", linewidths=0.7, zorder=2, **fill)
        _finish_graph(ax, title, places, labels or [])
    if edges[0] != edges[1]:
        handles = [line for line in axes[0].collections if not line.get_label().startswith("_")]
        fig.legend(handles=handles, loc="outside lower center", ncols=2)
    if values:
        fig.colorbar(dots, ax=axes, label=colour_label, shrink=0.8)
    return fig


def draw_matrix_pair(
    reference: np.ndarray,
    metamer: np.ndarray,
    *,
    limit: float | None = None,
    titles: tuple[str, str] = _TITLES,
    row_label: str = "node",
    column_label: str = "feature",
    value_label: str = "value",
) -> Figure:
    """Draw two matrices [N, F] as images on one diverging scale round zero.

    Args:
        reference: the matrices.
        metamer: the matrices.
        limit: value at both ends of the scale, by default the largest magnitude in either matrix.
        titles: texts.
        row_label: texts.
        column_label: texts.
        value_label: texts.
    """
    if limit is not None:
        check_positive("limit", limit)
    given = (("reference", reference), ("metamer", metamer))
    matrices = [as_array(name, matrix, "N", "F", missing=True).astype(float) for name, matrix in given]
    largest = max(float(np.nanmax(np.abs(matrix))) for matrix in matrices)
    end = limit or largest or 1.0
    fig, axes = plt.subplots(1, 2, figsize=(7.0, 3.6), sharey=matrices[0].shape[0] == matrices[1].shape[0])
    for ax, matrix, title in zip(axes, matrices, titles, strict=True):
        image = ax.imshow(matrix, cmap="RdBu_r", vmin=-end, vmax=end, aspect="auto")
        ax.set(title=title, xlabel=column_label)
        ax.xaxis.get_major_locator().set_params(integer=True, nbins=4)
        ax.yaxis.get_major_locator().set_params(integer=True)
        ax.grid(False)
    axes[0].set_ylabel(row_label)
    fig.colorbar(image, ax=axes, label=value_label, extend="both" if largest > end else "neither")
    return fig


def draw_activation_scatter(
    reference: np.ndarray, metamer: np.ndarray, *, max_points: int = 4000, ax: Axes | None = None
) -> Axes:
    """Draw every activation of the metamer against the reference's; a metamer lies on the diagonal.

    Args:
        reference: activations of the same shape.
        metamer: activations of the same shape.
        max_points: beyond so many entries, counts in a grid replace points.
        ax: axes to draw on, by default new ones.
    """
    check_axes(ax)
    max_points = as_count("max_points", max_points, least=0)
    given = (("reference", reference), ("metamer", metamer))
    first, second = (as_array(name, values).astype(float).ravel() for name, values in given)
    if first.shape != second.shape:
        raise ValueError(f"activations have {first.size} and {second.size} entries; expected the same nodes and units")
    ax = ax or plt.subplots(figsize=(4.8, 4.2))[1]
    ends = np.nanmin([first, second]), np.nanmax([first, second])
    if first.size <= max_points:
        ax.scatter(first, second, s=9, alpha=0.4, linewidths=0, color=_FIRST, rasterized=True)
    else:
        counts, _, _, image = ax.hist2d(first, second, bins=80, range=[ends, ends], cmin=1, cmap="cividis_r")
        image.set(norm=LogNorm(1, max(10.0, float(np.nanmax(counts)))), rasterized=True)
        ax.figure.colorbar(image, ax=ax, label="entries per cell", shrink=0.8)
    ax.axline((ends[0], ends[0]), slope=1.0, color="#222222", linewidth=1.0, linestyle="--", label="equal")
    ax.set(xlabel="activation on the reference", ylabel="activation on the metamer")
    ax.set_aspect("equal")
    ax.legend(loc="upper left")
    return ax


def draw_cosine_histogram(
    features: np.ndarray,
    activations: np.ndarray,
    *,
    start: np.ndarray | None = None,
    shuffled: np.ndarray | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how alike features and activations are, row by row, beside two baselines for features.

    Args:
        features: cosines [N] of each node's row in reference and metamer; NaN for zero rows.
        activations: cosines [N] of each node's row in reference and metamer; NaN for zero rows.
        start: cosines [N] of the reference's features with the start's.
        shuffled: cosines [N] of the metamer's features with shuffled rows of the reference's.
        ax: axes to draw on, by default new ones.
    """
    check_axes(ax)
    given = {"features": features, "activations": activations, "start": start, "shuffled": shuffled}
    for name, values in given.items():
        if values is not None or name in ("features", "activations"):
            as_array(name, values, "N", missing=True)
    ax = ax or plt.subplots()[1]
    series: list[tuple[str, np.ndarray | None, dict[str, Any]]] = [
        ("features", features, {"color": _FIRST, "alpha": 0.75}),
        ("activations", activations, {"color": _SECOND, "alpha": 0.75}),
        ("features, start", start, {"color": "#222222", "histtype": "step", "linewidth": 1.6}),
        (
            "features, shuffled",
            shuffled,
            {"color": _QUIET, "histtype": "step", "linewidth": 1.6, "linestyle": "--"},
        ),
    ]
    finite = {name: np.asarray(values)[np.isfinite(values)] for name, values, _ in series if values is not None}
    lowest = min([0.0, *(float(values.min()) for values in finite.values() if values.size)])
    bins = np.linspace(lowest, 1.0 + 1e-6, 51).tolist()
    for name, values, look in series:
        if values is None:
            continue
        left_out = len(values) - finite[name].size
        label = f"{name} ({left_out} zero rows left out)" if left_out else name
        ax.hist(
            finite[name],
            bins=bins,
            weights=np.full(finite[name].size, 1 / max(1, len(values))),
            label=label,
            **look,
        )
    ax.set(xlabel="cosine of a node's row, reference and metamer", ylabel="share of nodes")
    ax.legend(loc="best")
    return ax


def draw_convergence(
    histories: Mapping[str, pd.DataFrame],
    *,
    against: str = "seconds",
    rtol: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the loss of several runs on a log scale.

    Args:
        histories: by solver, a table with columns loss and step or seconds.
        against: "seconds" or "step".
        rtol: loss at which a run counts as converged, drawn as a line.
        ax: axes to draw on, by default new ones.
    """
    check_axes(ax)
    if rtol is not None:
        check_positive("rtol", rtol)
    if not isinstance(against, str) or against not in ("seconds", "step"):
        raise ValueError(f"against is {against!r}; expected 'seconds' or 'step'")
    for name, history in as_mapping("histories", histories, "tables by solver").items():
        if not isinstance(history, pd.DataFrame) or {"loss", against} - set(history.columns):
            raise TypeError(f"history {name!r} must be a table with loss and {against}, got {shown(history)}")
    ax = ax or plt.subplots()[1]
    for number, (name, history) in enumerate(histories.items()):
        line = ("-", "--", "-.", ":")[number % 4]
        ax.plot(history[against], history["loss"], linestyle=line, label=name)
    if rtol is not None:
        ax.axhline(rtol, color="#222222", linewidth=1.0, linestyle=(0, (1, 2)), label=f"converged ({rtol:g})")
    ax.set_yscale("log", nonpositive="mask")
    ax.set(xlabel="seconds" if against == "seconds" else "steps", ylabel=r"$L_{\mathrm{act}}$")
    ax.legend(loc="best")
    return ax


def feature_colours(reference: np.ndarray, metamer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return RGB colours [N, 3] of the rows of two matrices on three principal axes that they share.

    >>> first, second = feature_colours(np.eye(4), np.eye(4)[::-1])
    >>> first.shape, bool(np.allclose(first, second[::-1]))
    ((4, 3), True)
    """
    given = (("reference", reference), ("metamer", metamer))
    tables = [as_array(name, table, "N", "F") for name, table in given]
    if tables[0].shape[1] != tables[1].shape[1]:
        raise ValueError(f"the matrices have {tables[0].shape[1]} and {tables[1].shape[1]} columns; give the same")
    rows = np.vstack(tables).astype(float)
    left, scale, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    axes = np.zeros((len(rows), 3))
    axes[:, : min(3, len(scale))] = (left * scale)[:, :3]
    width = np.where(np.ptp(axes, axis=0) > 0, np.ptp(axes, axis=0), 1.0)
    shades = 0.1 + 0.8 * (axes - axes.min(0)) / width
    return shades[: len(reference)], shades[len(reference) :]


def _shades(first: np.ndarray | None, second: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray | None]:
    second = first if second is None else second
    return (
        None if first is None else as_array("colours", first),
        None if second is None else as_array("metamer_colours", second),
    )


def _layout(edges: set[tuple[int, int]], num_nodes: int) -> np.ndarray:
    graph = nx.Graph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from(sorted(edges))
    if num_nodes <= 200 and nx.is_connected(graph):
        places = nx.kamada_kawai_layout(graph)
    else:
        places = nx.spring_layout(graph, seed=0)
    return np.array([places[node] for node in range(num_nodes)])


def _finish_graph(ax: Axes, title: str, places: np.ndarray, labels: Sequence[str]) -> None:
    for (x, y), text in zip(places.tolist(), labels, strict=False):
        ax.text(x, y, text, ha="center", va="center", fontsize="x-small")
    ax.set_title(title)
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.margins(0.08)


def _edges(ax: Axes, places: np.ndarray, edges: list[tuple[int, int]], **look: Any) -> None:
    ax.add_collection(LineCollection([places[list(edge)] for edge in edges], zorder=1, **look))
