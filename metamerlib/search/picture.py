"""A metamer as a figure for a notebook: features or edges before and after, and the descent of the search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from metamerlib.search.page import unpacked, varied, view_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from metamerlib.search.metamer import Metamer

KEPT, LOST, NEW = "#b5b5b5", "#08519c", "#b45309"


def picture_of(metamer: Metamer, node: object = None) -> Figure:
    """Draw what :func:`metamerlib.search.page.view_of` shows, and the descent.

    Args:
        metamer: The result of a search.
        node: The node in the middle, or None for the matched one that changed most.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    view = view_of(metamer, node)
    last = view["models"][0]["searches"][0]["frames"][-1]
    kind = varied(metamer)
    rows = 2 if kind == "both" else 1
    figure = Figure(figsize=(10, 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, 3, squeeze=False)
    if kind != "features":
        _draw_edges(panels[0, 0], view, view["edges"], last["edges"], LOST, "Reference")
        _draw_edges(panels[0, 1], view, last["edges"], view["edges"], NEW, "Metamer")
    if kind != "structure":
        _draw_features(panels[-1, :2], unpacked(view["x"]), unpacked(last["x"]))
        for axes in panels[-1, :2]:
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _draw_descent(panels[0, 2], metamer)
    for spare in panels[1:, 2]:
        spare.set_axis_off()
    figure.suptitle(repr(metamer), fontsize=10)
    return figure


def _draw_features(panels: Any, reference: np.ndarray, metamer: np.ndarray) -> None:
    top = float(np.nanmax(np.abs([reference, metamer]))) or 1.0
    for axes, values, title in zip(panels, (reference, metamer), ("reference", "metamer"), strict=True):
        image = axes.imshow(values, cmap="RdBu", vmin=-top, vmax=top, aspect="auto", interpolation="none")
        axes.set(title=f"Features of the {title}", xlabel="feature, most changed first", ylabel="node, nearest first")
    panels[1].figure.colorbar(image, ax=panels[1])


def _draw_edges(axes: Axes, view: dict[str, Any], edges: list[Any], others: list[Any], colour: str, title: str) -> None:
    places, known = np.array(view["layout"]), {tuple(edge) for edge in others}
    alone = 0
    for u, v in edges:
        own = (u, v) not in known
        alone += own
        axes.plot(*places[[u, v]].T, color=colour if own else KEPT, linewidth=1.6 if own else 0.8, zorder=1)
    axes.scatter(places[:, 0], places[:, 1], s=25, color="#333333", zorder=2)
    axes.set_title(f"{title}\n{alone} of {len(edges)} edges are its own", fontsize=10)
    axes.set_axis_off()


def _draw_descent(axes: Axes, metamer: Metamer) -> None:
    loss = metamer.history["loss"].to_numpy(dtype=float)
    if np.isfinite(loss).any() and (loss > 0).any():
        error = np.sqrt(np.where(loss > 0, loss, np.nan))
        axes.plot(metamer.history["step"], error, color=LOST, marker="." if len(error) < 30 else None)
        axes.set(yscale="log", title="Descent of the search", xlabel="step", ylabel="relative error")
        return
    axes.text(0.5, 0.5, "no steps: found without a search", ha="center", va="center", transform=axes.transAxes)
    axes.set_axis_off()
