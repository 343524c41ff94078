"""Activations of a named layer of any torch model, by forward hooks on a private copy."""

from __future__ import annotations

import copy
import re
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_model, check_module, check_slope
from metamerlib.models.calling import (
    Forward,
    answer,
    call,
    first_scores,
    left_out,
    private_copy,
    takes_features_alone,
    unwrapped,
    without_prefix,
)
from metamerlib.models.gnn import GNN, Layer
from metamerlib.plain import check_forward, nearest, shown
from metamerlib.probing.relu import WatchReLU
from metamerlib.typing import Device


@dataclass(frozen=True)
class Recording:
    """What one forward pass shows of a layer.

    Attributes:
        activation: :math:`h^{(k)}` ``[rows, d_k]``; the rows are nodes, or graphs after pooling.
        pre_activation: :math:`z^{(k)}` ``[rows, d_k]``, what enters the activation function, or None
            where it cannot be reached.
        rectified: Whether the activation is ``relu`` of the pre-activation (plus a residual, if any).
        output: The model's output, or None if the pass was cut short at the layer.
    """

    activation: Tensor
    pre_activation: Tensor | None
    rectified: bool
    output: Tensor | None


class _LayerReached(BaseException):
    """The layer has been recorded; the rest of the forward pass is not needed, and no model's ``except`` stops this."""


def _locate(model: nn.Module, layer: int | str | nn.Module) -> tuple[str, int | None, str | None]:
    """Return the module name, the index of the call and the key of the output (None where they were not given)."""
    modules = dict(model.named_modules())
    if isinstance(layer, nn.Module):
        names = [name for name, module in modules.items() if module is layer or module is unwrapped(layer)]
        if not names:
            raise ValueError(f"layer {type(layer).__name__} is not a module of this model; pass its name instead")
        return names[0], None, None
    if isinstance(layer, bool) or not isinstance(layer, int | str):
        raise TypeError(f"layer must be an int, a module name or a module, got {shown(layer)}")
    if isinstance(layer, int):
        return _numbered(model, layer, modules), None, None
    bare, key = _split_key(layer)
    name, _, index = bare.partition(":")
    matching = [known for known in modules if without_prefix(known) == without_prefix(name)]
    if name not in modules and not matching:
        hint = nearest(name, module_names(modules))
        raise ValueError(f"layer {name!r} does not exist; the modules are {module_names(modules)}{hint}")
    if index and not index.isdigit():
        raise ValueError(f"layer {layer!r}: the part after the colon must be the index of the call, such as 'act:0'")
    return name if name in modules else matching[-1], int(index) if index else None, key


def _numbered(model: nn.Module, layer: int, modules: dict[str, nn.Module]) -> str:
    inner = unwrapped(model)
    if not isinstance(inner, GNN):
        raise ValueError(f"layer {layer} by number needs a metamerlib.GNN; choose a name: {module_names(modules)}")
    if not 1 <= layer <= len(inner.layers):
        raise ValueError(f"layer {layer} does not exist; this model has layers 1..{len(inner.layers)}")
    return next(name for name, module in modules.items() if module is inner.layers[layer - 1])


def _split_key(layer: str) -> tuple[str, str | None]:
    """Divide ``name[key]`` or ``name[key]:index`` into the name with its index and the key."""
    match = re.search(r"\[(.*)\]", layer)
    return (layer, None) if match is None else (layer[: match.start()] + layer[match.end() :], match[1].strip("'\""))


def _selected(name: str, output: Any, key: str | None) -> Any:
    """Return one tensor of what a module returns."""
    if key is None or isinstance(output, Tensor):
        return output
    try:
        if isinstance(output, dict):
            return output[key] if key in output else output[int(key)]
        return output[int(key)] if key.lstrip("-").isdigit() else getattr(output, key)
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"layer {name!r}: the module returns {_kind(output)}, which has no entry {key!r}") from error


def _kind(output: object) -> str:
    if isinstance(output, dict):
        return f"a dict with keys {list(output)}"
    return f"a {type(output).__name__}" + (f" of {len(output)}" if isinstance(output, list | tuple) else "")


def module_names(modules: dict[str, nn.Module]) -> list[str]:
    """Return the names of all modules but the model itself."""
    return [name for name in modules if name]


