"""Call any model of graphs as its owner calls it: by the names of its parameters, on a private copy."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from types import CellType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing

Forward = Callable[[nn.Module, Data], Tensor]
WHOLE = ("data", "graph", "batch")
FEATURES = ("x", "input", "inputs", "features", "feat", "feats", "node_features", "h")
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)
_NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside ``DataParallel``, ``AveragedModel``, ``torch.compile`` and the like."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module) and isinstance(model, _WRAPPERS):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def without_prefix(name: str) -> str:
    """Strip what wrappers put before a module's name, as in ``module.convs.0``."""
    parts = name.split(".")
    while parts and parts[0] in ("module", "_orig_mod"):
        parts = parts[1:]
    return ".".join(parts)


def call(model: nn.Module, graph: Data) -> Any:
    """Call a model with everything that its ``forward`` names and the graph holds.

    A forward with one required parameter, or whose first one is named data, graph or batch, gets the graph itself.
    A required ``batch`` is filled with zeros.

    Raises:
        ValueError: If the forward requires what the graph lacks.
    """
    values, positional = arguments(model, graph)
    args = [values.pop(name) for name in positional]
    return model(*args, **values)


def answer(model: nn.Module, graph: Data, what: str = "the graph", *, forward: Forward | None = None) -> Any:
    """Call a model, and say in one kind of error whatever it raises.

    Raises:
        ValueError: With the model's class, the text of its error and the way out.
    """
    try:
        return (forward or call)(model, graph)
    except Exception as error:  # a foreign model may raise anything
        kind = "" if isinstance(error, RuntimeError | ValueError) else f"{type(error).__name__}: "
        raise ValueError(
            f"the model {type(unwrapped(model)).__name__} fails on {what} {graph}: {kind}{error}; check that both fit, "
            "or pass forward=lambda model, graph: model(...)"
        ) from error


def arguments(model: nn.Module, graph: Data) -> tuple[dict[str, Any], list[str]]:
    """Return the values that :func:`call` passes by name, and the names that it passes by position."""
    parameters = _parameters(unwrapped(model))
    known = [p for p in parameters if p.kind in _NAMED]
    if not known:
        return {"x": graph.x, "edge_index": graph.edge_index}, ["x", "edge_index"]
    values = _matched(known, graph)
    missing = [p.name for p in known if p.default is p.empty and p.name not in values]
    if missing:
        raise ValueError(
            f"the forward of {type(unwrapped(model)).__name__} requires {missing}, which the graph lacks (it holds "
            f"{list(graph.keys())}); add them to the graph, or pass forward=lambda model, graph: model(...)"
        )
    positional: list[str] = []
    for p in known:
        if p.name not in values or p.kind is p.KEYWORD_ONLY or (len(positional) >= 2 and p.kind is not _NAMED[0]):
            break
        positional.append(p.name)
    return values, positional


def _parameters(model: nn.Module) -> list[inspect.Parameter]:
    """Return the parameters of a model's forward; PyG's ``Sequential`` keeps their names apart."""
    given = getattr(getattr(model, "signature", None), "param_names", None)
    if given is not None:
        return [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in given]
    return list(inspect.signature(model.forward).parameters.values())


def _matched(known: list[inspect.Parameter], graph: Data) -> dict[str, Any]:
    required = [p.name for p in known if p.default is p.empty]
    first = known[0].name
    values: dict[str, Any] = {}
    if first in WHOLE or (required == [first] and first not in graph):
        values[first] = graph.x if first in FEATURES else graph
    for name in [p.name for p in known if p.name not in values]:
        if name in graph and graph[name] is not None:
            values[name] = graph[name]
        elif name in required:
            values |= _derived(name, graph)
    unknown = [name for name in required[:2] if name not in values]
    if first not in WHOLE and len(required) >= 2 and unknown:
        names = dict(zip(required[:2], ("x", "edge_index"), strict=True))
        taken = {name for name in required if name in values}
        values |= {name: graph[names[name]] for name in unknown if names[name] not in taken}
    return values


