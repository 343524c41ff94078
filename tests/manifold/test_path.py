from dataclasses import replace

import pytest
import torch

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from tests.helpers.metamers import gnn
from tests.manifold.test_walking import error_of


def pair(model, graph, **options):
    return [ml.find_metamer(model, graph, seed=seed, **{"layer": 2, **options}) for seed in (0, 1)]


def test_metamers_of_a_linear_model_are_joined_by_a_line(graph):
    model = gnn(act="identity")
    path = ml.join(model, *pair(model, graph, nodes=[0, 1, 2], rtol=1e-14), points=10)
    assert path.status == "joined" and path.table["detour"].max() < 1e-5 * path.straight
    assert path.length == pytest.approx(path.straight)
    assert path.table["share"].tolist() == pytest.approx([k / 10 for k in range(11)])


@pytest.mark.parametrize("conv, act", [("gcn", "elu"), ("gcn", "relu"), ("gat", "tanh"), ("mlp", "relu")])
def test_paths_lead_through_metamers_without_a_jump(graph, conv, act):
    model, nodes = gnn(conv=conv, act=act), [0, 8]
    ends = pair(model, graph, nodes=nodes)
    path = ml.join(model, *ends, points=12)
    assert path.status == "joined"
    gaps = (path.positions[1:] - path.positions[:-1]).flatten(1).norm(dim=1)
    assert gaps.max() <= 2 * path.straight / 12 * (1 + 1e-9)
    assert path.table["gap"].tolist() == pytest.approx([0.0, *gaps.tolist()])
    for x in path.positions:
        assert error_of(model, with_features(graph, x), graph, 2, nodes) <= 1.01e-8
    for x, end in zip(path.positions[[0, -1]], ends, strict=True):
        assert (x - end.graph.x).norm() < 0.1 * end.graph.x.norm()


def test_free_nodes_alone_move(graph):
    model = gnn(act="elu")
    path = ml.join(model, *pair(model, graph, nodes=[0], free_nodes=[0, 1]), points=4)
    assert path.status == "joined" and path.positions.shape[1:] == (2, 40)


def test_a_path_that_needs_more_points_is_blocked(graph):
    model = gnn(act="elu")
    path = ml.join(model, *pair(model, graph, nodes=[0]), points=10, max_points=4)
    assert path.status == "blocked" and len(path.positions) == 4 and path.table["share"].iloc[-1] < 1


def test_ends_that_cannot_be_corrected_are_blocked(graph):
    model = gnn(act="elu")
    path = ml.join(model, *pair(model, graph, nodes=[0]), tolerance=1e-300)
    assert path.status == "blocked" and len(path.positions) == 1


def test_only_metamers_of_one_reference_are_joined(graph):
    model = gnn()
    one, two = pair(model, graph, nodes=[0])
    with pytest.raises(TypeError, match="join takes two metamers, got Data"):
        ml.join(model, one, graph)
    for change, message in (
        ({"reference": with_features(graph, graph.x + 1)}, "different references"),
        ({"layer": "layers.0"}, "match layers 'layers.1' and 'layers.0'"),
        ({"nodes": torch.tensor([1])}, "different nodes"),
        ({"free_nodes": torch.tensor([1])}, "different free_nodes"),
    ):
        with pytest.raises(ValueError, match=message):
            ml.join(model, one, replace(two, **change))
    with pytest.raises(ValueError, match="points must be positive"):
        ml.join(model, one, two, points=0)
