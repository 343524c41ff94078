import math

import numpy as np
import pytest
import torch
from torch import nn

import metamerlib as ml
from metamerlib.manifold.volume import log_slope, split_linear
from metamerlib.probing.probe import Probe
from tests.helpers.jacobians import Fixed, Foreign, whole_jacobian
from tests.helpers.metamers import gnn
from tests.manifold.test_whole_graph import spread

NODES = [0, 11, 33]


def log_volume(matrix):
    flat = matrix.flatten(1)
    return -0.5 * torch.linalg.slogdet(flat @ flat.T).logabsdet.item()


@pytest.mark.parametrize("act", ["elu", "tanh", "gelu", "leaky_relu"])
@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("conv", ["gcn", "sage", "gat", "cheb", "sgc"])
def test_total_is_the_determinant_of_the_jacobian(conv, layer, act, graph):
    model = gnn(conv=conv, act=act, num_layers=3)
    table = ml.log_volume_change(model, graph, layer, NODES)
    assert list(table.columns) == ["node", "activation", "active", "linear", "total"]
    for row in table.itertuples():
        assert row.total == pytest.approx(log_volume(whole_jacobian(model, graph, layer, row.node)), rel=1e-6)
        assert row.activation + row.linear == row.total == row.active


def test_ill_conditioned_jacobians_are_not_squared(graph):
    model = gnn(conv="gin", act="leaky_relu", num_layers=3)
    for row in ml.log_volume_change(model, graph, 2, NODES).itertuples():
        strength = torch.linalg.svdvals(whole_jacobian(model, graph, 2, row.node).flatten(1))
        assert row.total == pytest.approx(-strength.log().sum().item(), rel=1e-9)


def test_activation_of_elu_by_its_formula(graph):
    model = gnn(act="elu")
    z = Probe(model, 1)(graph).pre_activation
    table = ml.log_volume_change(model, graph, 1)
    np.testing.assert_allclose(table["activation"], -z.clamp(max=0).sum(1).detach().numpy(), rtol=1e-12)


def test_logits_have_no_activation_term(graph):
    table = ml.log_volume_change(gnn(), graph, 2, NODES)
    assert (table["activation"] == 0).all() and (table["total"] == table["linear"]).all()
    assert np.isfinite(table["total"]).all()


def test_relu_gains_a_dimension_for_each_inactive_unit(graph):
    model = gnn(act="relu")
    table = ml.log_volume_change(model, graph, 1)
    off = (Probe(model, 1)(graph).pre_activation < 0).sum(1).numpy()
    assert np.array_equal(np.isinf(table["total"]), off > 0) and (off > 0).any()
    assert np.array_equal(table["activation"] == math.inf, off > 0) and np.isfinite(table["linear"]).all()
    jump = 8 - ml.metamer_dimension(model, graph, 1)["rank"]
    assert np.array_equal(jump, off)
    for row in table.iloc[NODES].itertuples():
        rows = whole_jacobian(model, graph, 1, row.node)
        assert row.active == pytest.approx(log_volume(rows[rows.flatten(1).any(1)]), rel=1e-9)


def test_dependent_rows_make_the_linear_term_infinite(graph):
    model = gnn(act="elu")
    with torch.no_grad():
        model.layers[0].conv.lin.weight[7] = model.layers[0].conv.lin.weight[6]
    table = ml.log_volume_change(model, graph, 1, NODES)
    assert np.isinf(table["linear"]).all() and np.isinf(table["total"]).all() and np.isfinite(table["activation"]).all()


@pytest.mark.parametrize("residual", ["skip", "initial"])
def test_after_a_residual_sum_only_the_total_is_known(residual, graph):
    model = gnn(residual=residual, act="relu", num_layers=4)
    table = ml.log_volume_change(model, graph, 3, NODES)
    assert table[["activation", "linear"]].isna().all(axis=None)
    for row in table.itertuples():
        assert row.total == pytest.approx(log_volume(whole_jacobian(model, graph, 3, row.node)), rel=1e-6)


def test_foreign_models_without_and_with_a_pre_activation(graph):
    torch.manual_seed(0)
    model = Foreign()
    table = ml.log_volume_change(model, graph, "second", NODES)
    assert table[["activation", "linear"]].isna().all(axis=None)
    for row in table.itertuples():
        assert row.total == pytest.approx(log_volume(whole_jacobian(model, graph, "second", row.node)), rel=1e-6)
    both = nn.ModuleDict({"lin": nn.Linear(40, 6), "act": nn.ReLU()})
    table = ml.log_volume_change(both, graph, "act", NODES, forward=lambda m, data: m["act"](m["lin"](data.x)))
    wanted = -0.5 * torch.linalg.slogdet(both["lin"].weight.double() @ both["lin"].weight.double().T).logabsdet.item()
    np.testing.assert_allclose(table["linear"], wanted)


@pytest.mark.parametrize("conv", ["gcn", "sgc"])
def test_linear_term_of_a_first_layer_splits(conv, graph):
    model = gnn(conv=conv, act="elu")
    parts = split_linear(model, graph)
    np.testing.assert_allclose(parts["weights"] + parts["aggregation"], ml.log_volume_change(model, graph)["linear"])
    weight = model.layers[0].conv.lin.weight
    gram = -0.5 * torch.linalg.slogdet(weight @ weight.T).logabsdet.item()
    np.testing.assert_allclose(parts["weights"], gram)
    rows = torch.linalg.matrix_power(spread(graph), 2 if conv == "sgc" else 1).norm(dim=1)
    np.testing.assert_allclose(parts["aggregation"], -8 * rows.log().numpy(), atol=1e-12)


@pytest.mark.parametrize("model", [gnn(conv="gat"), gnn(norm="layer")])
def test_other_layers_do_not_split(model, graph):
    with pytest.raises(ValueError, match="only gcn and sgc without a norm split"):
        split_linear(model, graph)


def test_slopes_far_out():
    z = torch.tensor([-800.0, -40.0, 0.0, 40.0], dtype=torch.float64)
    assert log_slope(nn.ELU(), z).tolist() == [-800, -40, 0, 0]
    found = log_slope(nn.Tanh(), z)
    torch.testing.assert_close(found[[1, 3]], torch.full((2,), 2 * math.log(2) - 80.0, dtype=torch.float64))
    assert found[0] == 2 * math.log(2) - 1600 and found[2].abs() < 1e-15
    assert log_slope(nn.ReLU(), z).tolist() == [-math.inf, -math.inf, -math.inf, 0]
    torch.testing.assert_close(log_slope(nn.ELU(alpha=2.0), z[1:2]), torch.tensor([math.log(2.0) - 40]).double())


BAD = {
    "float32": (gnn, {"dtype": torch.float32}, r"dtype is torch.float32"),
    "too large": (gnn, {"nodes": [34]}, r"nodes must lie in 0\.\.33, got 34\.\.34"),
    "no gradient": (Fixed, {"layer": "table"}, r"layer 'table' has no gradient to the features"),
    "memory": (gnn, {"memory": 1000}, r"node 0 alone takes .* raise memory="),
}


@pytest.mark.parametrize("build, options, text", BAD.values(), ids=BAD)
def test_bad_input(build, options, text, graph):
    with pytest.raises(ValueError, match=text):
        ml.log_volume_change(build(), graph, **{"layer": 1, "nodes": [0], **options})