def _derived(name: str, graph: Data) -> dict[str, Any]:
    """Return what a forward may require and every graph implies."""
    num_nodes, device = int(graph.x.size(0)), graph.x.device
    batch = graph.get("batch")
    if batch is None:
        batch = torch.zeros(num_nodes, dtype=torch.long, device=device)
    graphs = int(batch.max()) + 1 if num_nodes else 1
    if name == "batch":
        return {name: batch}
    if name in ("num_nodes", "batch_size", "num_graphs"):
        return {name: num_nodes if name == "num_nodes" else graphs}
    if name == "ptr":
        counts = batch.bincount(minlength=graphs)
        return {name: torch.cat([counts.new_zeros(1), counts.cumsum(0)])}
    return {}


def takes_whole(model: nn.Module, graph: Data) -> bool:
    """Say whether :func:`call` hands the model the graph itself."""
    return any(value is graph for value in arguments(model, graph)[0].values())


def takes_features_alone(model: nn.Module, graph: Data) -> bool:
    """Say whether nothing but x and the edges of a graph reaches the model, so that its width must fit x."""
    values, _ = arguments(model, graph)
    others = [name for name, value in values.items() if isinstance(value, Tensor) and value.is_floating_point()]
    return not takes_whole(model, graph) and all(
        values[name] is graph.x or graph.is_edge_attr(name) for name in others if name in graph or name in FEATURES
    )


def left_out(model: nn.Module, graph: Data) -> list[str]:
    """Return the edge attributes that :func:`call` leaves out although a part of the model could read them."""
    values, _ = arguments(model, graph)
    if any(value is graph for value in values.values()):
        return []
    held = [name for name in graph.keys() if name != "edge_index" and graph.is_edge_attr(name)]  # noqa: SIM118
    spare = [name for name in held if name not in values and graph[name] is not None]
    return [name for name in spare if any(_names(module, name) for module in unwrapped(model).modules())]


def _names(module: nn.Module, name: str) -> bool:
    """Say whether a module's forward, message or edge update names an attribute that it can use."""
    if name == "edge_attr" and _blind(module):
        return False
    methods = [module.forward]
    if isinstance(module, MessagePassing):
        methods += [module.message, module.edge_update]
    try:
        return any(name in inspect.signature(method).parameters for method in methods)
    except (TypeError, ValueError):
        return False


def _blind(module: nn.Module) -> bool:
    """Say whether a module was built without a width for edge attributes, or hands them on to such modules."""
    if hasattr(module, "edge_dim") and module.edge_dim is None:
        return True
    return getattr(module, "supports_edge_attr", True) is False


