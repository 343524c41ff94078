"""One examination of the model on the reference, before any search: is what it computes a function to be searched?"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.graphs.edit import with_features
from metamerlib.graphs.sampling import gaussian
from metamerlib.models.calling import forget_cached
from metamerlib.probing.probe import Probe


def examine(probe: Probe, graph: Data, *, features: bool = True) -> None:
    """Raise unless a layer is a function of the graph that a search can follow.

    Four passes: two on the copy, one of the model itself and one with a gradient; two more, on other features,
    where there is none. The model, its mode, its buffers and the random numbers are left as they were. Hooks of the
    model's owner fire in every pass of a search, on the private copy.

    Args:
        probe: Records the layer of the private copy.
        graph: The reference.
        features: Whether the features are to vary.

    Raises:
        ValueError: If two passes differ (random numbers), the copy differs from the model, the layer does not
            depend on the features, or gradients are switched off.
    """
    with _same_random_numbers(graph.x.device):
        with torch.no_grad():
            first, second = (probe(graph, complete=False).activation.clone() for _ in range(2))
        _check_repeats(probe, first, second)
        _check_copy(probe, graph, first)
        if features:
            _check_features_matter(probe, graph, first)


def difference(a: Tensor, b: Tensor) -> float:
    """Return the norm of the difference of two activations over that of the second; infinite for other shapes."""
    if a.shape != b.shape:
        return float("inf")
    return float((a.double() - b.double()).norm() / b.double().norm().clamp(min=torch.finfo(torch.float64).tiny))


def _check_repeats(probe: Probe, first: Tensor, second: Tensor) -> None:
    gap = difference(second, first)
    if not gap <= 100 * torch.finfo(first.dtype).eps:
        raise ValueError(
            f"two passes of the model in evaluation mode differ by {gap:.1e} of layer {probe.name!r}: it draws random "
            "numbers or changes its own state; let it do so only if self.training (functional dropout needs "
            "training=self.training)"
        )


def _check_copy(probe: Probe, graph: Data, found: Tensor) -> None:
    """Compare the copy with the model itself, as its owner calls it in evaluation mode."""
    own = _of_the_original(probe, graph)
    gap = difference(found.to(own.device), own)
    if not gap <= 1000 * torch.finfo(found.dtype).eps:
        raise ValueError(
            f"a private copy of the model differs from the model itself by {gap:.1e} of layer {probe.name!r}: hooks, a "
            "replaced forward or a cache refer to the model by a global name or keep what an earlier graph left; "
            "let them use self or the module that a hook is given, and clear the cache"
        )


def _of_the_original(probe: Probe, graph: Data) -> Tensor:
    model = probe.original
    device = next((parameter.device for parameter in model.parameters()), graph.x.device)
    graph = graph.clone().to(device) if device != graph.x.device else copy.copy(graph)
    seen = copy.copy(probe)
    with _left_as_it_was(model), torch.no_grad():
        model.eval()
        seen.watch(forget_cached(model))
        return seen(graph, complete=True).activation.clone()


def _check_features_matter(probe: Probe, graph: Data, here: Tensor) -> None:
    """Look for a gradient at the reference, which is the rule, and only without one at other features."""
    if _has_gradient(probe, graph, graph.x):
        return
    spread = graph.x.std(0, correction=0)
    far = graph.x + torch.where(spread > 0, spread, spread.new_ones(())) * gaussian(graph.x.shape, 0, graph.x)
    if _has_gradient(probe, graph, far):
        return
    with torch.no_grad():
        there = probe(with_features(graph, far), complete=False).activation
    if here.shape == there.shape and torch.equal(here, there):
        raise ValueError(
            f"layer {probe.name!r} does not depend on the features; choose another, or clear what the "
            "model keeps of earlier runs"
        )
    raise ValueError(
        f"layer {probe.name!r} follows the features, but its gradient does not reach them: gradients are switched off "
        "(torch.no_grad, .detach(), .data) or stopped by rounding; remove that from the model's forward"
    )


def _has_gradient(probe: Probe, graph: Data, x: Tensor) -> bool:
    x = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        activation = probe(with_features(graph, x), complete=False).activation
        if not activation.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(activation.square().sum(), x, allow_unused=True)
    return gradient is not None and bool((gradient != 0).any())


@contextmanager
def _same_random_numbers(device: torch.device) -> Iterator[None]:
    """Leave the random numbers of torch as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


@contextmanager
def _left_as_it_was(model: nn.Module) -> Iterator[None]:
    """Put back what a pass changes in a model: attributes, caches, mode and buffers."""
    modules = list(model.modules())
    attributes = [dict(vars(module)) for module in modules]
    held = [(value, copy.copy(value)) for each in attributes for value in each.values() if type(value) in (dict, list)]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for module, before in zip(modules, attributes, strict=True):
            vars(module).clear()
            vars(module).update(before)
        for value, before in held:
            _refill(value, before)
        with torch.no_grad():
            for buffer, kept in buffers:
                buffer.copy_(kept)


def _refill(value: Any, before: Any) -> None:
    value.clear()
    value.update(before) if isinstance(value, dict) else value.extend(before)
