"""What limits structure metamers with no edge in common: one curve for each idea, on Cora.

    python benchmarks/structure_ideas.py

Trained GCN-64, one thread, process seconds. Beside every loss stands the counting estimate of its layer. Writes
benchmarks/structure_ideas.csv.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}.items():
    os.environ[name] = value

import pandas as pd
import torch

import metamerlib as ml
from metamerlib.certificates.edges import edge_bits, edge_spectrum
from metamerlib.certificates.rate_distortion import expected_loss
from metamerlib.report.trained_models import trained_model
from metamerlib.search.edges.swaps import EdgeSwaps

# Idea, layer, start, solver.
IDEAS = [
    ("default", 1, "erdos-renyi", EdgeSwaps(steps=2000)),
    ("three times longer", 1, "erdos-renyi", EdgeSwaps(steps=6000)),
    ("32 coordinates", 1, "erdos-renyi", EdgeSwaps(steps=2000, rank=32)),
    ("narrower temperatures", 1, "erdos-renyi", EdgeSwaps(steps=2000, hot=0.006, cold=0.0012)),
    ("four times larger blocks", 1, "erdos-renyi", EdgeSwaps(steps=1000, rows=2048, columns=2048)),
    ("degrees right at the start", 1, "configuration", EdgeSwaps(steps=2000)),
    ("degrees kept", 1, "configuration", EdgeSwaps(steps=2000, degrees="keep")),
    ("default", 2, "erdos-renyi", EdgeSwaps(steps=2000)),
    ("degrees right at the start", 2, "configuration", EdgeSwaps(steps=2000)),
    ("degrees kept", 2, "configuration", EdgeSwaps(steps=2000, degrees="keep")),
]


def main() -> None:
    torch.set_num_threads(1)
    graph = ml.load_graph("Cora")
    model, _ = trained_model("gcn", graph, seed=0)
    tables = []
    for idea, layer, start, solver in IDEAS:
        fixed = solver.degrees == "keep"
        spectrum = edge_spectrum(model, graph, layer=layer, degrees=fixed)
        expected = expected_loss(edge_bits(graph, degrees=fixed), spectrum)
        began = time.process_time()
        found = ml.find_metamer(
            model,
            graph,
            layer=layer,
            vary="structure",
            start=start,
            solver=solver,
            max_steps=solver.steps,
            max_overlap=0,
        )
        seconds = time.process_time() - began
        curve = found.history.iloc[:: max(1, len(found.history) // 50)]
        labels = {"idea": idea, "layer": layer, "start": start, "final_loss": found.loss, "expected_loss": expected}
        labels |= {"cpu_seconds": seconds, "load": os.getloadavg()[0]}
        tables.append(curve[["step", "loss"]].assign(**labels))
        print(f"layer {layer} {idea}: {found.loss:.4f} in {seconds:.0f} s, expected {expected:.4f}", flush=True)
        path = Path(__file__).with_suffix(".csv")
        pd.concat(tables).to_csv(path, index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
