"""Loss of structure metamers against seconds: dense straight-through, PyTorch Geometric's PRBCD, and ours.

    python benchmarks/structure.py [--steps 2600] [--large]

Trained GCN-64 on Cora, from the same Erdos-Renyi start, no edge of the reference kept; ours also from other starts
and with free overlap. Each contender runs in a process of its own on one thread; seconds are process time, and peak
memory is the largest resident size of that process. --large adds DBLP, and a random graph of a million edges where a
few steps show time and memory.
Writes benchmarks/structure.csv.
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

import pandas as pd
import torch
from torch_geometric.data import Data

import metamerlib as ml
from metamerlib.graphs.edges import both_directions
from metamerlib.graphs.rewiring import draw_pairs
from metamerlib.report.trained_models import trained_model


def large_graph(num_nodes: int = 200_000, num_edges: int = 1_000_000, width: int = 32) -> Data:
    """Return a random graph with random features."""
    generator = torch.Generator().manual_seed(0)
    pairs = draw_pairs(num_edges, num_nodes, torch.empty(0, dtype=torch.long), generator)
    return Data(x=torch.randn(num_nodes, width, generator=generator), edge_index=both_directions(pairs))


def measure(
    graph_name: str, layer: int, contender: str, steps: int, start: str = "erdos-renyi", max_overlap: float = 0.0
) -> list[dict[str, object]]:
    """Run one contender and return its curve, at most fifty points."""
    torch.set_num_threads(1)
    if graph_name == "random":
        graph = large_graph()
        torch.manual_seed(0)
        model = ml.GNN(conv="gcn", in_channels=32, hidden_channels=64, out_channels=8, num_layers=2)
    else:
        graph = ml.load_graph(graph_name)
        model, _ = trained_model("gcn", graph, seed=0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    began, wall = time.process_time(), time.perf_counter()
    found = ml.find_metamer(
        model, graph, layer=layer, vary="structure", solver=contender, max_steps=steps, start=start,
        max_overlap=max_overlap, rtol=1e-9,
    )  # fmt: skip
    share = (time.process_time() - began) / (time.perf_counter() - wall)
    total = time.process_time() - began
    curve = found.history
    # What a history holds are wall seconds of the loop; the share of the processor is taken to be even.
    seconds = curve["seconds"] * share + total - float(curve["seconds"].iloc[-1]) * share
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    chosen = sorted({round(k * (len(curve) - 1) / 49) for k in range(50)})
    common = {"graph": graph_name, "edges": graph.edge_index.size(1) // 2, "layer": layer, "solver": contender}
    common |= {"start": start, "max_overlap": max_overlap, "steps": steps}
    common |= {"final_loss": found.loss, "overlap": found.settings["overlap"], "memory_before_mb": before}
    return [
        {**common, "step": int(curve["step"][k]), "seconds": float(seconds[k]), "loss": float(curve["loss"][k]),
         "peak_memory_mb": peak}
        for k in chosen
    ]  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--steps", type=int, default=2600, help="steps of ours; the peers get a fixed number")
    options.add_argument("--large", action="store_true", help="also DBLP and a million edges")
    chosen = options.parse_args()
    jobs: list[tuple[object, ...]] = [
        ("Cora", layer, contender, steps)
        for layer in (1, 2)
        for contender, steps in (("swaps", chosen.steps), ("ste", 150), ("prbcd", 60))
    ]
    others = [("configuration", 0.0), ("configuration", 1.0), ("erdos-renyi", 1.0)]
    jobs += [("Cora", layer, "swaps", chosen.steps, *other) for layer in (1, 2) for other in others]
    if chosen.large:
        jobs += [("DBLP", 2, "swaps", 600), ("random", 2, "swaps", 8)]
    rows: list[dict[str, object]] = []
    context = multiprocessing.get_context("spawn")
    for job in jobs:
        with context.Pool(1) as pool:
            rows += pool.apply(measure, job)
        last = rows[-1]
        print(*job, *(f"{last[key]:.4g}" for key in ("final_loss", "seconds", "peak_memory_mb")), flush=True)
        table = pd.DataFrame(rows).assign(load=round(os.getloadavg()[0], 1))
        table.to_csv(Path(__file__).with_suffix(".csv"), index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
