"""Time to the local metamer dimension on Cora: ours, and torch.func.jacrev and jacfwd on each node's own subgraph.

    python benchmarks/dimension.py [--peers 20] [--forward 4]

A GCN of depth 3 and width 64 with fresh weights, layer 2 unless said otherwise, float64, one thread. The peers get
each node's subgraph of its receptive field with the degrees of the whole graph, made before the clock starts. They
compute the Jacobian with respect to all features in it, and its rank by torch.linalg.matrix_rank. Ours starts from the
model and the graph. jacfwd needs one pass per input, and is given only the nodes with the smallest fields. Both wall
time and processor time are kept, since the latter hardly depends on what else runs.
Writes benchmarks/dimension.csv and prints the ratios.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}.items():
    os.environ[name] = value

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import jacfwd, jacrev
from torch_geometric.data import Data
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import k_hop_subgraph

import metamerlib as ml

HUB = 1358


def gcn(graph: Data, *, width: int = 64, depth: int = 3) -> ml.GNN:
    torch.manual_seed(0)
    sizes = {"in_channels": graph.num_features, "hidden_channels": width, "out_channels": graph.num_classes}
    return ml.GNN(conv="gcn", num_layers=depth, act="relu", **sizes).double().eval()


class Subgraph:
    """The first layers of a GCN as a function of the features of one node's receptive field."""

    def __init__(self, model: ml.GNN, graph: Data, node: int, layer: int) -> None:
        edges, weights = gcn_norm(graph.edge_index, None, graph.num_nodes, dtype=torch.float64)
        kept, self.edges, place, mask = k_hop_subgraph(node, layer, edges, relabel_nodes=True)
        self.x, self.weights, self.place = graph.x[kept].double(), weights[mask], int(place)
        self.layers = [(block.conv.lin.weight, block.conv.bias, block.act) for block in model.layers[:layer]]

    def __call__(self, x: Tensor) -> Tensor:
        source, target = self.edges
        for weight, bias, act in self.layers:
            messages = self.weights[:, None] * (x @ weight.T)[source]
            x = act(torch.zeros_like(x @ weight.T).index_add(0, target, messages) + bias)
        return x[self.place]

    def rank(self, differentiate: Callable[..., Callable[[Tensor], Tensor]]) -> int:
        jacobian = differentiate(self)(self.x)
        return int(torch.linalg.matrix_rank(jacobian.flatten(1)))


def timed(run: Callable[[], object]) -> tuple[object, float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    result = run()
    return result, time.perf_counter() - wall, time.process_time() - processor


def stratified(graph: Data, count: int) -> list[int]:
    """Return nodes spread evenly over the order of the degrees, the hub among them."""
    order = torch.bincount(graph.edge_index[0], minlength=graph.num_nodes).argsort(stable=True)
    places = np.linspace(0, graph.num_nodes - 1, count).round().astype(int)
    return list(dict.fromkeys([*order[places].tolist()[:-1], HUB]))


def compare(graph: Data, peers: int, forward: int) -> list[dict[str, object]]:
    """Time ours and the peers on the same nodes, and check that the ranks are the same."""
    model, nodes = gcn(graph), stratified(graph, peers)
    subgraphs = {node: Subgraph(model, graph, node, 2) for node in nodes}
    rows: list[dict[str, object]] = []

    def keep(what: str, count: int, seconds: float, processor: float, **more: object) -> None:
        rows.append(
            {"part": "peers", "what": what, "nodes": count, "seconds": seconds, "cpu_seconds": processor} | more
        )
        print(f"{what}, {count} nodes: {seconds:.2f} s, {processor:.2f} s of the processor", flush=True)

    subgraphs[nodes[0]].rank(jacrev)
    ours, *spent = timed(lambda: ml.metamer_dimension(model, graph, 2, nodes).set_index("node"))
    keep("ours", len(nodes), *spent)
    for node in nodes:
        rank, *spent = timed(lambda node=node: subgraphs[node].rank(jacrev))
        keep(
            f"jacrev, node {node}",
            1,
            *spent,
            inputs=subgraphs[node].x.numel(),
            same_rank=rank == ours.loc[node, "rank"],
        )
    for node in sorted(nodes, key=lambda node: subgraphs[node].x.numel())[:forward]:
        rank, *spent = timed(lambda node=node: subgraphs[node].rank(jacfwd))
        keep(
            f"jacfwd, node {node}",
            1,
            *spent,
            inputs=subgraphs[node].x.numel(),
            same_rank=rank == ours.loc[node, "rank"],
        )
    _, *spent = timed(lambda: ml.metamer_dimension(model, graph, 2))
    keep("ours, all nodes", graph.num_nodes, *spent)
    return rows


def grow(graph: Data) -> list[dict[str, object]]:
    """Time ours as depth, width and number of nodes grow."""
    nodes = stratified(graph, 100)
    runs = {("depth", k): (gcn(graph, depth=k + 1), k, nodes) for k in range(1, 7)}
    runs |= {("width", w): (gcn(graph, width=w), 2, nodes) for w in (8, 16, 32, 64, 128, 256)}
    runs |= {("nodes", n): (gcn(graph), 2, stratified(graph, n)) for n in (50, 200, 800, 2708)}
    rows = []
    for (part, size), (model, layer, chosen) in runs.items():
        table, seconds, processor = timed(lambda m=model, k=layer, c=chosen: ml.metamer_dimension(m, graph, k, c))
        mean = float(table["inputs"].mean())
        rows.append({"part": part, "what": f"ours, {part} {size}", "nodes": len(chosen), "seconds": seconds})
        rows[-1] |= {"cpu_seconds": processor, "inputs": mean}
        print(f"{part} {size}: {seconds:.2f} s, {processor:.2f} s of the processor", flush=True)
    return rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--peers", type=int, default=20, help="nodes given to jacrev, the hub among them")
    options.add_argument("--forward", type=int, default=4, help="of these, the nodes given to jacfwd")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    graph = ml.load_graph("Cora")
    table = pd.DataFrame(compare(graph, chosen.peers, chosen.forward) + grow(graph))
    setting = f"{platform.processor() or platform.machine()}, 1 thread, load {os.getloadavg()[0]:.1f}"
    table.assign(setting=setting).to_csv(Path(__file__).with_suffix(".csv"), index=False, float_format="%.6g")
    report(table.query("part == 'peers'").set_index("what"))


def report(table: pd.DataFrame) -> None:
    """Print the time per node of each contender on the same nodes."""
    for peer in ("jacrev", "jacfwd"):
        rows = table[table.index.str.startswith(peer)]
        assert rows["same_rank"].astype(bool).all(), "ranks differ"
        print(f"{peer}: the same ranks on {len(rows)} nodes")
        for column in ("seconds", "cpu_seconds"):
            each, mean = (
                table.loc["ours, all nodes", column] / table.loc["ours, all nodes", "nodes"],
                rows[column].mean(),
            )
            line = f"  {column}: {mean:.4g} a node, ours {each:.4g} a node over all nodes, {mean / each:.0f} times less"
            if peer == "jacrev":
                together = table.loc["ours", column]
                line += f"; the same {len(rows)} nodes {rows[column].sum():.3g} against {together:.3g}, "
                line += f"{rows[column].sum() / together:.0f} times less"
            print(line)


if __name__ == "__main__":
    main()
