import pytest
import torch
from torch_geometric.data import Data

import metamerlib as ml
from metamerlib.manifold.reach import Members, find_reach
from metamerlib.probing.agreement import same_rows
from metamerlib.probing.probe import Probe
from tests.helpers.jacobians import Everyone, Foreign, Hops, Learned, Neighbours, distances
from tests.helpers.metamers import WIDTH, features, gnn


def reach_of(model, graph, layer):
    return find_reach(Probe(model.double(), layer), graph)


def path(num_nodes, directed=False):
    pairs = torch.arange(num_nodes - 1)
    edges = torch.stack([pairs, pairs + 1])
    edges = edges if directed else torch.cat([edges, edges.flip(0)], 1)
    return Data(x=features(0, num_nodes), edge_index=edges)


@pytest.mark.parametrize(
    ("conv", "layer", "hops"),
    [
        *(("mlp", 2, 0), ("gcn", 1, 1), ("gcn", 3, 3), ("gat", 2, 2), ("gatv2", 1, 1), ("sage", 2, 2), ("gin", 2, 2)),
        *(("cheb", 2, 2), ("sgc", 1, 2), ("sgc", 2, 4), ("appnp", 1, 10)),
    ],
)
def test_hops_of_each_convolution(conv, layer, hops):
    reach = reach_of(gnn(conv=conv, num_layers=3), path(30), layer)
    assert reach.hops == hops
    assert reach.sizes(torch.tensor([0, 15])).tolist() == [hops + 1, 2 * hops + 1]


def test_fields_by_hand():
    reach = reach_of(gnn(), path(6), 1)
    fields = reach.fields(torch.tensor([4, 0]))
    assert fields.owner.tolist() == [0, 0, 0, 1, 1] and fields.node.tolist() == [3, 4, 5, 0, 1]
    assert fields.sizes.tolist() == [3, 2]
    assert reach.fields(torch.tensor([0]), 2).node.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("flipped", [False, True])
def test_features_travel_along_edges_one_way(flipped):
    graph = path(8, directed=True)
    if flipped:
        graph.edge_index = graph.edge_index.flip(0)
    reach = reach_of(gnn(conv="sage"), graph, 2)
    assert reach.hops == 2
    assert reach.fields(torch.tensor([4])).node.tolist() == ([4, 5, 6] if flipped else [2, 3, 4])


@pytest.mark.parametrize("kind, hops", [(Foreign, 2), (Hops, 3), (Learned, 2)])
def test_foreign_models(kind, hops, graph):
    torch.manual_seed(0)
    reach = reach_of(kind(), graph, "second" if kind is Foreign else "spread" if kind is Hops else "conv")
    assert reach.hops == hops
    wanted = (distances(graph) <= hops).sum(1)
    assert torch.equal(reach.sizes(torch.arange(34)), wanted)


def test_depth_beyond_the_diameter_is_the_component(graph):
    assert reach_of(gnn(num_layers=9), graph, 8).sizes(torch.arange(34)).tolist() == [34] * 34
    two = Data(x=features(0, 36), edge_index=torch.cat([graph.edge_index, torch.tensor([[34, 35], [35, 34]])], 1))
    assert reach_of(gnn(num_layers=9), two, 8).sizes(torch.tensor([0, 35])).tolist() == [34, 2]


@pytest.mark.parametrize("kind", ["pair norm", "attention"])
def test_a_coupling_of_all_nodes_is_found(kind):
    graph = path(10)
    graph.x, edges = torch.cat([graph.x, graph.x[:1]]), graph.edge_index
    graph.edge_index = edges
    model, layer = (gnn(norm="pair"), 1) if kind == "pair norm" else (Everyone(), "")
    reach = reach_of(model, graph, model if layer == "" else layer)
    assert reach.hops is None and reach.sizes(torch.arange(11)).tolist() == [11] * 11
    assert reach.fields(torch.tensor([10, 2])).node.tolist() == [*range(11)] * 2


def test_fields_that_are_no_balls_are_found_node_by_node():
    reach = reach_of(Neighbours(), path(6), "conv")
    assert reach.hops is None
    assert [reach.fields(torch.tensor([v])).node.tolist() for v in (0, 3)] == [[1], [2, 4]]
    assert reach.sizes(torch.arange(6)).tolist() == [1, 2, 2, 2, 2, 1]


def test_per_node_norm_does_not_couple(graph):
    for norm in ("layer", "batch"):
        assert reach_of(gnn(norm=norm), graph, 1).hops == 1


def test_hops_on_a_graph_with_long_paths():
    graph = ml.load_graph("bow-sbm")
    model = ml.GNN(conv="gcn", in_channels=600, hidden_channels=8, out_channels=4, num_layers=3)
    assert find_reach(Probe(model, 2), graph).hops == 2
    assert find_reach(Probe(model, model), graph).hops == 3


@pytest.mark.parametrize("size", [100, 300])
def test_the_longest_paths_may_lie_in_a_small_component(size):
    star = torch.stack([torch.zeros(size, dtype=torch.long), torch.arange(1, size + 1)])
    hops = torch.arange(12)
    line = torch.stack([hops, hops + 1]) + size + 1
    other = torch.stack([torch.zeros(250, dtype=torch.long), torch.arange(1, 251)]) + size + 14
    edges = torch.cat([star, line, other], 1)
    graph = Data(x=features(0, size + 265), edge_index=torch.cat([edges, edges.flip(0)], 1))
    reach = reach_of(gnn(num_layers=6), graph, 5)
    assert reach.hops == 5
    assert reach.sizes(torch.tensor([0, size + 1, size + 14])).tolist() == [size + 1, 6, 251]


def test_members_from_keys():
    members = Members.of(torch.tensor([1, 3, 10 + 2]), 3, 10)
    assert members.owner.tolist() == [0, 0, 1] and members.sizes.tolist() == [2, 1, 0]


def test_same_rows_sees_one_wrong_row():
    a = torch.ones(5, WIDTH, dtype=torch.float64)
    b = a.clone()
    b[3] *= 1 + 1e-6
    assert same_rows(a, a) and not same_rows(a, b) and not same_rows(a, a[:2])


def test_fields_of_any_model_in_the_order_of_the_nodes():
    fields = ml.receptive_field(gnn(), path(6), layer=1, nodes=[4, 0])
    assert [field.tolist() for field in fields] == [[3, 4, 5], [0, 1]]
    (field,) = ml.receptive_field(Foreign().double(), path(6), layer="second", nodes=[0])
    assert field.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="1 rows, not one for each of the 6 nodes"):
        ml.receptive_field(gnn(pool="sum"), path(6), layer="pool")
