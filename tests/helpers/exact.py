"""What the tests of exact metamers share: graphs, hops per layer, and the greatest error of an activation."""

import networkx as nx
import pytest
import torch
from torch_geometric.data import Data

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.models.convolutions import CONVOLUTIONS
from metamerlib.probing.probe import Probe

HOPS = {"sgc": 2, "appnp": 10, "mlp": 0}  # of one layer; all others make one hop
WITHOUT_DEGREES = ("gat", "gatv2", "sage", "gin")


def hops_of(conv, layer):
    return HOPS.get(conv, 1) * layer


def model_of(conv, width, num_layers=4, **changes):
    torch.manual_seed(0)
    sizes = dict(in_channels=width, hidden_channels=8, out_channels=5, num_layers=num_layers)
    return ml.GNN(conv=conv, **{**sizes, **changes}).double().eval()


def errors(model, one, other):
    """Return the relative error of the activations of each layer, node by node."""
    found = []
    for layer in range(1, len(model.layers) + 1):
        wanted, got = (Probe(model, layer)(with_features(g, g.x.double())).activation for g in (one, other))
        found.append(((got - wanted).norm() / wanted.norm()).item())
    return found


def to_data(graph, x=None):
    """Convert a networkx graph on 0..N-1, with one constant feature by default."""
    ends = torch.tensor(list(graph.edges), dtype=torch.long).reshape(-1, 2).T
    nodes = graph.number_of_nodes()
    return Data(x=torch.ones(nodes, 1) if x is None else x, edge_index=torch.cat([ends, ends.flip(0)], dim=1))


def plain(name):
    """Return an embedded graph with one constant feature."""
    graph = ml.load_graph(name)
    return Data(x=torch.ones(graph.num_nodes, 1), edge_index=graph.edge_index)


def molecules(name, number=12):
    """Return the first graphs of a collection, without their edge attributes; skip where it is not here."""
    try:
        graphs = ml.load_graphs(name)[:number]
    except FileNotFoundError:
        pytest.skip(f"{name} is not here")
    return [Data(x=g.x, edge_index=g.edge_index, edge_attr=g.edge_attr) for g in graphs]


def random_graph(seed, nodes=24, edges=40, kinds=2):
    x = torch.nn.functional.one_hot(torch.arange(nodes) % kinds, kinds).double()
    return to_data(nx.gnm_random_graph(nodes, edges, seed=seed), x)


def edge_set(graph):
    return {(a, b) for a, b in graph.edge_index.T.tolist() if a < b}


def check_simple(graph, reference):
    """Both directions of each edge once, no loops, and the degrees of the reference."""
    pairs = [tuple(pair) for pair in graph.edge_index.T.tolist()]
    assert len(set(pairs)) == len(pairs) == reference.num_edges and pairs == sorted(pairs)
    assert all((b, a) in set(pairs) and a != b for a, b in pairs)
    degrees = [g.edge_index[0].bincount(minlength=g.num_nodes) for g in (graph, reference)]
    assert torch.equal(*degrees)


ALL = list(CONVOLUTIONS)