class Probe:
    """Record one layer of a private copy of a model.

    Args:
        model: Any torch model; it is copied and never changed.
        layer: A 1-based number for :class:`metamerlib.GNN`, a module name, or a module. ``"act:0"`` is the
            first call of a module that is called several times, ``"name[1]"`` or ``"name[key]"`` one tensor
            of a module that returns several.
        forward: Replaces the default call, ``forward(model, graph) -> Tensor``.
        slope: Gradient given to dead ReLU units (see :func:`metamerlib.find_metamer`).

    Raises:
        ValueError: If the layer does not exist.

    Example:
        >>> import metamerlib as ml
        >>> from metamerlib.probing.probe import Probe
        >>> graph = ml.load_graph("karate")
        >>> model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
        >>> Probe(model, 1)(graph).activation.shape
        torch.Size([34, 8])
    """

    def __init__(
        self,
        model: nn.Module,
        layer: int | str | nn.Module,
        *,
        forward: Forward | None = None,
        slope: float | None = None,
    ) -> None:
        check_module(model)
        check_forward(forward)
        if slope is not None:
            check_slope(slope)
        model = unwrapped(model) if forward in (None, call) or hasattr(model, "_orig_mod") else model
        self.module_name, self.index, self.key = _locate(model, layer)
        self.name = self.module_name if self.index is None else f"{self.module_name}:{self.index}"
        self.name += "" if self.key is None else f"[{self.key}]"
        self.original = model
        self.forward = forward or call
        self.slope = slope
        self.leak = 0.0
        self.own_relu: int | None = None
        self.inner_relus = 0
        self._attach(private_copy(model))

    @classmethod
    def fitting(
        cls,
        model: nn.Module,
        layer: int | str | nn.Module,
        graph: Data,
        *,
        forward: Forward | None = None,
        slope: float | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> Probe:
        """Probe a model whose dtype, device and width fit a graph; the private copy is converted first.

        Args:
            model: As for the class.
            layer: As for the class.
            graph: The reference, converted already.
            forward: As for the class.
            slope: As for the class.
            device: Where the copy goes; None leaves it where it is.
            dtype: What the copy's parameters become; None leaves them.

        Raises:
            TypeError: If the dtypes differ.
            ValueError: If the devices differ, or the model takes another number of features.
        """
        probe = cls(model, layer, forward=forward, slope=slope)
        if dtype is not None or device is not None:
            probe.model.to(device=device, dtype=dtype)
        alone = probe.forward is call and takes_features_alone(probe.model, graph)
        check_model(probe.model, graph, alone=alone)
        return probe

    def watch(self, model: nn.Module) -> None:
        """Record the layer of a model itself from now on, in place of that of a copy."""
        self._attach(model)

    def _attach(self, model: nn.Module) -> None:
        self.model = model
        self.module = dict(model.named_modules())[self.module_name]
        self.inner = self.module.act if isinstance(self.module, Layer) else None

    def copy(self) -> Probe:
        """Return a probe of the same layer on another private copy."""
        other = copy.copy(self)
        other._attach(private_copy(self.model))
        return other

    def leaked(self, leak: float) -> Probe:
        """Return a probe of the same copy whose ReLUs leak, all but the one that makes the activation."""
        other = copy.copy(self)
        other.leak = leak
        return other

    def check(self, graph: Data) -> Recording:
        """Run once, and raise unless the layer is called exactly as asked and outputs a tensor.

        Raises:
            ValueError: If the layer is never called, or several times and no index was given, or the model
                fails on the graph.
            TypeError: If the layer's output is not a floating-point tensor.
        """
        self._refuse_left_out(graph)
        calls: list[int] = []
        handle = self.module.register_forward_hook(lambda *_: calls.append(1))
        try:
            with torch.no_grad():
                output = self._call(graph, "the reference graph")
        finally:
            handle.remove()
        if output is None:
            who = "the model's own forward" if self.forward is call else "forward="
            raise ValueError(f"{who} returns None; expected a tensor, so let it return what the model computes")
        if self.forward is not call and not isinstance(output, Tensor) and first_scores(output) is None:
            raise TypeError(f"forward= returns {shown(output)}; expected a tensor, so let it return the model's output")
        count = len(calls)
        if count == 0:
            raise ValueError(
                f"layer {self.name!r} is never called by the model's forward; choose another (a module whose .forward "
                "is called directly fires no hook: call the module itself)"
            )
        if self.index is None and count > 1:
            raise ValueError(f"layer {self.name!r} is called {count} times; say which, from '{self.name}:0' on")
        if self.index is not None and self.index >= count:
            raise ValueError(f"layer {self.name!r}: the module is called {count} times, count from 0")
        watch = WatchReLU(self.slope)
        with torch.no_grad():
            recording = self._run(graph, watch, complete=True)
        if self.inner is None and recording.rectified:
            self.own_relu = self._relus - 1
        self.inner_relus = self._relus - int(recording.rectified)
        return recording

    def _refuse_left_out(self, graph: Data) -> None:
        spare = [] if self.forward is not call or isinstance(self.model, GNN) else left_out(self.model, graph)
        if spare:
            raise ValueError(
                f"the graph holds {', '.join(spare)}, which the model could read but its forward does not name; pass "
                f"forward=lambda model, graph: model(...), or set graph.{spare[0]} = None"
            )

    def _call(self, graph: Data, what: str) -> Any:
        return answer(self.model, graph, what, forward=self.forward)

    def __call__(self, graph: Data, *, complete: bool = True) -> Recording:
        """Run the model on a graph.

        Args:
            graph: The input.
            complete: Whether to go on to the model's output after the layer.

        Returns:
            The recording; gradients flow to ``graph.x`` if it asks for them.
        """
        if self.inner is not None and self.slope is None and not self.leak:
            return self._run(graph, None, complete)
        return self._run(graph, WatchReLU(self.slope, self.leak, self.own_relu), complete)

    def _run(self, graph: Data, watch: WatchReLU | None, complete: bool) -> Recording:
        seen: dict[str, Any] = {"calls": 0}

        def enter(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            seen["entered"] = args[0]
            if watch is not None:
                watch.exempt = watch.count

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            output = _selected(self.name, output, self.key)
            wanted = self.index is None or seen["calls"] == self.index
            seen["calls"] += 1
            if wanted:
                last = None if watch is None else watch.last
                seen["z"] = last[0] if last and last[1] is output and last[0].dim() == 2 else None
                # What follows the layer may write into its output.
                seen["activation"] = output.clone() if complete and isinstance(output, Tensor) else output
                self._relus = 0 if watch is None else watch.count
                if not complete:
                    raise _LayerReached

        handles = [self.module.register_forward_hook(leave)]
        if self.inner is not None:
            handles.append(self.inner.register_forward_pre_hook(enter))
        output = None
        try:
            with watch or nullcontext():
                output = first_scores(self._call(graph, "the graph"))
        except _LayerReached:
            pass
        finally:
            for handle in handles:
                handle.remove()
        if "activation" not in seen:
            raise ValueError(
                f"the model skips layer {self.name!r} on the graph {graph}; choose a layer that it always calls"
            )
        activation = _matrix(self.name, seen["activation"])
        if self.inner is not None:
            return Recording(activation, seen["entered"], isinstance(self.inner, nn.ReLU), output)
        return Recording(activation, seen["z"], seen["z"] is not None, output)


def _matrix(name: str, output: object) -> Tensor:
    if not isinstance(output, Tensor) or not output.is_floating_point():
        got = output.dtype if isinstance(output, Tensor) else type(output).__name__
        raise TypeError(
            f"layer {name!r} outputs {got}; expected one floating-point tensor [rows, channels]{_choice(name, output)}"
        )
    if output.dim() == 0:
        raise ValueError(f"layer {name!r} outputs a single number; expected [rows, channels]")
    return output if output.dim() == 2 else output.reshape(output.size(0), -1)


def _choice(name: str, output: object) -> str:
    keys = list(output) if isinstance(output, dict) else range(len(output)) if isinstance(output, list | tuple) else []
    first = next(iter(keys), None)
    return "" if first is None else f"; choose one of its {len(keys)}, such as layer='{name}[{first}]'"


def plain_activation(probe: Probe, graph: Data) -> Tensor:
    """Return a layer's activation with every ReLU as the model calls it, so that derivatives are PyTorch's own."""
    return probe._run(graph, None, False).activation
