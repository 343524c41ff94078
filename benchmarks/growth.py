"""Time and memory against the number of edges: features, bits, edges, dimension of a sample, null distributions.

    python benchmarks/growth.py [--small] [--parts features ...] [--sizes 1000 ...] [--figure book/_static/growth.svg]

Random graphs with ten edges for each node, a GCN of two layers with fresh weights, the second layer matched. Features
run until the loss is 1e-4, bits and edges a fixed number of steps from their default starts, the dimension is that of
50 nodes, a null distribution has ten draws of each kind, and a comparison is all metrics of a metamer of features
with as many draws. `limits` takes one graph of 10^5 nodes, 10^6 edges and 128 features, and Coauthor CS.

Every job runs alone in a process of its own on one thread. Seconds are those of the processor, the graph made before
the clock starts; memory is the largest resident size of the process, less what it held before the call. Each size is a
single run. The exponent is the slope of log seconds over log edges from 10^4 edges on; below, fixed costs rule.
Writes benchmarks/growth.csv after each job.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import time
from pathlib import Path

for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}.items():
    os.environ[name] = value

import numpy as np
import pandas as pd
import torch
from torch_geometric.data import Data

import metamerlib as ml
from metamerlib.graphs.edges import both_directions
from metamerlib.graphs.rewiring import draw_pairs
from metamerlib.metrics.null import null_distribution, standard_draws
from metamerlib.report import figures

EDGES_PER_NODE = 10
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
PARTS = ("features", "bits", "edges", "dimension", "null_draws", "compare")
LEAST_EDGES = 10_000  # from here on an exponent is fitted


def random_graph(num_edges: int, width: int, *, binary: bool = False) -> Data:
    """Return a random graph with random features ``[N, width]``; binary ones are one in ten."""
    num_nodes = num_edges // EDGES_PER_NODE
    generator = torch.Generator().manual_seed(0)
    pairs = draw_pairs(num_edges, num_nodes, torch.empty(0, dtype=torch.long), generator)
    x = torch.randn(num_nodes, width, generator=generator)
    return Data(x=(x > 1.28).float() if binary else x, edge_index=both_directions(pairs))


def gcn(graph: Data, width: int) -> ml.GNN:
    """Return a GCN of two layers with fresh weights."""
    torch.manual_seed(0)
    model = ml.GNN(conv="gcn", in_channels=graph.num_features, hidden_channels=width, out_channels=8, num_layers=2)
    return model.eval()


def megabytes() -> float:
    """Return the largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def draw_null(model: ml.GNN, graph: Data, draws: int) -> pd.DataFrame:
    """Score chance draws of every kind."""
    probe = ml.Probe.fitting(model, 2, graph)
    with torch.no_grad():
        reference = probe(graph)
        return null_distribution(standard_draws(probe, graph, reference, draws=draws), reference)


def measure(part: str, num_edges: int, steps: int, width: int, draws: int) -> dict[str, object]:
    """Run one job and return its row."""
    torch.set_num_threads(1)
    graph = random_graph(num_edges, width, binary=part == "bits") if num_edges else ml.load_graph("CS")
    model = gcn(graph, 64)
    metamer = ml.find_metamer(model, graph, layer=2, max_steps=2) if part == "compare" else None
    jobs = {
        "features": lambda: ml.find_metamer(model, graph, layer=2, rtol=1e-4),
        "bits": lambda: ml.find_metamer(model, graph, layer=2, values="binary", max_steps=steps, rtol=1e-12),
        "edges": lambda: ml.find_metamer(model, graph, layer=2, vary="structure", max_steps=steps, rtol=1e-12),
        "dimension": lambda: ml.metamer_dimension(model, graph, layer=2, nodes=range(50)),
        "null_draws": lambda: draw_null(model, graph, draws),
        "compare": lambda: ml.compare(model, metamer, null_draws=draws),
    }
    before, began, wall = megabytes(), time.process_time(), time.perf_counter()
    found = jobs[part]()
    row: dict[str, object] = {
        "edges": graph.edge_index.size(1) // 2,
        "nodes": graph.x.size(0),
        "features": graph.x.size(1),
        "seconds": time.process_time() - began,
        "wall_seconds": time.perf_counter() - wall,
        "memory_before_mb": before,
        "peak_memory_mb": megabytes(),
    }
    if isinstance(found, ml.Metamer):
        row |= {"steps": found.steps, "loss": found.loss, "status": found.status}
    return row


def exponents(table: pd.DataFrame) -> pd.Series:
    """Return the slope of log seconds over log edges of each part, from 10^4 edges on."""
    large = table[(table["set"] == "growth") & (table["edges"] >= LEAST_EDGES)]
    return large.groupby("part", sort=False).apply(
        lambda part: np.polyfit(np.log(part["edges"].astype(float)), np.log(part["seconds"]), 1)[0]
    )


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw seconds over edges, both logarithmic, beside a slope of one."""
    import matplotlib.pyplot as plt

    figures.set_style()
    table = table[table["set"] == "growth"]
    fig, axes = plt.subplots()
    for (part, own), marker in zip(table.groupby("part", sort=False), "osD^vP", strict=False):
        own = own.sort_values("edges")
        axes.plot(own["edges"], own["seconds"], marker=marker, label=part.replace("_", " "))
    edges = np.array([LEAST_EDGES, 10**6])
    axes.plot(edges, 0.25 * edges / LEAST_EDGES, color="#666666", linestyle=":", linewidth=1.5)
    axes.set(xscale="log", yscale="log", xlabel="edges", ylabel="seconds of the processor")
    axes.legend(loc="upper left", fontsize=10)
    fig.savefig(path, metadata={"Date": None})
    plt.close(fig)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--parts", nargs="+", default=[*PARTS, "limits"], choices=[*PARTS, "limits"])
    options.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    options.add_argument("--small", action="store_true", help="two small graphs and few steps: seconds, to try it out")
    options.add_argument("--figure", type=Path, help="picture of seconds over edges, in SVG")
    options.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".csv"))
    chosen = options.parse_args()
    sizes, steps, draws = ([1_000, 3_000], 5, 2) if chosen.small else (chosen.sizes, 50, 10)
    jobs = [("growth", part, size, steps, 32, draws) for part in PARTS if part in chosen.parts for size in sizes]
    if "limits" in chosen.parts and not chosen.small:
        jobs += [("limits", "features", 1_000_000, 0, 128, 0), ("limits", "edges", 1_000_000, 200, 128, 0)]
        jobs += [("limits", "features", 0, 0, 0, 0)]  # Coauthor CS
    rows: list[dict[str, object]] = []
    context = multiprocessing.get_context("spawn")
    for kind, part, *rest in jobs:
        with context.Pool(1) as pool:
            row = pool.apply(measure, (part, *rest))
        rows.append({"set": kind, "part": part, **row, "load": round(os.getloadavg()[0], 1)})
        said = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in rows[-1].items()}
        print(*(f"{key} {value}" for key, value in said.items()), sep=", ", flush=True)
        table = pd.DataFrame(rows)
        table.to_csv(chosen.output, index=False, float_format="%.6g")
    if chosen.figure:
        draw(table, chosen.figure)
    if len(sizes) > 1 and (table["edges"] >= LEAST_EDGES).any():
        print("exponents:", exponents(table).round(2).to_dict())


if __name__ == "__main__":
    main()
