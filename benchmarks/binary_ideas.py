"""What limits binary metamers of the first layer, where counting promises more: one curve for each idea, on Cora.

    python benchmarks/binary_ideas.py

Trained GCN-64, layer 1, each idea alone in a process of its own on one thread; seconds of the processor. Beside every
loss stands the counting estimate. Writes benchmarks/binary_ideas.csv.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pandas as pd
from binary_features import run  # sets the threads before torch is imported

import metamerlib as ml
from metamerlib import records
from metamerlib.certificates.rate_distortion import activation_spectrum, expected_loss, feature_bits
from metamerlib.search.bits.swaps import BitSwaps

IDEAS = {
    "default": BitSwaps(steps=350),
    "no heat": BitSwaps(steps=350, quench=1.0),
    "all features scored": BitSwaps(steps=350, pool=1433),
    "twice as hot": BitSwaps(steps=350, hot=1.0),
    "colder": BitSwaps(steps=350, hot=0.1, cold=0.01),
    "curvature from four times as many probes": BitSwaps(steps=350, probes=16),
    "six times longer": BitSwaps(steps=2100),
    "seventeen times longer": BitSwaps(steps=6000),
    "seventeen times longer, no heat": BitSwaps(steps=6000, quench=1.0),
}


def main() -> None:
    graph = ml.load_graph("Cora")
    model, _ = records.trained_model("gcn", graph, seed=0)
    expected = expected_loss(feature_bits(graph), activation_spectrum(model, graph, layer=1, seed=0))
    tables = []
    for idea, solver in IDEAS.items():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            curve = pool.apply(run, (1, "swaps", solver, solver.steps))
        tables.append(curve.assign(idea=idea, expected_loss=expected))
        last = tables[-1].iloc[-1]
        print(f"{idea}: {last['loss']:.2e} in {last['cpu_seconds']:.1f} s, expected {expected:.1e}", flush=True)
        columns = ["step", "loss", "seconds", "idea", "schedule", "expected_loss", "cpu_seconds", "load"]
        pd.concat(tables)[columns].to_csv(Path(__file__).with_suffix(".csv"), index=False, float_format="%.5g")


if __name__ == "__main__":
    main()
