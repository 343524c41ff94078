"""The linear modules that read the features."""

from __future__ import annotations

from torch import nn
from torch_geometric.nn import Linear as PyGLinear


def first_linear_maps(model: nn.Module, num_features: int) -> list[nn.Linear | PyGLinear]:
    """Return the linear modules of a model that take ``num_features`` inputs.

    Example:
        >>> first_linear_maps(nn.Sequential(nn.Linear(5, 2), nn.Linear(2, 3)), 5)
        [Linear(in_features=5, out_features=2, bias=True)]
    """
    return [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear | PyGLinear)
        and not isinstance(module.weight, nn.UninitializedParameter)
        and module.weight.shape[1:] == (num_features,)
    ]
