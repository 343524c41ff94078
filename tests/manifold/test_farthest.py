import pytest
import torch

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.manifold.matching import match
from tests.helpers.metamers import features, gnn
from tests.manifold.test_walking import error_of


def cosine(a, b):
    return ((a * b).sum() / (a.norm() * b.norm())).item()


def check_bounded(model, m, layer, nodes=None):
    assert error_of(model, m.graph, m.reference, layer, nodes) <= 1.01e-8
    assert m.graph.x.norm() <= m.reference.x.norm() * (1 + 1e-6)
    last = m.history.iloc[-1]
    assert last["cosine"] == pytest.approx(cosine(m.graph.x, m.reference.x))
    assert last["distance"] == pytest.approx((m.graph.x - m.reference.x).norm().item())


def test_farthest_metamer_of_a_linear_model_is_a_reflection(graph):
    model = gnn(act="identity")
    far = ml.farthest_metamer(model, graph, layer=2)
    check_bounded(model, far, 2)
    tangent = ml.project_to_tangent(model, graph, graph.x, layer=2, method="dense")
    torch.testing.assert_close(far.graph.x, graph.x - 2 * tangent, rtol=0, atol=1e-6)
    assert far.status == "converged" and far.steps <= 2


@pytest.mark.parametrize(
    "conv, act, nodes", [("gcn", "elu", None), ("gcn", "relu", [0, 9]), ("gat", "tanh", [0, 9]), ("mlp", "relu", [3])]
)
def test_farthest_is_no_nearer_than_random_walks_get(graph, conv, act, nodes):
    model = gnn(conv=conv, act=act)
    far = ml.farthest_metamer(model, graph, layer=2, nodes=nodes, max_steps=8)
    check_bounded(model, far, 2, nodes)
    distance = (far.graph.x - graph.x).norm()
    for seed in range(2):
        way = ml.walk(model, graph, layer=2, nodes=nodes, steps=8, step_length=0.25, seed=seed)
        bounded = way.positions.flatten(1).norm(dim=1) <= graph.x.norm()
        assert (way.positions - graph.x).flatten(1).norm(dim=1)[bounded].max() < distance
    assert distance > 1.5 * graph.x.norm()


def test_without_invisible_directions_the_norm_is_bounded_too(graph):
    narrow = with_features(graph, features(0, width=6))
    model = gnn(in_channels=6, act="elu")
    assert match(model, narrow, layer=2).space is None
    far = ml.farthest_metamer(model, narrow, layer=2, nodes=[0, 1, 2])
    check_bounded(model, far, 2, [0, 1, 2])
    assert far.history["cosine"].iloc[-1] < -0.5


def test_begins_at_a_metamer_and_moves_free_nodes_only(graph):
    model = gnn(act="elu")
    found = ml.find_metamer(model, graph, layer=2, nodes=[0], free_nodes=[0, 1, 2])
    far = ml.farthest_metamer(model, found)
    assert (far.graph.x != graph.x).any(1).nonzero().flatten().tolist() == [0, 1, 2]
    assert error_of(model, far.graph, graph, 2, [0]) < 1.01e-8 and far.free_nodes.tolist() == [0, 1, 2]
    assert cosine(far.graph.x[:3], graph.x[:3]) < cosine(found.graph.x[:3], graph.x[:3])


def test_several_metamers_keep_apart(graph):
    model = gnn(act="elu")
    found = ml.several_metamers(model, graph, layer=2, nodes=[0, 1], count=3, max_steps=15)
    again = ml.several_metamers(model, graph, layer=2, nodes=[0, 1], count=2, max_steps=15)
    other = ml.several_metamers(model, graph, layer=2, nodes=[0, 1], count=1, max_steps=15, seed=1)
    assert torch.equal(found[1].graph.x, again[1].graph.x) and not torch.equal(found[0].graph.x, other[0].graph.x)
    for m in found:
        check_bounded(model, m, 2, [0, 1])
    rows = [graph.x, *(m.graph.x for m in found)]
    nearest = max(cosine(a, b) for i, a in enumerate(rows) for b in rows[:i])
    assert nearest < 0.1


def test_a_result_can_be_saved_and_compared(graph, tmp_path):
    model = gnn(act="elu")
    far = ml.farthest_metamer(model, graph, layer=2, nodes=[0, 1], max_steps=3)
    far.save(tmp_path / "far.pt")
    assert torch.equal(ml.Metamer.load(tmp_path / "far.pt").graph.x, far.graph.x)
    assert ml.compare(model, far, null_draws=2)["prediction_match"] == 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"max_steps": 0}, "max_steps must be positive"),
        ({"tolerance": 0.0}, "tolerance must be positive"),
        ({"free_nodes": [40]}, r"free_nodes must lie in 0..33"),
        ({"dtype": torch.float32}, "tangents need torch.float64"),
    ],
)
def test_bad_input(graph, change, message):
    with pytest.raises(ValueError, match=message):
        ml.farthest_metamer(gnn(), graph, **{"layer": 1, **change})


def test_zero_features_have_no_bound(graph):
    model = gnn()
    torch.nn.init.ones_(model.layers[0].conv.bias)
    with pytest.raises(ValueError, match="free features of the reference are zero"):
        ml.farthest_metamer(model, with_features(graph, 0 * graph.x), layer=1)


def test_farthest_along_a_direction_of_a_linear_model_is_on_the_edge_of_its_ball(graph):
    model, along = gnn(act="identity"), features(7)[[0, 1, 2]]
    options = dict(layer=2, nodes=[0, 1, 2], free_nodes=[0, 1, 2])
    far = ml.farthest_metamer(model, graph, direction=along, **options)
    base = graph.x[[0, 1, 2]]

    def tangent(v):
        return ml.project_to_tangent(model, graph, v, method="dense", **options)

    bound, free = base - tangent(base), tangent(along)
    wanted = bound + (base.norm() ** 2 - bound.norm() ** 2).sqrt() * free / free.norm()
    torch.testing.assert_close(far.graph.x[[0, 1, 2]], wanted, rtol=0, atol=1e-5)
    assert far.history["along"].iloc[-1] == pytest.approx(((wanted * along).sum() / along.norm()).item(), rel=1e-6)
    assert error_of(model, far.graph, graph, 2, [0, 1, 2]) < 1.01e-8


def test_another_ball_bounds_the_metamer(graph):
    model, along, centre = gnn(act="elu"), features(7)[[0]], graph.x[[0]] + 0.1 * features(8)[[0]]
    options = dict(layer=2, nodes=[0], free_nodes=[0], direction=along, centre=centre)
    far = ml.farthest_metamer(model, graph, radius=3.0, **options)
    assert (far.graph.x[[0]] - centre).norm() <= 3 * (1 + 1e-6)
    wide = ml.farthest_metamer(model, graph, radius=9.0, **options)
    assert wide.history["along"].iloc[-1] > far.history["along"].iloc[-1] > far.history["along"].iloc[0]
    with pytest.raises(ValueError, match="outside of radius"):
        ml.farthest_metamer(model, graph, radius=0.01, **options)
    with pytest.raises(ValueError, match="direction is zero"):
        ml.farthest_metamer(model, graph, layer=2, nodes=[0], free_nodes=[0], direction=torch.zeros(1, 40))
    with pytest.raises(ValueError, match="centre must be a tensor"):
        ml.farthest_metamer(model, graph, layer=2, nodes=[0], free_nodes=[0], centre=torch.zeros(2, 40))
