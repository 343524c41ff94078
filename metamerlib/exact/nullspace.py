"""Metamers known in closed form."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd
from torch import nn
from torch_geometric.data import Data

from metamerlib.checks import check_graph, check_module
from metamerlib.graphs.edit import with_features
from metamerlib.models.calling import Forward
from metamerlib.plain import as_seed
from metamerlib.probing.examination import examine
from metamerlib.probing.probe import Probe
from metamerlib.probing.row_space import row_space, sees_only
from metamerlib.probing.target import Target
from metamerlib.search.features.starts import feature_starts
from metamerlib.search.metamer import Metamer, Outcome, assemble


def nullspace_metamer(
    model: nn.Module, graph: Data, seed: int = 0, *, forward: Forward | None = None, layer: Any = None
) -> Metamer:
    r"""Change the features where the first linear maps of a model cannot see it.

    If X enters only through linear maps :math:`W_1 \ldots W_m` (every branch counted) and
    :math:`r = rank [W_1 \ldots W_m] < F`, then

    .. math:: X' = X + R (I - Q Q^T)

    with Q ``[F, r]`` an orthonormal basis of their joint column space has the activations of X at every
    layer. R is the start that :func:`metamerlib.find_metamer` would draw, minus X, so that the metamer is as
    far from the reference as random features of the same moments allow.

    Args:
        model: Any torch model of graphs.
        graph: The reference, x ``[N, F]``.
        seed: Seed of R.
        forward: Replaces the default call, ``forward(model, graph) -> Tensor``.
        layer: Layer whose activations the result holds; None for the model's output.

    Returns:
        The metamer, with status "exact"; its loss is rounding error.

    Raises:
        ValueError: If r = F, or if X enters the model in another way too.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("davis")
        >>> model = ml.GNN(conv="gcn", in_channels=graph.x.size(1), hidden_channels=4, out_channels=2, num_layers=2)
        >>> ml.nullspace_metamer(model, graph).relative_error < 1e-5
        True
    """
    began = time.perf_counter()
    check_module(model)
    check_graph(graph)
    seed = as_seed(seed)
    graph = with_features(graph, graph.x.detach())
    probe = Probe.fitting(model, model if layer is None else layer, graph, forward=forward)
    num_features = graph.x.size(1)
    target = Target.of(probe.check(graph), None)
    examine(probe, graph, features=False)
    space = row_space(probe.model, num_features)
    start = with_features(graph, feature_starts(graph, None, "moments", 1, seed)[0])
    if space is not None and space.rank == num_features:
        raise ValueError(
            f"no null space: the first linear maps have rank r = {space.rank} and there are F = {num_features} "
            "features; use find_metamer, or a model narrower than its input"
        )
    if space is None or not sees_only(probe, space, [(g, space.coordinates(g.x)) for g in (graph, start)]):
        raise ValueError(
            "this model does not read the features through linear maps alone, so its null space is unknown; "
            "use find_metamer"
        )
    found = with_features(graph, graph.x + space.invisible(start.x - graph.x))
    history = pd.DataFrame({"step": [], "loss": [], "seconds": []})
    settings = {
        "vary": "features",
        "values": "continuous",
        "solver": "nullspace",
        "seed": seed,
        "row_space": space.rank,
    }
    outcome = Outcome(found.clone(), start, "exact", 0, history, settings)
    return assemble(probe, target, graph, outcome, free_nodes=None, began=began)
