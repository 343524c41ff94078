"""Time to a feature metamer on Cora: plenoptic's Metamer, our Adam, our fast solver, same model, same start.

    pip install plenoptic==2.1.1
    python benchmarks/feature_metamers.py [--steps 1000] [--learning-rates 0.003 0.01]

Each contender runs alone on one thread. Times are wall times from the call to the first evaluation whose loss is
at most the tolerance, set-up included. Adam's learning rate is chosen per cell and tolerance, in Adam's favour. Where
an Adam never gets there, the time of all its evaluations stands for it, marked with ">": a lower bound.
Writes benchmarks/feature_metamers.csv and prints it with the ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path

for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}.items():
    os.environ[name] = value

import numpy as np
import pandas as pd
import plenoptic
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

import metamerlib as ml
from metamerlib.search.features.adam import Adam

TOLERANCES = (1e-4, 1e-5, 1e-6)
Timeline = tuple[np.ndarray, np.ndarray]


class AsImage(nn.Module):
    """The first layers of a model as plenoptic wants them: an image [1, 1, N, F] to an image [1, 1, N, d]."""

    def __init__(self, model: ml.GNN, graph: Data, layer: int) -> None:
        super().__init__()
        self.layers, self.edge_index = model.layers[:layer], graph.edge_index
        self.times: list[float] = []

    def forward(self, image: Tensor) -> Tensor:
        self.times.append(time.perf_counter())
        h = image[0, 0]
        for layer in self.layers:
            h = layer(h, self.edge_index, None, None, None)
        return h[None, None]


def relative_loss(found: Tensor, target: Tensor) -> Tensor:
    return (found - target).square().sum() / target.square().sum()


def run_plenoptic(model: ml.GNN, graph: Data, layer: int, start: Tensor, steps: int, learning_rate: float) -> Timeline:
    """plenoptic 2.1.1 with its own Adam; a penalty of zero (it insists on one with a gradient), never stopped early."""
    wrapped = AsImage(model, graph, layer).eval().requires_grad_(False)
    silent = contextlib.redirect_stderr(io.StringIO())
    with warnings.catch_warnings(), silent:
        warnings.simplefilter("ignore")
        began = time.perf_counter()
        metamer = plenoptic.Metamer(
            graph.x[None, None],
            wrapped,
            relative_loss,
            penalty_function=lambda x: 0 * x[0, 0, 0, 0],
            penalty_lambda=0.0,
        )
        metamer.setup(start[None, None].clone(), optimizer_kwargs={"lr": learning_rate})
        wrapped.times.clear()
        metamer.synthesize(max_iter=steps, stop_criterion=-1.0)
        ended = time.perf_counter()
    losses = metamer.losses.numpy()[: len(wrapped.times)]
    finished = np.array([*wrapped.times[1:], ended])[: len(losses)]
    return losses, finished - began


def run_ours(model: ml.GNN, graph: Data, layer: int, start: Tensor, steps: int, solver: object) -> Timeline:
    """find_metamer; what is not spent in the loop is spent before it."""
    began = time.perf_counter()
    found = ml.find_metamer(model, graph, layer=layer, start=start, solver=solver, max_steps=steps, rtol=TOLERANCES[-1])
    total = time.perf_counter() - began
    loop = found.history["seconds"].to_numpy()
    return found.history["loss"].to_numpy(), loop + (total - loop[-1])


def reached(timeline: Timeline, tolerance: float) -> tuple[float, float]:
    """Return seconds and evaluations to the tolerance, infinite where it is not reached."""
    losses, seconds = timeline
    there = np.flatnonzero(losses <= tolerance)
    return (float(seconds[there[0]]), float(there[0] + 1)) if there.size else (np.inf, np.inf)


def contenders(steps: int, learning_rates: list[float]) -> dict[tuple[str, float], Callable[..., Timeline]]:
    """Return every run by name and learning rate."""
    runs: dict[tuple[str, float], Callable[..., Timeline]] = {}
    for rate in learning_rates:
        runs["plenoptic", rate] = lambda *cell, rate=rate: run_plenoptic(*cell, steps, rate)
        runs["our Adam", rate] = lambda *cell, rate=rate: run_ours(*cell, steps, Adam(rate))
    runs["ours, fast", 0.0] = lambda *cell: run_ours(*cell, 5000, "auto")
    return runs


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--steps", type=int, default=1000, help="evaluations given to either Adam")
    options.add_argument("--learning-rates", type=float, nargs="+", default=[0.003, 0.01])
    chosen = options.parse_args()
    torch.set_num_threads(1)
    graph = ml.load_graph("Cora")
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(graph.x.shape, generator=generator)
    start = graph.x.mean(0) + graph.x.std(0, correction=0) * noise
    rows = []
    for act in ("relu", "elu"):
        model = ml.GNN(
            conv="gcn", in_channels=1433, hidden_channels=64, out_channels=7, num_layers=2, act=act, dropout=0.5
        )
        fit = ml.train(model, graph, seed=0)
        for layer in (1, 2):
            for (name, rate), run in contenders(chosen.steps, chosen.learning_rates).items():
                timeline = run(fit.model, graph, layer, start)
                for tolerance in TOLERANCES:
                    seconds, evaluations = reached(timeline, tolerance)
                    spent = float(timeline[1][-1])
                    rows.append([act, layer, tolerance, name, rate, seconds, evaluations, timeline[0].min(), spent])
                print(
                    f"{act} layer {layer} {name} {rate}: {timeline[0].min():.1e} in {timeline[1][-1]:.1f} s", flush=True
                )
    columns = [
        "act",
        "layer",
        "tolerance",
        "contender",
        "learning_rate",
        "seconds",
        "evaluations",
        "least_loss",
        "spent",
    ]
    report(pd.DataFrame(rows, columns=columns))


def report(table: pd.DataFrame) -> None:
    """Write all runs, and print the best of each contender with the ratios to plenoptic."""
    setting = f"{platform.processor() or platform.machine()}, 1 thread, load {os.getloadavg()[0]:.1f}"
    table.assign(setting=setting).to_csv(Path(__file__).with_suffix(".csv"), index=False, float_format="%.6g")
    cells = ["act", "layer", "tolerance"]
    best = table.groupby([*cells, "contender"])["seconds"].min().unstack()
    spent = table.groupby([*cells, "contender"])["spent"].max().unstack()
    bounded = best.where(np.isfinite(best), spent)
    shown = bounded.round(2).astype(str).where(np.isfinite(best), ">" + bounded.round(1).astype(str))
    for peer in ("plenoptic", "our Adam"):
        ratio = bounded[peer] / bounded["ours, fast"]
        shown[f"{peer} / fast"] = (
            ratio.round()
            .astype(int)
            .astype(str)
            .where(np.isfinite(best[peer]), ">" + ratio.round().astype(int).astype(str))
        )
    print(shown.to_string())
    ratio = (bounded["plenoptic"] / bounded["ours, fast"]).xs(TOLERANCES[0], level="tolerance")
    print(f"geometric mean of plenoptic / fast to {TOLERANCES[0]:g}: {np.exp(np.log(ratio).mean()):.0f}")


if __name__ == "__main__":
    main()
