"""Checks of plain values: numbers, seeds, names, functions, paths. Each returns the value; none loads torch.

Each error says what was got, what was expected and what to do.
"""

from __future__ import annotations

import difflib
import importlib
import math
import numbers
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

LARGEST_SEED = 2**63 - 1
_LONGEST = 60
_MOST = 2**53
_POSITIVE = ("memory", "steps", "pool", "block", "rows", "columns", "learning_rate")


def shown(got: object) -> str:
    """Return what was got in a few words: a plain value itself, else its kind and size.

    Example:
        >>> shown("karate"), shown([1, 2]), shown({"a": 1}.keys())
        ("'karate'", '[1, 2]', 'dict_keys of 1')
    """
    shape = getattr(got, "shape", None)
    if isinstance(shape, tuple) and not isinstance(got, type):
        return f"{type(got).__name__} {list(shape)}"
    if isinstance(got, type):
        return f"the class {got.__name__}"
    if got is None or isinstance(got, str | bytes | numbers.Number | list | tuple | dict | set):
        text = repr(got)
        if len(text) <= _LONGEST:
            return text
        return f"{text[:_LONGEST]}..." if isinstance(got, str) else f"{type(got).__name__} of {len(got)}"  # type: ignore[arg-type]
    return type(got).__name__ + (f" of {len(got)}" if hasattr(got, "__len__") else "")


def loosely(name: str) -> str:
    """Return a name in lower case, with hyphens for underscores.

    Example:
        >>> loosely("Cora_ML")
        'cora-ml'
    """
    return name.lower().replace("_", "-")


