"""Measure a model from the command line: ``python -m metamerlib evaluate package.module:factory --graph Cora``."""

from __future__ import annotations

import argparse
import html
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metamerlib.plain import nearest
from metamerlib.writing import write_atomic

if TYPE_CHECKING:
    import pandas as pd

EXAMPLE = """examples:
  python -m metamerlib evaluate gcn --graph karate
  python -m metamerlib evaluate package.module:factory --graph Cora --seeds 0,1,2 --csv row.csv --html row.html
  python -m metamerlib evaluate package.module:factory --graph mine.pt --measures features,exact

factory(graph) returns a torch.nn.Module, or (model, (hidden layer, logits layer)) with names of its modules; it is
trained anew for each seed. A graph mine.pt is a Data of PyTorch Geometric, written by torch.save(graph, "mine.pt")."""
COMMANDS = ["evaluate"]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m metamerlib", description="Measure what a graph neural network forgets.", epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.add_argument(
        "command", help="evaluate: print the row of one model, with the reason where a measure is missing"
    )
    made.add_argument("model", help="package.module:factory, or a convolution of metamerlib.GNN such as gcn")
    made.add_argument("--graph", required=True, help="a name such as Cora or karate, or a file of a saved graph (.pt)")
    made.add_argument("--root", help="folder of the raw files of public graphs")
    made.add_argument("--seeds", default="0", help="comma list, one training run each (default: 0)")
    made.add_argument("--measures", help="comma list of features, structure, exact, dimension, volume")
    made.add_argument("--layers", help="hidden,logits: names of two modules, where the factory says none")
    made.add_argument("--epochs", default="200", help="of training, at most (default: 200)")
    made.add_argument("--csv", help="file to write the row to")
    made.add_argument("--html", help="file to write the row to, with what each measure means")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the row of a model; bad input ends with a sentence and status 2."""
    made = parser()
    given = made.parse_args(arguments)
    if given.command not in COMMANDS:
        hint = nearest(given.command, COMMANDS)
        made.error(f"unknown command {given.command!r}; choose one of {COMMANDS}{hint}")
    for name in ("csv", "html"):
        path = getattr(given, name)
        if path is not None and not Path(path).parent.is_dir():
            made.error(f"--{name}: folder {str(Path(path).parent)!r} does not exist; create it first")
    try:
        row = _row(given)
    except (TypeError, ValueError, FileNotFoundError) as error:
        made.error(str(error))
    print(row.to_string())
    if given.csv is not None:
        write_atomic(given.csv, row.to_frame().T.to_csv(index=False).encode())
    if given.html is not None:
        write_atomic(given.html, page(row).encode())
    return 0


def page(row: pd.Series) -> str:
    """Return a page that opens from disk: every value of a row with what it means."""
    from metamerlib.report.evaluation import ABOUT

    lines = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(_text(value))}</td><td>{html.escape(ABOUT[name])}</td></tr>\n"
        for name, value in row.items()
    )
    title = html.escape(f"{row['model']} on {row['graph']}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        "<style>body{font-family:sans-serif;margin:2em}"
        "th,td{text-align:left;padding:.2em 1em;vertical-align:top}</style>"
        f"</head>\n<body><h1>{title}</h1>\n<table>\n{lines}</table></body></html>\n"
    )


def _row(given: argparse.Namespace) -> pd.Series:
    seeds = [_integer("--seeds", part) for part in given.seeds.split(",")]
    epochs = _integer("--epochs", given.epochs)
    layers = None
    if given.layers is not None:
        named = tuple(part.strip() or None for part in given.layers.split(","))
        if len(named) != 2:
            raise ValueError(f"--layers is {given.layers!r}; expected hidden,logits, either of them empty")
        layers = (named[0], named[1])
    from metamerlib.graphs.saved import open_graph
    from metamerlib.report.evaluation import USUAL, evaluate

    measures = USUAL if given.measures is None else [part.strip() for part in given.measures.split(",")]
    graph = open_graph(given.graph, given.root, seed=seeds[0])
    return evaluate(given.model, graph, seeds=seeds, layers=layers, measures=measures, epochs=epochs)


def _integer(option: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{option} must hold integers such as 0,1,2, got {text!r}") from None


def _text(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return str(value)


if __name__ == "__main__":
    sys.path.insert(0, "")  # a factory may stand in a file of the current folder
    sys.exit(main())
