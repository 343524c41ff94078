"""A GPU beside the processor of its machine: seconds to a loss, bandwidth, how often the host waits, equal results.

    python benchmarks/gpu.py [--device cuda] [--small] [--parts loss restarts ...]

With `--device cpu --small` all of it runs in a minute on small graphs, to try it out. Parts, each printed as it ends:

- `loss`: feature metamers of Cora, Coauthor CS and a random graph of 10^6 edges, seconds to a loss of 1e-4 and 1e-6;
- `restarts`: 64 restarts on Cora as one disjoint union;
- `collection`: metamers of all graphs of PROTEINS at once;
- `bits`, `edges`: 200 steps on Cora;
- `dimension`: that of every node of Cora, and of CS;
- `bandwidth`: bytes a second of a copy on the card, and of one evaluation of loss and gradient, counted from the
  tensors that its operations read and write;
- `waits`: how often the host waits for the card in a step of each solver, counted by PyTorch's profiler;
- `equal`: L_act, its gradient, dimension and volume on the card and on the processor, the largest relative difference.

A GCN of two layers and width 64 with fresh weights, layer 2. Times are wall times of the call, set-up included, after a
first short call, and the card is waited for before the clock is read. The processor takes one thread and stands beside,
under a limit of evaluations where it would take too long: then its seconds are a lower bound, marked by `limited`.
Writes benchmarks/gpu.csv after each part.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}.items():
    os.environ[name] = value

import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric.data import Data

import metamerlib as ml
from metamerlib.graphs.edges import both_directions
from metamerlib.graphs.rewiring import draw_pairs
from metamerlib.probing.target import Target
from metamerlib.search.features.problem import FeatureProblem, feature_problem
from metamerlib.search.features.starts import feature_starts

TOLERANCES = (1e-4, 1e-6)
# What makes the host wait: a number that is fetched, a copy to it, a count of entries that it must know.
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
FETCHES = ("aten::_local_scalar_dense", "aten::nonzero", "aten::unique_dim", "aten::_unique2", "aten::masked_select")
Row = dict[str, Any]


def random_graph(num_nodes: int, num_edges: int, width: int) -> Data:
    """Return a random graph with random features."""
    generator = torch.Generator().manual_seed(0)
    pairs = draw_pairs(num_edges, num_nodes, torch.empty(0, dtype=torch.long), generator)
    return Data(x=torch.randn(num_nodes, width, generator=generator), edge_index=both_directions(pairs))


def graphs(small: bool) -> dict[str, Data]:
    """Return the graphs of a run; where the raw files are missing, random ones of about their size, named so."""
    if small:
        return {
            "davis": ml.load_graph("davis"),
            "karate": ml.load_graph("karate"),
            "random": random_graph(300, 3000, 16),
        }
    found = {}
    for name, sizes in (("Cora", (2_708, 5_278, 1_433)), ("CS", (18_333, 81_894, 6_805))):
        try:
            found[name] = ml.load_graph(name)
        except FileNotFoundError:
            graph = random_graph(*sizes)
            graph.x = (graph.x > 2.2).float()
            found[f"random, as {name}"] = graph
    return found | {"random": random_graph(100_000, 1_000_000, 64)}


def gcn(graph: Data) -> ml.GNN:
    """Return a GCN of two layers with fresh weights."""
    torch.manual_seed(0)
    return ml.GNN(conv="gcn", in_channels=graph.num_features, hidden_channels=64, out_channels=8, num_layers=2).eval()


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def timed(run: Callable[[], Any], device: str) -> tuple[Any, float]:
    """Return what a call returns and the seconds that it took."""
    wait(device)
    began = time.perf_counter()
    found = run()
    wait(device)
    return found, time.perf_counter() - began


def put(graph: Data, device: str) -> tuple[ml.GNN, Data]:
    return gcn(graph).to(device), graph.clone().to(device)


def find(graph: Data, device: str, **options: Any) -> tuple[ml.Metamer, float]:
    """Search on a device after a first short call."""
    model, there = put(graph, device)
    options = {"layer": 2, **options}
    ml.find_metamer(model, there, **{**options, "max_steps": 2})
    return timed(lambda: ml.find_metamer(model, there, **options), device)


def devices(device: str) -> list[str]:
    return [device] if device == "cpu" else [device, "cpu"]


def loss(held: dict[str, Data], device: str, small: bool) -> Iterator[Row]:
    """Seconds to a loss; beside a card the processor gets few evaluations of large graphs, and a bound from these."""
    for name, graph in held.items():
        for where in devices(device):
            steps = 30 if small else 3000
            if where != device:
                steps = min(steps, 30 if graph.num_edges > 10**6 else 400 if graph.num_nodes > 10**4 else 3000)
            found, seconds = find(graph, where, rtol=TOLERANCES[-1], max_steps=steps)
            for tolerance in TOLERANCES:
                there = found.history[found.history["loss"] <= tolerance]
                reached = len(there) > 0
                spent = seconds - found.history["seconds"].iloc[-1]
                to = spent + (there if reached else found.history)["seconds"].iloc[0 if reached else -1]
                row = {"graph": name, "device": where, "tolerance": tolerance, "seconds": to, "limited": not reached}
                yield row | {"steps": found.steps, "loss": found.loss}


def restarts(held: dict[str, Data], device: str, small: bool) -> Iterator[Row]:
    name, graph = next(iter(held.items()))
    count = 4 if small else 64
    for where in devices(device):
        steps = 20 if small or where != device else 400
        found, seconds = find(graph, where, num_restarts=count, max_steps=steps)
        yield {"graph": name, "device": where, "restarts": count, "seconds": seconds, "steps": found.steps} | {
            "seconds_a_step": seconds / found.steps, "loss": found.loss
        }  # fmt: skip


def collection(held: dict[str, Data], device: str, small: bool) -> Iterator[Row]:
    name = "decalin-bicyclopentyl" if small else "PROTEINS"
    try:
        several = ml.load_graphs(name)
    except FileNotFoundError:
        name, several = "random, as PROTEINS", [random_graph(39, 73, 3) for _ in range(1113)]
    torch.manual_seed(0)
    sizes = {"in_channels": several[0].num_features, "hidden_channels": 64, "out_channels": 2, "num_layers": 2}
    model = ml.GNN(conv="gcn", pool="sum", **sizes).eval()
    for where in devices(device):
        there = [graph.clone().to(where) for graph in several]
        steps = 20 if small or where != device else 400
        twin = model.to(where)
        found, seconds = timed(lambda m=twin, g=there, s=steps: ml.find_metamers(m, g, layer=2, max_steps=s), where)
        share = sum(metamer.status == "converged" for metamer in found) / len(found)
        yield {"graph": name, "device": where, "graphs": len(found), "seconds": seconds, "converged": share}


def discrete(held: dict[str, Data], device: str, small: bool, **options: Any) -> Iterator[Row]:
    name, graph = next(iter(held.items()))
    graph = graph.clone()
    graph.x = (graph.x > 0).float()
    for where in devices(device):
        found, seconds = find(graph, where, max_steps=10 if small else 200, rtol=1e-12, **options)
        yield {"graph": name, "device": where, "seconds": seconds, "steps": found.steps, "loss": found.loss}


def bits(held: dict[str, Data], device: str, small: bool) -> Iterator[Row]:
    yield from discrete(held, device, small, values="binary")


def edges(held: dict[str, Data], device: str, small: bool) -> Iterator[Row]:
    yield from discrete(held, device, small, vary="structure")


def dimension(held: dict[str, Data], device: str, small: bool) -> Iterator[Row]:
    """All nodes on the card; on the processor all of Cora, and a hundred nodes of CS."""
    for name, graph in list(held.items())[:2]:
        for where in devices(device):
            model, there = put(graph, where)
            nodes = range(100) if where != device and graph.num_nodes > 10**4 else None
            table, seconds = timed(lambda m=model, g=there, n=nodes: ml.metamer_dimension(m, g, 2, n), where)
            yield {"graph": name, "device": where, "nodes": len(table), "seconds": seconds} | {
                "nodes_a_second": len(table) / seconds, "dimensions": int(table["dimension"].sum())
            }  # fmt: skip


class Bytes(TorchDispatchMode):
    """Counts the bytes of tensors that operations read and write, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if not func.is_view and "detach" not in str(func):
            given = torch.utils._pytree.tree_leaves((args, kwargs, found))
            self.total += sum(size_of(one) for one in given if isinstance(one, torch.Tensor))
        return found


