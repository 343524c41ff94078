"""Change the library in one place at a time, and see whether the tests of that module notice.

    python tests/reliability/mutation.py [--count 200] [--seed 0] [--wings search metrics ...] [--output FILE]

A mutant is one file with one comparison, operator, number, truth value or call of a check changed. Its mirrored tests
(tests/search/test_loop.py for metamerlib/search/loop.py; where there is no such file, all tests of the folder) and the
examples of its own docstrings run with -x. It is killed if one fails, or if they take three times as long as without
a change. A survivor is a gap in the tests, or a change that changes nothing (a faster path, a bound far away).

All runs are forked from one process that has imported what the library needs, in a copy of the project.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "MPLBACKEND": "Agg"}.items():
    os.environ[name] = value

ROOT = Path(__file__).resolve().parents[2]
WINGS = ("search", "metrics", "manifold", "exact")
COMPARE = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
LEAST_SECONDS = 30.0  # a run may always take so long


@dataclass
class Mutant:
    """One change and what came of it."""

    path: str
    line: int
    change: str
    outcome: str = ""
    seconds: float = 0.0


def changed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in the place of a node."""
    twin = copy.deepcopy(node)
    if isinstance(twin, ast.Compare) and len(twin.ops) == 1 and type(twin.ops[0]) in COMPARE:
        twin.ops = [COMPARE[type(twin.ops[0])]()]
        yield twin
    elif isinstance(twin, ast.BinOp | ast.AugAssign) and type(twin.op) in ARITHMETIC:
        twin.op = ARITHMETIC[type(twin.op)]()
        yield twin
    elif isinstance(twin, ast.BoolOp):
        twin.op = ast.Or() if isinstance(twin.op, ast.And) else ast.And()
        yield twin
    elif isinstance(twin, ast.UnaryOp) and isinstance(twin.op, ast.Not | ast.USub | ast.Invert):
        yield twin.operand
    elif isinstance(twin, ast.IfExp):
        twin.body, twin.orelse = twin.orelse, twin.body
        yield twin
    elif isinstance(twin, ast.Constant) and type(twin.value) in (bool, int, float):
        twin.value = not twin.value if isinstance(twin.value, bool) else twin.value + 1
        yield twin
    elif isinstance(twin, ast.Expr) and isinstance(twin.value, ast.Call) and "check" in ast.unparse(twin.value.func):
        yield ast.Pass()


def places(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Yield parent, field and index of every node that counts; annotations, decorators and raises are left out."""
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if field in ("annotation", "returns", "decorator_list", "type_params", "bases"):
                continue
            for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.expr | ast.stmt):
                    yield parent, field, place


def prune(tree: ast.Module) -> ast.Module:
    """Take out what is no behaviour: messages of errors, imports of types."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise):
            node.exc = node.cause = None
    return tree


def sites(source: str) -> list[tuple[int, int]]:
    """Return the number of every place that may be changed, and its line."""
    tree = prune(ast.parse(source))
    found = []
    for number, (parent, field, place) in enumerate(places(tree)):
        value = getattr(parent, field)
        child = value if place is None else value[place]
        if any(True for _ in changed(child)):
            found.append((number, child.lineno))
    return found


def mutate(source: str, wanted: int) -> tuple[str, str]:
    """Return the source with one place changed, and what was changed in words."""
    tree, pruned = ast.parse(source), prune(ast.parse(source))
    # The same walk over both, in which the whole tree has more places: follow the pruned one by position.
    parent, field, place = next(found for number, found in enumerate(places(pruned)) if number == wanted)
    value = getattr(parent, field)
    child = value if place is None else value[place]
    key = (type(child), child.lineno, child.col_offset, child.end_lineno, child.end_col_offset)
    for owner, name, index in places(tree):
        held = getattr(owner, name)
        node = held if index is None else held[index]
        if (type(node), node.lineno, node.col_offset, node.end_lineno, node.end_col_offset) == key:
            new = ast.copy_location(next(changed(node)), node)
            if index is None:
                setattr(owner, name, new)
            else:
                held[index] = new
            words = f"{ast.unparse(node)} -> {ast.unparse(new)}"
            return ast.unparse(ast.fix_missing_locations(tree)), words.replace("\n", " ")[:160]
    raise LookupError(f"place {wanted} is not there")


def tests_of(path: Path, root: Path) -> list[str]:
    """Return the tests that mirror a module, and the module itself for its examples."""
    relative = path.relative_to(root / "metamerlib")
    mirror = root / "tests" / relative.parent / f"test_{relative.name}"
    folder = mirror.parent
    if mirror.exists():
        chosen = [mirror]
    else:
        chosen = sorted(folder.glob("test_*.py"))
        text = f"{'.'.join(['metamerlib', *relative.with_suffix('').parts])} import"
        naming = [test for test in chosen if text in test.read_text("utf8")]
        chosen = naming or chosen
    return [str(path), *map(str, chosen)]


def run(root: Path, words: list[str], limit: float) -> tuple[str, float]:
    """Run tests in a fork; return killed, survived or too slow, and the seconds that it took."""
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1), os.dup2(nowhere.fileno(), 2)
        os.chdir(root)
        sys.path.insert(0, str(root))
        import pytest

        options = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "not slow", "--rootdir", str(root)]
        os._exit(int(pytest.main([*options, *words])))
    while time.monotonic() - began < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return ("survived" if code == 0 else "killed"), time.monotonic() - began
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "too slow", time.monotonic() - began


