"""Proof that a model gives two graphs the same node outputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing

from metamerlib.models.calling import Forward, answer, private_copy
from metamerlib.probing.reduce import to_float64

EXACT = {torch.float64: 1e-9}  # largest relative difference of activations that are equal; others are rounded anew
ROUNDED = 1e-4


def check_same(model: nn.Module, one: Data, other: Data, *, forward: Forward | None = None) -> None:
    """Raise unless a model, in float64 on a private copy, gives every node the same outputs on two graphs.

    Args:
        model: any torch model of graphs; every module's output with a row for each node is compared.
        one: a graph of N nodes.
        other: a graph of as many.
        forward: replaces the default call, ``forward(model, graph) -> Tensor``.

    Raises:
        ValueError: with the module and the largest difference; or if the model fails, or calls other modules.
    """
    first, second = (_node_outputs(model, graph, forward) for graph in (one, other))
    if [name for name, _ in first] != [name for name, _ in second]:
        raise ValueError("the model calls other modules on the switched graph, so that nothing can be compared")
    worst, where = 0.0, ""
    for (name, wanted), (_, got) in zip(first, second, strict=True):
        gap = float((got - wanted).norm()) if got.shape == wanted.shape else float("inf")
        allowed = EXACT.get(wanted.dtype, ROUNDED) * float(wanted.norm())
        if not gap <= allowed and not gap <= worst:
            worst, where = gap, name
    if where:
        raise ValueError(
            f"the model tells the switched graph apart: {where} differs by {worst:.2g} (norm over the "
            "nodes) in float64. It reads more than colours tell (labels, masks, more hops than rounds, cycles, "
            "the order of edges); use rounds=None, keep what it reads as an attribute, or another model"
        )


def _node_outputs(model: nn.Module, graph: Data, forward: Forward | None) -> list[tuple[str, Tensor]]:
    """Return the outputs that have a row for each node, and the model's own output, in the order of their calls."""
    twin, num_nodes, seen = private_copy(model).double(), graph.num_nodes, []
    ambiguous = num_nodes in (graph.num_edges, 2 * graph.num_edges)  # then rows of other modules may be edges

    def note(name: str, always: bool) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            outputs = output if isinstance(output, tuple | list) else [output]
            for part in [part for part in outputs if isinstance(part, Tensor) and part.is_floating_point()]:
                if module is twin or (part.dim() and part.size(0) == num_nodes and (always or not ambiguous)):
                    seen.append((name or "the model's output", part.detach().clone()))

        return hook

    for name, module in twin.named_modules():
        module.register_forward_hook(note(name, isinstance(module, MessagePassing)))
    exact = to_float64(graph, graph.edge_index.device)
    with torch.no_grad():
        note("the output", True)(twin, (), answer(twin, exact, "float64 values of", forward=forward))
    return seen
