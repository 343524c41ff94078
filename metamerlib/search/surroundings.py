"""What surrounds a search: the caller's gradient mode and autocast, and what his model keeps between calls."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch_geometric.data import Data

KEPT_FEATURES = ("_cached_x", "_cached_h")


@contextmanager
def own_modes() -> Iterator[None]:
    """Search with gradients and without autocast, whatever the caller has set; his modes come back at the end.

    Example:
        >>> with torch.no_grad(), own_modes():
        ...     torch.is_grad_enabled()
        True
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def free_of_inference(graph: Data) -> Data:
    """Return a graph whose tensors may take part in gradients: a copy, if they were made in inference mode."""
    made = [value for value in graph.to_dict().values() if isinstance(value, torch.Tensor)]
    return graph.clone() if any(value.is_inference() for value in made) else graph


def warn_of_caches(model: nn.Module, *, edges: bool) -> None:
    """Warn where a model would not see another graph, since a convolution keeps what it computed on the first one.

    Args:
        model: The caller's model.
        edges: Whether edges vary, of which the normalised weights are kept too.
    """
    for name, module in model.named_modules():
        if getattr(module, "cached", False) is True and (edges or any(hasattr(module, kept) for kept in KEPT_FEATURES)):
            warnings.warn(
                f"{type(module).__name__}(cached=True) at {name!r} keeps what it computed on the first graph, so the "
                "model itself would not see that another one differs; the search and its loss take cached=False: set "
                "it so before you judge the metamer by the model",
                stacklevel=3,
            )