def draw(wings: list[str], count: int, seed: int) -> list[tuple[Path, int, int]]:
    """Draw places uniformly over all that may be changed."""
    files = sorted(path for wing in wings for path in (ROOT / "metamerlib" / wing).rglob("*.py"))
    every = [(path.relative_to(ROOT), *site) for path in files for site in sites(path.read_text("utf8"))]
    return random.Random(seed).sample(every, min(count, len(every)))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--count", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--wings", nargs="+", default=list(WINGS), choices=WINGS)
    options.add_argument("--minutes", type=float, default=40.0, help="after which no further mutant is begun")
    options.add_argument("--output", type=Path, help="file for all mutants, in JSON")
    chosen = options.parse_args()
    drawn = draw(chosen.wings, chosen.count, chosen.seed)
    for name in ("pandas", "pyarrow.parquet", "pytest", "scipy.sparse.linalg", "sklearn.linear_model"):
        importlib.import_module(name)
    importlib.import_module("torch_geometric.nn")
    first, usual, mutants = time.monotonic(), {}, []
    with tempfile.TemporaryDirectory(prefix="mutation-") as scratch:
        root = Path(scratch)
        for name in ("metamerlib", "tests"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "reliability"))
        for name in ("pyproject.toml", "_toc.yml"):
            shutil.copy(ROOT / name, root / name)
        for path, number, line in drawn:
            if time.monotonic() - first > 60 * chosen.minutes:
                break
            words = tests_of(root / path, root)
            if path not in usual:
                outcome, seconds = run(root, words, 600)
                if outcome != "survived":
                    print(f"{path}: its tests fail without a change ({outcome}); left out", flush=True)
                    seconds = -1.0
                usual[path] = seconds
            if usual[path] < 0:
                continue
            source = (root / path).read_text("utf8")
            text, change = mutate(source, number)
            try:
                (root / path).write_text(text, "utf8")
                outcome, seconds = run(root, words, max(LEAST_SECONDS, 3 * usual[path]))
            finally:
                (root / path).write_text(source, "utf8")
            mutants.append(Mutant(str(path), line, change, outcome, round(seconds, 1)))
            print(f"{outcome:9} {path}:{line}  {change}", flush=True)
            if chosen.output:
                chosen.output.write_text(json.dumps([asdict(each) for each in mutants], indent=1) + "\n", "utf8")
    noticed = sum(mutant.outcome != "survived" for mutant in mutants)
    print(f"{noticed} of {len(mutants)} mutants noticed: {noticed / max(len(mutants), 1):.0%}")


if __name__ == "__main__":
    main()
