import pytest
import torch

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.manifold.correction import correct
from metamerlib.manifold.matching import match
from metamerlib.probing.probe import Probe
from tests.helpers.jacobians import Foreign
from tests.helpers.metamers import WIDTH, features, gnn


def error_of(model, graph, reference, layer, nodes=None):
    """Return the relative error by its definition, with nothing but the model and the graphs."""
    found, wanted = (Probe(model, layer)(g).activation for g in (graph, reference))
    rows = slice(None) if nodes is None else nodes
    return ((found[rows] - wanted[rows]).norm() / wanted[rows].norm()).item()


def check_walk(model, way, layer, nodes=None, tolerance=1e-8):
    assert (way.table["relative_error"] <= tolerance).all()
    for index, step in enumerate(way.kept.tolist()):
        graph = way.graph(index)
        assert error_of(model, graph, way.reference, layer, nodes) <= 1.01 * tolerance
        far = (graph.x - way.reference.x).norm().item()
        assert far == pytest.approx(way.table["distance"][step], rel=1e-9, abs=1e-9)
    assert way.relative_error <= 1.01 * tolerance


def test_metamers_of_a_linear_gcn_are_an_affine_space(graph):
    model = gnn(act="identity")
    way = ml.walk(model, graph, layer=2, steps=6, step_length=0.5)
    check_walk(model, way, 2, tolerance=1e-12)
    assert way.status == "finished" and not way.table["corrections"].any()
    size = graph.x.norm().item()
    assert way.table["distance"].tolist() == pytest.approx([0.5 * size * k for k in range(7)])
    assert way.table["travelled"].tolist() == pytest.approx(way.table["distance"].tolist())


@pytest.mark.parametrize("act", ["elu", "tanh"])
@pytest.mark.parametrize("conv", ["gcn", "gat", "mlp"])
@pytest.mark.parametrize("nodes", [None, [0, 16]])
def test_smooth_models_keep_their_activations_all_along(graph, conv, act, nodes):
    model = gnn(conv=conv, act=act)
    way = ml.walk(model, graph, layer=2, steps=6, step_length=0.1, nodes=nodes, invisible=False)
    check_walk(model, way, 2, nodes)
    assert way.status == "finished" and way.table["distance"].iloc[-1] > 0.2 * graph.x.norm()
    assert way.table["corrections"].any() and not way.table["pattern_changes"].any()


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("conv", ["gcn", "gat", "sage", "mlp"])
def test_relu_models_cross_into_other_linear_regions(graph, conv, layer):
    model = gnn(conv=conv)
    way = ml.walk(model, graph, layer=layer, steps=8, step_length=0.3, nodes=[0, 5], invisible=False)
    check_walk(model, way, layer, [0, 5])
    assert way.status == "finished" and way.table["pattern_changes"].sum() > 0


def test_silent_units_stay_silent_or_move_below_zero(graph):
    model = gnn(conv="mlp")
    free = [0, 1, 2]
    way = ml.walk(model, graph, layer=1, steps=10, step_length=0.3, invisible=False, nodes=free, free_nodes=free)
    before, after = (Probe(model, 1)(g).pre_activation[free] for g in (graph, way.graph()))
    silent = before < 0
    assert (after[silent] <= 1e-8 * before.norm()).all()
    assert (after - before)[silent].abs().max() > 0.1
    torch.testing.assert_close(after[~silent], before[~silent], rtol=0, atol=1e-7)


def test_matrix_free_walk_is_the_dense_one(graph):
    model = gnn(act="elu")
    ways = [ml.walk(model, graph, layer=2, steps=2, method=method) for method in ("dense", "matrix-free")]
    check_walk(model, ways[1], 2)
    torch.testing.assert_close(ways[0].positions, ways[1].positions, rtol=0, atol=1e-3)


def test_only_free_nodes_move_and_the_invisible_part_only_if_asked(graph):
    model = gnn(act="elu")
    for invisible in (False, True):
        way = ml.walk(model, graph, layer=2, steps=3, free_nodes=[3, 4], nodes=[2, 3], invisible=invisible)
        moved = (way.graph().x != graph.x).any(1).nonzero().flatten().tolist()
        assert moved == [3, 4]
        space = match(model, graph, layer=1).space
        unseen = space.invisible(way.graph().x - graph.x).norm()
        assert (unseen > 1) == invisible


