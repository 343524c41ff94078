"""Where a search from a given start would end if the model were linear."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.manifold.constraint import Constraint, check_direction
from metamerlib.manifold.matching import MatchOptions, match
from metamerlib.manifold.tangent import project_to_tangent


def linear_prediction(
    model: nn.Module | Constraint,
    graph: Data | None = None,
    start: Tensor | None = None,
    **options: Unpack[MatchOptions],
) -> Tensor:
    r"""Predict the metamer that a search reaches from a start, without searching and without a free parameter.

    .. math:: X_0 + P (X - X_0) = X + (I - P) (X_0 - X)

    with X the reference, :math:`X_0` the start and P the projector on the rows of the Jacobian J of the matched
    activations at the reference. Of all points whose activations J says to be the reference's it is the one
    nearest to the start; for a linear model these are the metamers. J is decomposed in float64.

    Args:
        model: Any torch model of graphs, or a constraint; see :func:`metamerlib.walk`.
        graph: The reference, x ``[N, F]``.
        start: Features of the free nodes where the search begins ``[n, F]``, in the order of free_nodes.
        **options: As for :func:`metamerlib.walk`.

    Returns:
        The predicted features of the free nodes ``[n, F]``, in float64.

    Raises:
        ValueError: If start has another shape than the free features, or an argument is out of range.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
        >>> linear_prediction(model, graph, 0 * graph.x, layer=2, nodes=[0]).shape
        torch.Size([34, 34])
    """
    constraint = match(model, graph, **options)
    base = constraint.base
    away = check_direction(start, constraint, name="start") - base
    return base + project_to_tangent(constraint, direction=away)