def closest(got: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """Return the known name that is most like a text, or None if none is like it.

    Example:
        >>> closest("cora-lm", ["Cora_ML", "CiteSeer"]), closest("x", ["adam"])
        ('Cora_ML', None)
    """
    names = {loosely(name): name for name in known}
    found = difflib.get_close_matches(loosely(got), names, n=1, cutoff=cutoff)
    return names[found[0]] if found else None


def nearest(got: str, known: Iterable[str]) -> str:
    """Return a hint at the known name that is most like a text, or nothing.

    Example:
        >>> nearest("lbgfs", ["lbfgs", "adam"]), nearest("x", ["adam"])
        ("; did you mean 'lbfgs'?", '')
    """
    found = closest(got, known, cutoff=0.6)
    return f"; did you mean {found!r}?" if found else ""


def check_choice(what: str, got: object, known: Sequence[Any]) -> None:
    """Raise ``ValueError`` unless ``got`` is one of the ``known`` names."""
    plain = got is None or isinstance(got, str | tuple)
    if not plain or got not in known:
        hint = nearest(got, [name for name in known if isinstance(name, str)]) if isinstance(got, str) else ""
        raise ValueError(f"unknown {what} {shown(got)}; choose one of {list(known)}{hint}")


def as_text(what: str, got: object, example: str = "") -> str:
    """Return a text that is not empty."""
    like = f", such as {example!r}" if example else ""
    if not isinstance(got, str):
        raise TypeError(f"{what} must be text{like}, got {shown(got)}")
    if not got.strip():
        raise ValueError(f"{what} is empty; give a text{like}")
    return got


def as_flag(what: str, got: object) -> bool:
    """Return True or False, and take no other value for either."""
    if not isinstance(got, bool) and type(got).__name__ not in ("bool_", "bool"):
        raise TypeError(f"{what} must be True or False, got {shown(got)}")
    return bool(got)


def as_number(what: str, got: object) -> float:
    """Return a real number, which may be NaN or infinite."""
    if isinstance(got, bool) or not isinstance(got, numbers.Real):
        raise TypeError(f"{what} must be a number, got {shown(got)}")
    return float(got)


def as_real(what: str, got: object) -> float:
    """Return a finite real number."""
    found = as_number(what, got)
    if not math.isfinite(found):
        raise ValueError(f"{what} must be finite, got {got!r}; give a real number")
    return found


def check_positive(what: str, got: object, *, integer: bool = False, below: float | None = None) -> None:
    """Raise unless ``got`` is a finite positive number (or integer), and less than ``below``."""
    kind = numbers.Integral if integer else numbers.Real
    if isinstance(got, bool) or not isinstance(got, kind):
        raise TypeError(f"{what} must be a positive {'integer' if integer else 'number'}, got {shown(got)}")
    if not 0 < float(got) < math.inf:
        raise ValueError(f"{what} must be positive and finite, got {got!r}")
    if integer and float(got) > _MOST:
        raise ValueError(f"{what} is {got!r}, more than can ever be; give a smaller one")
    if below is not None and not float(got) < below:
        raise ValueError(f"{what} must be below {below:g}, since it is relative, got {got!r}; give a smaller one")


def as_plain(got: Any) -> Any:
    """Return a number of numpy as one of Python, which JSON can hold, and all else as it is."""
    return got.item() if isinstance(got, numbers.Number) and hasattr(got, "item") else got


def as_integer(what: str, got: object) -> int:
    """Return an integer."""
    if isinstance(got, bool) or not isinstance(got, numbers.Integral):
        raise TypeError(f"{what} must be an integer, got {shown(got)}")
    return int(got)


def as_count(what: str, got: object, *, least: int = 1, most: int | None = None) -> int:
    """Return an integer of at least ``least`` and at most ``most``."""
    if isinstance(got, bool) or not isinstance(got, numbers.Integral):
        raise TypeError(f"{what} must be an integer of {least} or more, got {shown(got)}")
    number = int(got)
    most = _MOST if most is None and least >= 0 else most
    if number < least or (most is not None and number > most):
        allowed = f"{least} or more" if most in (None, _MOST) and number < least else f"in {least}..{most}"
        raise ValueError(f"{what} must be {allowed}, got {shown(number)}")
    return number


def as_fraction(what: str, got: object) -> float:
    """Return a share between 0 and 1, both allowed."""
    if isinstance(got, bool) or not isinstance(got, numbers.Real):
        raise TypeError(f"{what} must be a share between 0 and 1, got {shown(got)}")
    if not 0 <= float(got) <= 1:
        raise ValueError(f"{what} must lie in [0, 1], got {got!r}")
    return float(got)


def as_seed(got: object) -> int:
    """Return a seed: an integer from 0 to 2**63 - 1, the same for torch and numpy.

    Example:
        >>> as_seed(7)
        7
    """
    if isinstance(got, bool) or not isinstance(got, numbers.Integral):
        raise TypeError(f"seed must be an integer, got {shown(got)}; give one for each repetition, such as 0, 1, 2")
    if not 0 <= int(got) <= LARGEST_SEED:
        raise ValueError(f"seed must lie in 0..2**63 - 1, got {int(got)}; give a small integer, such as 0")
    return int(got)


def as_callable(what: str, got: object, form: str) -> Any:
    """Return a function; ``form`` says how it is called."""
    if not callable(got) or hasattr(got, "edge_index"):  # a graph of PyG can be called, but computes nothing
        raise TypeError(f"{what} must be a function {form}, got {shown(got)}")
    if isinstance(got, type):
        raise TypeError(f"{what} must be a function {form}, got {shown(got)}; pass a function that makes or uses it")
    return got


def check_forward(forward: object) -> None:
    """Raise unless ``forward`` is None or a function of a model and a graph."""
    if hasattr(forward, "named_modules"):
        raise TypeError(f"forward must be a function forward(model, graph), got {shown(forward)}; pass it as model")
    if forward is not None:
        as_callable("forward", forward, "forward(model, graph) -> Tensor, or None for the model's own")


def as_path(what: str, got: object) -> Path:
    """Return the path that text or a path names."""
    if not isinstance(got, str | os.PathLike):
        raise TypeError(f"{what} must be a path (text or pathlib.Path), got {shown(got)}")
    if not os.fspath(got):
        raise ValueError(f"{what} is empty; give a path, '.' for the current folder")
    return Path(got)


def as_list(what: str, got: object, entries: str, *, least: int = 0) -> list[Any]:
    """Return the entries of a list or another iterable; text, a dict and a single value are none."""
    if isinstance(got, str | bytes | Mapping) or not isinstance(got, Iterable):
        raise TypeError(f"{what} must be a list of {entries}, got {shown(got)}")
    found = list(got)
    if len(found) < least:
        raise ValueError(f"{what} holds {len(found)} {entries}; give {least} at least")
    return found


def as_mapping(what: str, got: object, entries: str) -> Mapping[str, Any]:
    """Return a dict whose names are text."""
    if not isinstance(got, Mapping):
        raise TypeError(f"{what} must be a dict of {entries}, got {shown(got)}")
    for name in got:
        if not isinstance(name, str):
            raise TypeError(f"{what} must have names that are text, got {shown(name)}; write {str(name)!r}")
    return got


def made_by(what: str, name: str, form: str, *arguments: Any) -> Any:
    """Return what the function ``package.module:factory`` makes of the arguments.

    Raises:
        ValueError: If there is no such module or function, or it fails; ``form`` says how it is called.
    """
    module, _, attribute = name.partition(":")
    if module.startswith(".") or not module or not attribute:
        raise ValueError(f"{what} is {name!r}; expected package.module:factory, with the full name of the module")
    try:
        loaded = importlib.import_module(module)
    except Exception as error:  # a foreign module may fail in any way
        raise ValueError(
            f"{what} is {name!r}, but module {module!r} cannot be imported: {type(error).__name__}: {error}; install "
            "it, or add its folder to PYTHONPATH"
        ) from error
    if not hasattr(loaded, attribute):
        raise ValueError(f"{what} is {name!r}, but {module!r} has no {attribute!r}{nearest(attribute, vars(loaded))}")
    factory: Callable[..., Any] = getattr(loaded, attribute)
    if not callable(factory):
        raise TypeError(f"{what} is {name!r}, which is {shown(factory)}; expected a function {form}")
    try:
        return factory(*arguments)
    except Exception as error:  # a foreign function may fail in any way
        raise ValueError(
            f"{what} {name!r} fails: {type(error).__name__}: {error}; expected a function {form}"
        ) from error


def check_solver(got: object, names: Iterable[str], *, moves: str) -> None:
    """Raise unless ``got`` is auto, one of the names, or an object that solves.

    Args:
        got: What the caller handed in.
        names: Names of the solvers of this search.
        moves: What these solvers move: features, bits or edges. A solver that does not say what it moves passes.
    """
    if isinstance(got, str):
        check_choice("solver", got, ["auto", *names])
    elif not hasattr(got, "iterate"):
        raise TypeError(f"solver must be a name or have a method iterate, got {type(got).__name__}")
    elif (own := getattr(got, "moves", moves)) != moves:
        raise TypeError(
            f"{type(got).__name__} is a solver that moves {own}, but this search takes one that moves {moves}; "
            f"choose one of {['auto', *names]}"
        )
    else:
        _check_settings(got)


def _check_settings(solver: object) -> None:
    """Raise unless the numbers of a solver of ours are in range; those of others are their own."""
    if isinstance(solver, type):
        raise TypeError(f"solver is {shown(solver)} itself; make one: {solver.__name__}()")
    if not type(solver).__module__.startswith("metamerlib."):
        return
    for name, value in vars(solver).items():
        what = f"{name} of {type(solver).__name__}"
        if name in _POSITIVE:
            check_positive(what, value, integer=name != "learning_rate")
        elif not isinstance(value, str) and as_real(what, value) < 0:
            raise ValueError(f"{what} must be 0 or more, got {value!r}")
