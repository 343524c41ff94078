"""Parameters of a notebook: what it declares, what was typed, and whether the names are known; before any kernel."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from book.tools.project import ROOT, BuildError, say

PROFILES = ("published", "quick", "full")
# Modules of the library's own models, as `layers` may name them.
OWN_MODULES = re.compile(r"layers\.\d+(\.\w+)*")
DEPTH = 2
# Written down here, since asking the library for them loads torch.
ARCHITECTURES = ("gcn", "gat", "gatv2", "sage", "gin", "cheb", "sgc", "appnp", "mlp")


def declared_parameters(path: Path) -> dict[str, Any]:
    """Return the parameters of a notebook with their default values."""
    return {name: ast.literal_eval(info["default"]) for name, info in _inspected(path).items()}


def _inspected(path: Path) -> dict[str, Any]:
    import papermill

    return papermill.inspect_notebook(path)


def parse_parameters(path: Path, words: list[str]) -> dict[str, Any]:
    """Turn `-p name value` triples into values of the declared types; unknown names are an error."""
    known = declared_parameters(path)
    values = {}
    rest = list(words)
    while rest:
        flag, *pair = rest[:3]
        if flag not in ("-p", "--parameters") or len(pair) < 2:
            raise BuildError(f'parameters are given as ARGS="-p name value -p name value", got {" ".join(words)!r}')
        name, text = pair
        if name not in known:
            listing = "\n  ".join(f"{key} = {value!r}" for key, value in known.items())
            raise BuildError(f"it has\n  {listing}\n{path.stem} has no parameter {name!r}.{_meant(name, known)}")
        values[name] = _typed(name, text, known[name])
        rest = rest[3:]
    return values


def _typed(name: str, text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in words:
            raise BuildError(f"{name} is true or false, got {text!r}")
        return words[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    expected = (int, float) if isinstance(default, float) else (type(default),)
    if default is not None and (not isinstance(value, expected) or isinstance(value, bool)):
        raise BuildError(f"{name} is of type {type(default).__name__} (default {default!r}), got {text!r}")
    return value


def checked_parameters(path: Path, words: list[str]) -> dict[str, Any]:
    """Parse what was typed and check every name in it, so that a typing error costs no kernel.

    Layers of a factory's model are checked against its modules; where none were typed, those that the factory
    names are taken.

    Raises:
        BuildError: one reason, with the nearest known name.
    """
    values = parse_parameters(path, words)
    comments = {name: str(info["help"]) for name, info in _inspected(path).items()}
    literals = _literals(path)
    if values.get("profile", "quick") not in PROFILES:
        raise BuildError(f"profile is {values['profile']!r}; expected one of {', '.join(PROFILES)}")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", values.get("device", "cpu")):
        raise BuildError(f"device is {values['device']!r}; expected cpu, cuda or cuda:0")
    for name in {"seeds", "widths"} & values.keys():
        for text in _listed(name, values[name]):
            if not re.fullmatch(r"\d+", text):
                raise BuildError(f"{name} are whole numbers separated by commas, got {text!r}")
    for name in {"graphs", "trained_on"} & values.keys():
        _check_graphs(name, _listed(name, values[name]), comments[name], literals)
    if "architectures" in values:
        _check_architectures(_listed("architectures", values["architectures"]), comments["architectures"])
    if "layers" in comments:
        values |= _checked_layers(path, values, comments, literals)
    return values


def _listed(name: str, text: Any) -> list[str]:
    parts = [part.strip() for part in str(text).split(",")]
    if not all(parts):
        raise BuildError(f"{name} are separated by single commas, got {text!r}")
    return parts


def _meant(got: str, known: Iterable[str]) -> str:
    from metamerlib.plain import closest

    meant = closest(got, known)
    return f" Did you mean {meant!r}?" if meant else ""


def _literals(path: Path) -> set[str]:
    """Return all words that the notebook's own code writes as text: names that it knows beside the library's."""
    found: set[str] = set()
    for cell in json.loads(path.read_text("utf8"))["cells"]:
        if cell["cell_type"] == "code":
            for node in ast.walk(ast.parse("".join(cell["source"]))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.update(node.value.split(","))
    return found


def _check_graphs(name: str, given: list[str], comment: str, literals: set[str]) -> None:
    from metamerlib.graphs.catalogue import EMBEDDED, REAL_GRAPHS

    levels = {"graph"} if "collections" in comment else {"node"}
    levels |= {"node"} if re.search("graphs (and|or) collections", comment) else set()
    entries = {entry.name.lower().replace("_", "-"): entry for entry in (*EMBEDDED, *REAL_GRAPHS)}
    for text in given:
        if ":" in text:
            check_factory(text)
            continue
        entry = entries.get(text.lower().replace("_", "-"))
        if entry is not None and entry.level not in levels:
            kinds = {"node": "a single graph", "graph": "a collection of graphs"}
            wanted = [e.name for e in entries.values() if e.level in levels]
            raise BuildError(f"{text!r} is {kinds[entry.level]}; {name} here are of {', '.join(wanted)}")
        if entry is None and text not in literals and not (ROOT / text).is_dir():
            names = [e.name for e in entries.values() if e.level in levels]
            raise BuildError(
                f"there are {', '.join(names)}; or give package.module:factory, or a folder with edges.csv and "
                f"nodes.csv\nunknown graph {text!r}.{_meant(text, names)}"
            )


def _check_architectures(given: list[str], comment: str) -> None:
    for text in given:
        if ":" in text and "package.module" not in comment:
            raise BuildError(
                f"this notebook varies width, depth and activation, so it takes no model of one's own, got {text!r}; "
                f"there are {', '.join(ARCHITECTURES)}"
            )
        if ":" in text:
            check_factory(text)
        elif text not in ARCHITECTURES:
            raise BuildError(
                f"there are {', '.join(ARCHITECTURES)}; or give package.module:factory\n"
                f"unknown architecture {text!r}.{_meant(text, ARCHITECTURES)}"
            )


def _checked_layers(path: Path, values: dict[str, Any], comments: dict[str, str], literals: set[str]) -> dict[str, Any]:
    architectures = _listed("architectures", values.get("architectures") or "gcn")
    own = [name for name in architectures if ":" in name]
    given = _listed("layers", values["layers"]) if values.get("layers") else []
    if own:
        if len(own) < len(architectures):
            raise BuildError("layers of your model have other names than those of the library's: run them apart")
        return {"layers": ",".join(_modules_named(own, given, values, comments))}
    for text in given:
        deepest = DEPTH if "or names" in comments["layers"] and "depths" not in comments["layers"] else None
        if text.isdigit():
            if int(text) < 1 or (deepest and int(text) > deepest):
                raise BuildError(f"layers are counted from 1 to {deepest or 'any depth'}, got {text}")
        elif not OWN_MODULES.fullmatch(text) and text not in literals:
            names = ("layers.0", "layers.1")
            raise BuildError(f"unknown layer {text!r}.{_meant(text, names)} Give 1, 2, or a name such as layers.1")
    return {}


def _modules_named(own: list[str], given: list[str], values: dict[str, Any], comments: dict[str, str]) -> list[str]:
    """Return the layers of models made by factories: those typed, or those that the factories name themselves."""
    say("Looking at your model")
    from metamerlib.graphs.load import load_graph, load_graphs
    from metamerlib.models.gnn import model_and_layers

    comment = comments.get("graphs", "")
    many = "collections" in comment and not re.search("graphs (and|or) collections", comment)
    name = _listed("graphs", values["graphs"])[0] if values.get("graphs") else ""
    layers: list[str] = []
    try:
        graph = load_graphs(name or "decalin-bicyclopentyl")[0] if many else load_graph(name or "karate")
        for architecture in own:
            model, named = model_and_layers(architecture, graph)
            known = [module for module, _ in model.named_modules() if module]
            listing = f"{architecture} has the modules {', '.join(known)}"
            chosen = [named[int(k) - 1] if k.isdigit() and 0 < int(k) <= len(named) else k for k in given or named]
            if not chosen:
                raise BuildError(f"{listing}\nsay which are matched: -p layers {known[0]} (or return model, [names])")
            for text in chosen:
                if re.split(r"[:\[]", text)[0] not in known:
                    raise BuildError(f"{listing}\nunknown layer {text!r}.{_meant(text, known)}")
            layers = chosen
    except BuildError:
        raise
    except Exception as error:
        raise BuildError(f"what you gave could not be loaded: {type(error).__name__}: {error}") from error
    return layers


def check_factory(text: str) -> None:
    """Raise unless `package.module:factory` names a module that can be found and a name that it holds."""
    module, _, name = text.partition(":")
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    importlib.invalidate_caches()
    try:
        spec = importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError):
        spec = None
    if spec is None or not spec.origin:
        raise BuildError(
            f"there is no module {module!r}; it lies in the root of this checkout or is installed in its environment"
        )
    if not spec.origin.endswith(".py"):
        return
    names = set()
    for node in ast.parse(Path(spec.origin).read_text("utf8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif not isinstance(node, ast.Expr):
            return  # names made by a condition or a loop cannot be read off
    if "*" not in names and name not in names:
        raise BuildError(f"module {module!r} holds no {name!r}.{_meant(name, names)}")


def source_of(values: dict[str, Any]) -> str:
    """Return a hash of the files behind factories and folders among the values: an edited one is another run."""
    digest = hashlib.sha256()
    for text in [part for value in values.values() for part in str(value).split(",")]:
        files: list[Path] = []
        if re.fullmatch(r"[\w.]+:\w+", text) and not text.startswith("cuda"):
            spec = importlib.util.find_spec(text.partition(":")[0])
            files = [Path(spec.origin)] if spec and spec.origin else []
        elif text and (ROOT / text).is_dir():
            files = sorted((ROOT / text).glob("*.csv"))
        for file in files:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def run_name(profile: str, values: dict[str, Any]) -> str:
    """Return a readable name of a run, the same for the same parameters in any order.

    For example quick-graphs-karate-seeds-0,1- and eight digits.
    """
    named = {key: value for key, value in sorted(values.items()) if key not in ("profile", "store")}
    text = "-".join([profile, *(f"{key}-{value}" for key, value in named.items())])
    content = json.dumps([profile, named, source_of(named)], sort_keys=True)
    return f"{re.sub(r'[^A-Za-z0-9.,_-]+', '.', text)[:60]}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
