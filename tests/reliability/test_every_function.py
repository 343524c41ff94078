"""Bad input: every public function is called with some by the rows of tests/test_bad_inputs.py."""

import importlib.util
import inspect
from pathlib import Path
from types import CodeType

import metamerlib as ml
from metamerlib.report import figures, records

PATH = Path(__file__).parents[1] / "test_bad_inputs.py"
WITHOUT_ARGUMENTS = {"available_graphs", "set_style"}


def rows_of_bad_input():
    spec = importlib.util.spec_from_file_location("rows_of_bad_input", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names_in(code: CodeType) -> set[str]:
    inner = [names_in(part) for part in code.co_consts if isinstance(part, CodeType)]
    return set(code.co_names).union(*inner)


def names_called(function, module, seen) -> set[str]:
    """Return the names that a function and the helpers that it calls mention."""
    names = names_in(function.__code__)
    for name in names - seen:
        helper = getattr(vars(module).get(name), "__wrapped__", vars(module).get(name))
        if inspect.isfunction(helper) and helper.__module__ == module.__name__:
            seen.add(name)
            names |= names_called(helper, module, seen)
    return names


def public_functions() -> dict[str, object]:
    top = {name: getattr(ml, name) for name in dir(ml)}
    found = {name: value for name, value in top.items() if inspect.isfunction(value) or inspect.isclass(value)}
    for wing in (ml.csbm, ml.hetero, records, figures):
        made_here = {n: v for n, v in vars(wing).items() if inspect.isfunction(v) and v.__module__ == wing.__name__}
        found |= {name: value for name, value in made_here.items() if not name.startswith("_")}
    return found


def test_every_public_function_is_given_bad_input(record_property):
    module = rows_of_bad_input()
    called = set().union(*(names_called(call, module, set()) for call, *_ in module.ROWS.values()))
    wanted = set(public_functions()) - WITHOUT_ARGUMENTS
    record_property("cases", len(wanted))
    assert len(module.ROWS) >= 200
    left = sorted(wanted - called)
    assert not left, left