def size_of(tensor: torch.Tensor) -> int:
    """Return the bytes of a tensor, of a sparse one those of its entries and their places."""
    if tensor.layout == torch.sparse_csr:
        return sum(size_of(part) for part in (tensor.crow_indices(), tensor.col_indices(), tensor.values()))
    return tensor.numel() * tensor.element_size() if tensor.layout == torch.strided else 0


def features_problem(model: ml.GNN, graph: Data) -> FeatureProblem:
    """Return the problem that a search for features hands to its solver."""
    probe = ml.Probe.fitting(model, 2, graph)
    target = Target.of(probe.check(graph), None)
    return feature_problem(probe, graph, target, feature_starts(graph, None, None, 1, 0), None, reduce=True)


def bandwidth(held: dict[str, Data], device: str, small: bool) -> Iterator[Row]:
    numbers = torch.ones(10**6 if small else 5 * 10**8, device=device)
    target, repeats = torch.empty_like(numbers), 3 if small else 20
    target.copy_(numbers)
    _, seconds = timed(lambda a=target, b=numbers: [a.copy_(b) for _ in range(repeats)], device)
    copied = 2 * repeats * numbers.numel() * numbers.element_size() / seconds
    yield {"what": "copy", "device": device, "gigabytes_a_second": copied / 1e9}
    del numbers, target
    for name, graph in held.items():
        problem = features_problem(*put(graph, device))
        problem.evaluate(problem.start)
        with Bytes() as counted:
            problem.evaluate(problem.start)
        _, seconds = timed(lambda p=problem: [p.evaluate(p.start) for _ in range(repeats)], device)
        reached = counted.total * repeats / seconds
        yield {"what": "evaluation", "graph": name, "device": device, "seconds": seconds / repeats} | {
            "gigabytes_a_second": reached / 1e9, "share_of_copy": reached / copied
        }  # fmt: skip


