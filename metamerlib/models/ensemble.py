"""Several models as one, whose metamers are metamers of all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_graph, check_module
from metamerlib.models.calling import call, first_scores
from metamerlib.plain import as_list, shown


class Ensemble(nn.Module):
    r"""Run several models on one graph and put their outputs side by side.

    Each output is divided by its norm on the reference, so that every model counts the same: the loss of the whole is
    the mean of the models' losses :math:`L_{act}`.

    Args:
        models: Models that give scores ``[N, C]`` each.
        graph: The reference.

    Raises:
        ValueError: If there is no model, or one gives no scores or only zeros.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")
        >>> sizes = {"in_channels": 34, "hidden_channels": 8, "out_channels": 4, "num_layers": 2}
        >>> models = [ml.GNN(conv=conv, **sizes) for conv in ("gcn", "sage")]
        >>> ml.models.Ensemble(models, graph)(graph).shape
        torch.Size([34, 8])
    """

    def __init__(self, models: Sequence[nn.Module], graph: Data) -> None:
        super().__init__()
        if isinstance(models, nn.Module):
            raise TypeError(f"models must be a list of models, got {shown(models)} alone; write [model]")
        for model in as_list("models", models, "models", least=1):
            check_module(model)
        check_graph(graph)
        self.models = nn.ModuleList(models)
        with torch.no_grad():
            norms = [float(_scores(model.eval(), graph).norm()) for model in self.models]
        if not all(0 < norm < float("inf") for norm in norms):
            raise ValueError(f"norms of the models' scores on the reference are {norms}; expected positive ones")
        self.norms = norms

    def forward(self, graph: Data) -> Tensor:
        """Return all scores ``[N, sum of C]``."""
        parts = [_scores(model, graph) / norm for model, norm in zip(self.models, self.norms, strict=True)]
        return torch.cat(parts, dim=1)


def _scores(model: nn.Module, graph: Data) -> Tensor:
    scores = first_scores(call(model, graph))
    if scores is None or scores.dim() != 2:
        raise ValueError(f"{type(model).__name__} gives no table of scores; expected [N, C]")
    return scores
