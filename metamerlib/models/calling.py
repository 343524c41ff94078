"""How a model is copied and called, ours or anybody's."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable

from torch import Tensor, nn
from torch_geometric.data import Data

Forward = Callable[[nn.Module, Data], Tensor]


def private_copy(model: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode, without gradients, whose modules cache nothing and never act in place."""
    try:
        twin = copy.deepcopy(model).eval().requires_grad_(False)
    except RuntimeError as error:
        raise ValueError(f"the model cannot be copied; drop the tensors that it keeps of its runs: {error}") from error
    for module in twin.modules():
        for name in ("inplace", "cached"):
            if getattr(module, name, None) is True:
                setattr(module, name, False)
    return forget_cached(twin)


def forget_cached(model: nn.Module) -> nn.Module:
    """Clear in place what convolutions of PyG keep of an earlier graph, and return the model."""
    for module in model.modules():
        for name in [name for name in vars(module) if name.startswith("_cached")]:
            setattr(module, name, None)
    return model


def call(model: nn.Module, graph: Data) -> Tensor:
    """Call ``model(x, edge_index[, edge_weight][, batch])``, passing only what graph and model both have."""
    known = inspect.signature(model.forward).parameters
    extra = {
        name: graph[name]
        for name in ("edge_weight", "batch")
        if name in known and name in graph and graph[name] is not None
    }
    return model(graph.x, graph.edge_index, **extra)
