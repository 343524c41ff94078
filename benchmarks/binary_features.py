"""Binary feature metamers on Cora: the dense straight-through estimator against swaps, same model, same start.

    python benchmarks/binary_features.py [--steps 300] [--learning-rates 0.1 0.03] [--swap-steps 350 6000]

Each contender runs alone in a process of its own on one thread. Seconds of the processor count from the call,
set-up included; wall seconds stand beside them, with the load of the machine. Peak memory is resident memory above
that of the loaded graph and model. Writes benchmarks/binary_features.csv (loss against seconds) and prints a summary.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}.items():
    os.environ[name] = value

import numpy as np
import pandas as pd
import torch

import metamerlib as ml
from metamerlib import records
from metamerlib.search.bits.ste import BitSTE
from metamerlib.search.bits.swaps import BitSwaps

PLACES = 60


class Timed:
    """A solver whose every evaluation is stamped with the processor's time."""

    def __init__(self, solver: Any) -> None:
        self.solver, self.dense = solver, getattr(solver, "dense", False)
        self.stamps: list[float] = []

    def iterate(self, problem: Any) -> Iterator[Any]:
        for item in self.solver.iterate(problem):
            self.stamps.append(time.process_time())
            yield item


def peak_memory() -> float:
    """Largest resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def run(layer: int, name: str, contender: BitSTE | BitSwaps, steps: int) -> pd.DataFrame:
    """Run one contender and return its curve, thinned on a log scale."""
    torch.set_num_threads(1)
    graph = ml.load_graph("Cora")
    model, _ = records.trained_model("gcn", graph, seed=0)
    solver = Timed(contender)
    before, cpu, wall = peak_memory(), time.process_time(), time.perf_counter()
    found = ml.find_metamer(
        model, graph, layer=layer, values="binary", solver=solver, max_steps=steps, rtol=1e-9, seed=0
    )
    wall, used = time.perf_counter() - wall, time.process_time() - cpu
    with torch.no_grad():
        classes, wanted = (model(g.x, g.edge_index).argmax(1) for g in (found.graph, graph))
    curve = found.history[["step", "loss"]].assign(seconds=np.array(solver.stamps) - cpu)
    curve["loss"] = curve["loss"].cummin()
    match = float((classes == wanted).float().mean())
    places = np.unique(np.geomspace(1, len(curve), PLACES).round().astype(int)) - 1
    return curve.iloc[places].assign(
        layer=layer, solver=name, learning_rate=getattr(contender, "learning_rate", 0.0), schedule=steps,
        prediction_match=match, jaccard=ml.metrics.feature_jaccard(found.graph.x, graph.x), cpu_seconds=used,
        wall_seconds=wall, peak_mb=peak_memory() - before, load=os.getloadavg()[0], machine=platform.machine(),
    )  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--steps", type=int, default=300, help="steps given to the straight-through estimator")
    options.add_argument("--swap-steps", type=int, nargs="+", default=[350, 6000], help="schedules of the swaps")
    options.add_argument("--learning-rates", type=float, nargs="+", default=[0.1, 0.03])
    chosen = options.parse_args()
    contenders = [("swaps", BitSwaps(steps=steps), steps) for steps in chosen.swap_steps]
    contenders += [("ste", BitSTE(learning_rate=rate), chosen.steps) for rate in chosen.learning_rates]
    runs = [(layer, *contender) for layer in (1, 2) for contender in contenders]
    parts = []
    for arguments in runs:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            parts.append(pool.apply(run, arguments))
        print(parts[-1].iloc[[-1]].to_string(header=len(parts) == 1), flush=True)
    table = pd.concat(parts)
    table.to_csv(Path(__file__).with_suffix(".csv"), index=False, float_format="%.5g")
    for layer, rows in table.groupby("layer"):
        best = rows[rows["solver"] == "ste"].sort_values("loss").iloc[0]
        ours = rows[rows["solver"] == "swaps"]
        early = ours.loc[ours["seconds"] <= best["cpu_seconds"] / 10, "loss"].min()
        print(
            f"layer {layer}: straight-through {best['loss']:.2e} in {best['cpu_seconds']:.0f} s, "
            f"swaps {early:.2e} ({best['loss'] / early:.1f} times less) in a tenth of that, "
            f"{ours['loss'].min():.2e} at the end, memory {best['peak_mb']:.0f}, {ours['peak_mb'].max():.0f} MiB"
        )


if __name__ == "__main__":
    main()