def test_a_given_direction_is_followed_and_away_leads_away(graph):
    model, v = gnn(act="elu"), features(4)
    way = ml.walk(model, graph, layer=2, steps=1, step_length=0.01, direction=v)
    tangent = ml.project_to_tangent(model, graph, v, layer=2)
    cosine = torch.nn.functional.cosine_similarity(way.positions[1] - graph.x, tangent, dim=1)
    assert cosine.min() > 0.99
    away = ml.walk(model, graph, layer=2, steps=10, direction="away", invisible=False)
    check_walk(model, away, 2)
    assert (away.table["distance"].diff().dropna() > 0).all()


def test_a_metamer_is_corrected_and_walked_on_from(graph):
    model = gnn(act="elu")
    found = ml.find_metamer(model, graph, layer=2, nodes=[0, 1, 2])
    assert found.relative_error > 1e-6
    way = ml.walk(model, found, steps=3, keep_every=2)
    assert way.kept.tolist() == [0, 2, 3] and way.table["corrections"][0] > 0
    check_walk(model, way, 2, [0, 1, 2])
    assert (way.positions[0] - found.graph.x).norm() < 0.1 * found.graph.x.norm()


def test_same_seed_same_walk_and_nothing_is_changed(graph):
    model = gnn().float().train()
    low = with_features(graph, graph.x.float())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, again, other = (ml.walk(model, low, layer=2, steps=2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.positions, again.positions) and not torch.equal(first.positions, other.positions)
    assert first.positions.dtype == torch.float64 and low.x.dtype == torch.float32 and model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_cannot_be_corrected_is_a_status(graph):
    model = gnn()
    with torch.no_grad():
        model.layers[0].conv.bias.fill_(-1)
    found = ml.find_metamer(model, graph, layer=2, max_steps=1)
    constraint = match(model, graph, layer=2)
    dead = with_features(graph, -100 * torch.ones_like(graph.x) @ constraint.space.basis @ constraint.space.basis.T)
    assert correct(constraint, dead.x, max_rounds=1).error > 1e-8
    way = ml.walk(model, found, steps=3, tolerance=1e-300)
    assert way.status == "off_manifold" and way.kept.tolist() == [0] and len(way.table) == 1


def test_foreign_models(graph):
    model = Foreign().double()
    way = ml.walk(model, graph, layer="second", steps=3, nodes=[4, 5], step_length=0.1)
    check_walk(model, way, "second", [4, 5])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"dtype": torch.float32}, r"tangents need torch.float64"),
        ({"layer": None}, r"layer is missing"),
        ({"direction": "up"}, r"unknown direction 'up'; choose one of \['random', 'away'\]"),
        ({"direction": torch.ones(2, 2)}, r"direction must be a tensor \[34, 40\]"),
        ({"steps": 0}, r"steps must be positive"),
        ({"step_length": -1.0}, r"step_length must be positive"),
        ({"nodes": [50]}, r"nodes must lie in 0..33, got 50"),
        ({"method": "qr"}, r"unknown method 'qr'"),
    ],
)
def test_bad_input(graph, change, message):
    with pytest.raises(ValueError, match=message):
        ml.walk(gnn(), graph, **{"layer": 1, **change})


def test_a_metamer_has_its_own_nodes_and_layer(graph):
    model = gnn()
    found = ml.find_metamer(model, graph, layer=1, nodes=[0])
    with pytest.raises(ValueError, match="a metamer has its own nodes and free_nodes"):
        ml.walk(model, found, nodes=[0])
    with pytest.raises(ValueError, match=r"the metamer matches layer 'layers.0', got layer=2"):
        ml.walk(model, found, layer=2)


def test_a_match_that_fixes_everything_leaves_no_way(graph):
    model = gnn(conv="mlp", act="elu", in_channels=4)
    full = with_features(graph, features(0, width=4))
    with pytest.raises(ValueError, match="no tangent direction is left"):
        ml.walk(model, full, layer=1, steps=1)
    assert WIDTH > 8