def waits(held: dict[str, Data], device: str, small: bool) -> Iterator[Row]:
    """Two numbers of steps, so that what is done once falls out of the difference."""
    graph = next(iter(held.values())).clone()
    graph.x = (graph.x > 0).float()
    solvers = {
        "features": {}, "adam": {"solver": "adam"}, "bits": {"values": "binary"}, "edges": {"vary": "structure"}
    }  # fmt: skip
    short, long = (3, 6) if small else (20, 60)
    for name, options in solvers.items():
        model, there = put(graph, device)
        counts = []
        for steps in (short, long):
            kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device != "cpu" else [])]
            with profile(activities=kinds) as profiler:
                found = ml.find_metamer(model, there, layer=2, max_steps=steps, rtol=1e-30, **options)
            events = {event.key: event.count for event in profiler.key_averages()}
            names = WAITS if device != "cpu" else FETCHES
            counts.append((found.steps, sum(events.get(key, 0) for key in names)))
        (first, before), (second, after) = counts
        what = "waits" if device != "cpu" else "numbers fetched"
        yield {"solver": name, "device": device, "what": what, "a_step": (after - before) / max(second - first, 1)}


def equal(held: dict[str, Data], device: str, small: bool) -> Iterator[Row]:
    """The same in float64 on both devices."""
    for name, graph in list(held.items())[:1]:
        rows = []
        for where in (device, "cpu"):
            model, there = put(graph, where)
            model, there.x = model.double(), there.x.double()
            problem = features_problem(model, there)
            seen = problem.evaluate(problem.start)
            table = ml.metamer_dimension(model, there, 2, range(20))
            volume = ml.log_volume_change(model, there, 2, range(20))["total"]
            found = ml.find_metamer(model, there, layer=2, max_steps=20, rtol=1e-30)
            rows.append([seen.loss.cpu(), seen.gradient.norm().cpu(), torch.tensor(table["dimension"].to_numpy()),
                         torch.tensor(volume.to_numpy()), torch.tensor(found.loss)])  # fmt: skip
        for what, one, two in zip(
            ("loss", "gradient", "dimension", "volume", "loss after 20 steps"), *rows, strict=True
        ):
            one, two = one.double(), two.double()
            apart = float((one - two).norm() / two.norm().clamp(min=1e-300))
            yield {"graph": name, "what": what, "device": device, "relative_difference": apart, "same": apart < 1e-6}


PARTS = {part.__name__: part for part in (loss, restarts, collection, bits, edges, dimension, bandwidth, waits, equal)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--device", default="cuda")
    options.add_argument("--small", action="store_true", help="small graphs and few steps, to try it out")
    options.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    options.add_argument("--limit", type=float, default=420.0, help="seconds after which no further part is begun")
    options.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".csv"))
    chosen = options.parse_args()
    torch.set_num_threads(1)
    card = torch.cuda.get_device_name() if chosen.device.startswith("cuda") else "none"
    setting = f"{card}; {platform.processor() or platform.machine()}, 1 thread; torch {torch.__version__}"
    print(setting, flush=True)
    held, seconds = timed(lambda: graphs(chosen.small), "cpu")
    print(f"graphs loaded in {seconds:.1f} s", flush=True)
    rows: list[Row] = []
    first = time.perf_counter()
    for name in chosen.parts:
        if time.perf_counter() - first > chosen.limit:
            print(f"{name}: left out, {chosen.limit:.0f} s are over", flush=True)
            continue
        began = time.perf_counter()
        try:
            for row in PARTS[name](held, chosen.device, chosen.small):
                rows.append({"part": name, **row, "setting": setting})
                said = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items()}
                print(f"{name}:", ", ".join(f"{key} {value}" for key, value in said.items()), flush=True)
        except Exception as error:  # the others are still worth the card's time
            rows.append({"part": name, "error": f"{type(error).__name__}: {error}", "setting": setting})
            print(f"{name}: FAILED: {type(error).__name__}: {error}", flush=True)
        print(f"{name} took {time.perf_counter() - began:.1f} s", flush=True)
        pd.DataFrame(rows).to_csv(chosen.output, index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