def private_copy(model: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode, without gradients, whose modules cache nothing and never act in place.

    Hooks and functions on the model that refer to it refer to the copy afterwards. What cannot be copied (a lock,
    an open file, a trainer) is shared.
    """
    twin = _copied(model)
    try:
        twin.eval()
    except Exception as error:  # a foreign eval may raise anything
        raise ValueError(
            f"the model cannot be brought to evaluation mode: {error}; mend its train() or eval()"
        ) from error
    for module in twin.modules():
        for name in ("inplace", "cached"):
            if getattr(module, name, None) is True:
                setattr(module, name, False)
        _fold(module)
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    return forget_cached(twin)


def forget_cached(model: nn.Module) -> nn.Module:
    """Clear in place what convolutions of PyG keep of an earlier graph, and return the model."""
    for module in model.modules():
        for name in [name for name in vars(module) if name.startswith("_cached")]:
            setattr(module, name, None)
    return model


def _copied(model: nn.Module) -> nn.Module:
    memo = _kept_tensors(model)
    try:
        twin = copy.deepcopy(model, memo)
    except Exception:  # what a model holds may refuse in any way
        memo = _shared(model, _kept_tensors(model))
        try:
            twin = copy.deepcopy(model, memo)
        except Exception as error:
            raise ValueError(f"the model cannot be copied; drop what it holds beside its modules: {error}") from error
    for module in twin.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, dict) and name not in ("_modules", "_parameters", "_buffers"):
                for key, entry in list(value.items()):
                    value[key] = _rebound(entry, memo)
            elif isinstance(value, FunctionType | functools.partial):
                vars(module)[name] = _rebound(value, memo)
    return twin


def _kept_tensors(model: nn.Module) -> dict[int, Any]:
    """Return detached copies, by identity, of the results of earlier runs that the modules keep."""
    return {
        id(tensor): tensor.detach().clone()
        for module in model.modules()
        for tensor in _tensors_in({name: value for name, value in vars(module).items() if name != "_modules"})
        if not tensor.is_leaf
    }


def _tensors_in(value: Any, depth: int = 0) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for entry in entries for tensor in _tensors_in(entry, depth + 1)] if depth < 4 else []


def _shared(model: nn.Module, memo: dict[int, Any]) -> dict[int, Any]:
    """Add to ``memo`` what the modules hold and cannot be copied, to be shared with the copy."""
    own = nn.Module().__dict__
    shared = dict(memo)
    for module in model.modules():
        for name, value in vars(module).items():
            if name in own or isinstance(value, Tensor | nn.Module):
                continue
            try:
                copy.deepcopy(value, dict(memo) | {id(part): part for part in model.modules()})
            except Exception:  # a lock, a file, a trainer
                shared[id(value)] = value
    return shared


def _rebound(value: Any, memo: dict[int, Any], depth: int = 0) -> Any:
    """Return a function that refers to the copies of what it referred to, or the value itself if nothing changes."""
    if id(value) in memo and not isinstance(value, FunctionType):
        return memo[id(value)]
    if depth > 4:
        return value
    if isinstance(value, MethodType):
        owner = _rebound(value.__self__, memo, depth + 1)
        return value if owner is value.__self__ else MethodType(value.__func__, owner)
    if isinstance(value, functools.partial):
        function, *parts = [_rebound(part, memo, depth + 1) for part in (value.func, *value.args)]
        words = {key: _rebound(part, memo, depth + 1) for key, part in value.keywords.items()}
        return functools.partial(function, *parts, **words)
    return _rebound_function(value, memo, depth) if isinstance(value, FunctionType) else value


def _rebound_function(function: FunctionType, memo: dict[int, Any], depth: int) -> FunctionType:
    held = []
    for cell in function.__closure__ or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # an empty cell
            return function
    defaults = function.__defaults__ or ()
    now, fresh = ([_rebound(part, memo, depth + 1) for part in parts] for parts in (held, defaults))
    if all(a is b for a, b in zip([*held, *defaults], [*now, *fresh], strict=True)):
        return function
    cells = tuple(CellType(part) for part in now)
    other = FunctionType(
        function.__code__, function.__globals__, function.__name__, tuple(fresh) or None, cells or None
    )
    other.__kwdefaults__ = function.__kwdefaults__
    other.__dict__.update(function.__dict__)
    return other


def _fold(module: nn.Module) -> None:
    """Make plain parameters of parametrised weights, which are constant in evaluation mode.

    The class of a parametrised module is shared with the original and stays as it is.
    """
    if parametrize.is_parametrized(module):
        kept = module.get_submodule("parametrizations")
        weights = {name: getattr(module, name).detach().clone() for name, _ in kept.named_children()}
        module.__class__ = parametrize.type_before_parametrizations(module)
        del module._modules["parametrizations"]
        for name, weight in weights.items():
            module.register_parameter(name, nn.Parameter(weight, requires_grad=False))
    for key, hook in list(module._forward_pre_hooks.items()):
        told = getattr(hook, "name", None)
        if not hasattr(hook, "compute_weight") or not isinstance(told, str):
            continue
        with torch.no_grad():
            hook(module, ())
            weight = getattr(module, told).detach().clone()
        del module._forward_pre_hooks[key]
        vars(module).pop(told, None)
        module.register_parameter(told, nn.Parameter(weight, requires_grad=False))


def first_scores(output: Any) -> Tensor | None:
    """Return the first floating-point table of a model's output, which may be a tuple or a dict; else a tensor."""
    tensors = list(_floating(output))
    tables = [tensor for tensor in tensors if tensor.dim() == 2]
    return next(iter(tables or tensors), None)


def _floating(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, dict):
        output = list(output.values())
    elif hasattr(output, "__dict__") and not isinstance(output, list | tuple):
        output = list(vars(output).values())
    return [tensor for entry in output for tensor in _floating(entry)] if isinstance(output, list | tuple) else []
