import math

import numpy as np
import pytest
import torch

import metamerlib as ml
from metamerlib.manifold.monte_carlo import _log_ball, sample_log_volume
from tests.helpers.jacobians import Everyone, whole_jacobian
from tests.helpers.metamers import gnn

SMALL = {"hidden_channels": 2, "num_layers": 3}


@pytest.mark.parametrize("conv, act, layer", [("gcn", "elu", 1), ("gcn", "tanh", 2), ("sage", "gelu", 1)])
def test_samples_agree_with_the_formula(conv, act, layer, graph):
    model = gnn(conv=conv, act=act, **SMALL)
    for node in (0, 11):
        found = sample_log_volume(model, graph, node, layer, noise=1e-3, nearness=0.2, num_samples=20_000)
        (exact,) = ml.log_volume_change(model, graph, layer, node)["total"]
        assert found["formula"] == pytest.approx(exact, rel=1e-9) and found["units"] == 2
        # Three standard errors, and the curvature of a Gaussian at nearness 0.2 (below 2 %).
        assert abs(found["sampled"] - exact) <= 1.5 * (found["high"] - found["sampled"]) + 0.02
        assert found["hits"] > 30


def test_wide_nearness_and_noise_break_the_formula(graph):
    model = gnn(act="tanh", **SMALL)
    far = sample_log_volume(model, graph, 0, 1, noise=3.0, nearness=0.3, num_samples=20_000)
    assert abs(far["sampled"] - far["formula"]) > 0.3


def test_inactive_units_bind_nothing(graph):
    model = gnn(act="relu", hidden_channels=3)
    with torch.no_grad():
        model.layers[0].conv.bias.copy_(torch.tensor([10.0, -10, 10]))
    found = sample_log_volume(model, graph, 5, 1, noise=1e-3, num_samples=20_000)
    (active,) = ml.log_volume_change(model, graph, 1, 5)["active"]
    assert found["units"] == 2 and found["formula"] == pytest.approx(active)
    assert abs(found["sampled"] - active) <= 1.5 * (found["high"] - found["sampled"]) + 0.05


@pytest.mark.parametrize("act", ["elu", "relu"])
def test_dimension_at_metamers_that_a_search_found(act, graph):
    model = gnn(act=act, num_layers=3)
    metamer = ml.find_metamer(model, graph, layer=2, rtol=1e-4, max_steps=500)
    assert metamer.loss < 1e-2
    before, after = (ml.metamer_dimension(model, g, 2) for g in (graph, metamer.graph))
    for row in after.iloc[[0, 11, 33]].itertuples():
        matrix = whole_jacobian(model, metamer.graph, 2, row.node).flatten(1)
        strength = torch.linalg.svdvals(matrix)
        near_zero = row.inputs - int((strength > 1e-10 * strength[0]).sum())
        assert row.dimension == near_zero
    same = (after["dimension"] == before["dimension"]).mean()
    assert same == 1 if act == "elu" else same > 0.5  # ReLUs near zero may switch on or off


def test_same_seed_same_samples(graph):
    model = gnn(act="elu", **SMALL)
    one, two, other = (sample_log_volume(model, graph, 3, num_samples=5000, seed=s)["hits"] for s in (0, 0, 1))
    assert one == two != other


def test_volume_of_balls():
    wanted = [2, math.pi, 4 / 3 * math.pi, math.pi**2 / 2]
    np.testing.assert_allclose([math.exp(_log_ball(m)) for m in (1, 2, 3, 4)], wanted)


def test_bad_input(graph):
    with pytest.raises(ValueError, match="noise must be positive"):
        sample_log_volume(gnn(), graph, 0, noise=0.0)
    with pytest.raises(ValueError, match=r"nodes must lie in 0\.\.33"):
        sample_log_volume(gnn(), graph, 40)
    model = Everyone()
    with pytest.raises(ValueError, match="couples all nodes"):
        sample_log_volume(model, graph, 0, model)
    dead = gnn()
    with torch.no_grad():
        dead.layers[0].conv.bias.fill_(-100.0)
    with pytest.raises(ValueError, match="no unit of node 0 answers"):
        sample_log_volume(dead, graph, 0)
