"""Tables of what the benchmarks measured against other programs: read from their files, nothing is typed by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from docutils import nodes
from facts import table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FOLDER = "results/public/benchmarks"


def seconds(value: float) -> str:
    """Return seconds with two digits that count.

    >>> seconds(0.2776), seconds(35.77), seconds(171.2)
    ('0.28 s', '36 s', '171 s')
    """
    digits = max(0, 1 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{digits}f} s"


def features(held: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return the time to a feature metamer, the best learning rate of each contender; ">" where it never got there."""
    names = {"plenoptic": "plenoptic", "our Adam": "Adam, here", "ours, fast": "L-BFGS, here"}
    rows = []
    for (act, layer, tolerance), part in held.groupby(["act", "layer", "tolerance"], sort=False):
        times = []
        for name in names:
            own = part[part["contender"] == name]
            best = own["seconds"].min()
            times.append(seconds(best) if math.isfinite(best) else f"> {seconds(own['spent'].min())}")
        rows.append([str(act), str(layer), f"{tolerance:.0e}", *times])
    return ["activation", "layer", "L_act at most", *names.values()], rows


def bits(held: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return the least loss of binary feature metamers, with seconds of the processor and memory."""
    names = {"ste": "straight-through, dense", "swaps": "swaps, here"}
    keys = ["layer", "solver", "learning_rate", "schedule"]
    found = held.groupby(keys, sort=False).agg({"loss": "min", "cpu_seconds": "last", "peak_mb": "last"}).reset_index()
    rows = [
        [
            str(row.layer),
            names[row.solver] + (f", rate {row.learning_rate:g}" if row.learning_rate else ""),
            str(row.schedule),
            f"{row.loss:.1e}",
            seconds(row.cpu_seconds),
            f"{row.peak_mb:.0f} MB",
        ]
        for row in found.itertuples()
    ]
    return ["layer", "solver", "steps", "least L_act", "processor", "memory"], sorted(rows, key=lambda row: row[0])


def edges(held: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return the least loss of metamers of Cora's edges that keep none: within equal time, and at the end."""
    names = {"prbcd": "PRBCD", "ste": "straight-through, dense", "swaps": "swaps, here"}
    held = held[(held["graph"] == "Cora") & (held["start"] == "erdos-renyi") & (held["max_overlap"] == 0)]
    rows, common = [], held.groupby(["layer", "solver"])["seconds"].max().min()
    for (layer, solver), part in held.groupby(["layer", "solver"], sort=False):
        looked = part[(part["seconds"] <= common) & (part["step"] > 1)]["loss"]
        within = f"{looked.min():.3f}" if len(looked) else "not looked at"
        memory = (part["peak_memory_mb"] - part["memory_before_mb"]).max()
        spent, least = seconds(part["seconds"].max()), part["loss"].min()
        rows.append([str(layer), names[solver], within, f"{least:.3f}", spent, f"{memory:.0f} MB"])
    heads = [
        "layer",
        "solver",
        f"L_act within {seconds(common)}",
        "at the end",
        "processor",
        "memory above the graph's",
    ]
    return heads, sorted(rows)


def dimension(held: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return the time to the dimension of a sample of nodes."""
    peers = held[held["part"] == "peers"]
    rows = []
    for name, what in (("ours", "here, from model and graph"), ("jacrev", "jacrev, each node's own subgraph")):
        part = peers[peers["what"].str.startswith(name) & ~peers["what"].str.contains("all nodes")]
        rows.append([what, str(part["nodes"].sum()), seconds(part["cpu_seconds"].sum())])
    forward = peers[peers["what"].str.startswith("jacfwd")]
    count = str(forward["nodes"].sum())
    rows.append(["jacfwd, the nodes of smallest field alone", count, seconds(forward["cpu_seconds"].sum())])
    everything = peers[peers["what"] == "ours, all nodes"]
    rows.append(["here, all nodes", str(everything["nodes"].sum()), seconds(everything["cpu_seconds"].sum())])
    return ["how", "nodes", "processor"], rows


def growth(held: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return seconds of the processor by number of edges, their exponent, and the memory of the largest graph."""
    names = {
        "features": "features, to a loss of 1e-4",
        "bits": "zeros and ones, 50 steps",
        "edges": "edges, 50 steps",
        "dimension": "dimension of 50 nodes",
        "null_draws": "null distributions, 10 draws of each kind",
        "compare": "all measures, 10 draws of each kind",
    }
    sizes, rows = (10_000, 100_000, 1_000_000), []
    held = held[held["set"] == "growth"]
    for part, what in names.items():
        own = held[held["part"] == part].set_index("edges").sort_index()
        times = [seconds(own.loc[size, "seconds"]) if size in own.index else "not measured" for size in sizes]
        large = own[own.index >= sizes[0]]
        slope = np.polyfit(np.log(large.index.to_numpy(float)), np.log(large["seconds"]), 1)[0]
        last = own.iloc[-1]
        memory = f"{last['peak_memory_mb'] - last['memory_before_mb']:.0f} MB at {last.name:.0e}".replace("e+0", "e")
        rows.append([what, *times, f"{slope:.2f}", memory])
    return ["what", *(f"10^{len(str(size)) - 1} edges" for size in sizes), "exponent", "memory"], rows


MEASURED = {
    "features": ("feature_metamers", features),
    "bits": ("binary_features", bits),
    "edges": ("structure", edges),
    "dimension": ("dimension", dimension),
    "growth": ("growth", growth),
}


class Measured(SphinxDirective):
    """A table of one benchmark: features, bits, edges, dimension or growth."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name, summary = MEASURED[self.arguments[0]]
        path = Path(self.env.srcdir) / FOLDER / f"{name}.csv"
        self.env.note_dependency(str(path))
        return [table(*summary(pd.read_csv(path)))]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("measured", Measured)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
