import numpy as np
import pytest
import torch
from torch import nn

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.manifold.dimension import gap_after, rank_of, singular_values
from metamerlib.models.convolutions import CONVOLUTIONS
from metamerlib.probing.probe import Probe
from tests.helpers.jacobians import Everyone, Fixed, Foreign, Hops, Learned, Neighbours, distances, whole_jacobian
from tests.helpers.metamers import WIDTH, features, gnn

NODES = [0, 11, 33]


def check_table(table, model, graph, layer, fields, forward=None):
    """Compare a table with the Jacobians of the whole graph; fields: node -> list of nodes."""
    for row in table.itertuples():
        matrix = whole_jacobian(model, graph, layer, row.node, forward)
        field = sorted(fields(row.node))
        outside = matrix.clone()
        outside[:, field] = 0
        assert not outside.any()
        inputs = len(field) * graph.x.size(1)
        rank = int(torch.linalg.matrix_rank(matrix[:, field].flatten(1))) if inputs else 0
        assert (row.receptive_field, row.inputs, row.rank) == (len(field), inputs, rank)
        assert row.dimension == inputs - rank


def ball(graph, hops):
    near = distances(graph) <= hops
    return lambda node: near[node].nonzero().flatten().tolist()


def reached(conv, layer):
    return layer * {"mlp": 0, "sgc": 2, "appnp": 10}.get(conv, 1)


@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_every_convolution_against_the_whole_graph(conv, layer, graph):
    model = gnn(conv=conv, num_layers=3, act="relu" if layer < 3 else "elu")
    table = ml.metamer_dimension(model, graph, layer, NODES)
    assert list(table.columns) == ["node", "receptive_field", "inputs", "rank", "dimension", "gap"]
    assert list(table["node"]) == NODES
    check_table(table, model, graph, layer, ball(graph, reached(conv, layer)))


@pytest.mark.parametrize("residual", ["skip", "initial", "jumping"])
@pytest.mark.parametrize("norm", ["batch", "layer", "pair"])
def test_residuals_and_norms_against_the_whole_graph(residual, norm, graph):
    model = gnn(residual=residual, norm=norm, num_layers=3, act="gelu")
    fields = ball(graph, 99 if norm == "pair" else 2)
    check_table(ml.metamer_dimension(model, graph, 2, NODES), model, graph, 2, fields)


@pytest.mark.parametrize(
    ("kind", "layer", "hops"), [(Foreign, "second", 2), (Hops, "spread", 3), (Everyone, "", 99), (Learned, "conv", 2)]
)
def test_foreign_models_against_the_whole_graph(kind, layer, hops, graph):
    torch.manual_seed(0)
    model = kind()
    layer = layer or model
    state = {name: value.clone() for name, value in model.state_dict().items()}
    table = ml.metamer_dimension(model, graph, layer, NODES)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    assert next(model.parameters()).dtype == torch.float32 and model.training
    check_table(table, model, graph, layer, ball(graph, hops))


def test_a_node_that_does_not_see_itself(graph):
    model = Neighbours()
    near = distances(graph) == 1
    table = ml.metamer_dimension(model, graph, "conv", NODES)
    check_table(table, model, graph, "conv", lambda v: near[v].nonzero().flatten().tolist())


def test_edge_weights_and_another_forward(graph):
    graph.edge_weight = torch.rand(graph.num_edges, generator=torch.Generator().manual_seed(1)).double()
    torch.manual_seed(0)
    model = Foreign()
    for forward in (None, lambda model, data: model(data.x, data.edge_index, data.edge_weight)):
        table = ml.metamer_dimension(model, graph, "second", NODES, forward=forward)
        check_table(table, model, graph, "second", ball(graph, 2), forward)


def test_one_elu_layer(graph):
    model = gnn(act="elu")
    table = ml.metamer_dimension(model, graph, 1)
    assert (table["rank"] == 8).all() and (table["dimension"] == table["inputs"] - 8).all()
    with torch.no_grad():
        model.layers[0].conv.lin.weight[5:] = model.layers[0].conv.lin.weight[:3]
    assert (ml.metamer_dimension(model, graph, 1)["rank"] == 5).all()


def test_one_relu_layer_counts_active_units(graph):
    model = gnn(act="relu")
    with torch.no_grad():
        model.layers[0].conv.lin.weight[7] = 2 * model.layers[0].conv.lin.weight[6]
        weight, active = model.layers[0].conv.lin.weight, Probe(model, 1)(graph).activation > 0
    table = ml.metamer_dimension(model, graph, 1)
    ranks = [int(torch.linalg.matrix_rank(weight[row])) for row in active]
    assert list(table["rank"]) == ranks and len(set(ranks)) > 2
    assert (table["receptive_field"] == torch.bincount(graph.edge_index[0]).numpy() + 1).all()


def test_identity_sees_everything():
    graph = with_features(ml.load_graph("karate"), features())
    table = ml.metamer_dimension(nn.Sequential(nn.Identity()), graph, "0", forward=lambda model, data: model(data.x))
    assert (table["receptive_field"] == 1).all() and (table["rank"] == WIDTH).all()
    assert (table["dimension"] == 0).all() and np.isinf(table["gap"]).all()


@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_isolated_node(conv, graph):
    graph.x = torch.cat([graph.x, features(5, 1)])
    model = gnn(conv=conv, act="elu")
    (row,) = ml.metamer_dimension(model, graph, 2, nodes=34).itertuples()
    rank = int(torch.linalg.matrix_rank(whole_jacobian(model, graph, 2, 34).flatten(1)))
    assert (row.node, row.receptive_field, row.inputs, row.rank) == (34, 1, WIDTH, rank)


def test_deep_layers_have_full_row_rank(graph):
    table = ml.metamer_dimension(gnn(act="tanh", num_layers=4, hidden_channels=16), graph, 3)
    assert (table["rank"] == 16).all()


def test_gap_is_large_where_the_rank_is_sure(graph):
    table = ml.metamer_dimension(gnn(act="relu"), graph, 1)
    assert np.isinf(table["gap"]).all()
    model = gnn(act="identity", num_layers=3)
    with torch.no_grad():
        model.layers[0].conv.lin.weight[7] = model.layers[0].conv.lin.weight[6]
    gaps = ml.metamer_dimension(model, graph, 2)
    assert (gaps["rank"] == 7).all() and (gaps["gap"] > 1e9).all()


def test_chunks_and_order_do_not_matter(graph):
    model = gnn(num_layers=3)
    whole = ml.metamer_dimension(model, graph, 2)
    small = ml.metamer_dimension(model, graph, 2, memory=8 * 34 * 8 * 24 + 1)
    mask = torch.zeros(34, dtype=torch.bool)
    mask[[3, 30]] = True
    assert whole.drop(columns="gap").equals(small.drop(columns="gap"))
    assert list(ml.metamer_dimension(model, graph, 2, [30, 3])["node"]) == [30, 3]
    assert list(ml.metamer_dimension(model, graph, 2, mask)["rank"]) == list(whole["rank"][[3, 30]])


def test_single_precision_models_are_converted():
    graph = with_features(ml.load_graph("karate"), features().float())
    table = ml.metamer_dimension(gnn(act="elu").float(), graph, 1)
    assert (table["rank"] == 8).all() and graph.x.dtype == torch.float32
    assert ml.metamer_dimension(gnn(act="elu").float(), graph, 1, dtype=torch.float64).equals(table)


def test_tolerance_is_relative(graph):
    assert (ml.metamer_dimension(gnn(act="elu"), graph, 1, tolerance=0.999)["rank"] == 1).all()


def test_singular_values_by_hand():
    matrix = torch.tensor([[3.0, 0, 0, 0], [0, 0, 0, 0], [0, 4, 0, 0]], dtype=torch.float64)
    found = singular_values(matrix)
    torch.testing.assert_close(found, torch.tensor([4.0, 3, 0], dtype=torch.float64))
    assert rank_of(found, (3, 4)) == 2 and gap_after(found, 2) == float("inf")
    assert gap_after(torch.tensor([4.0, 2, 1e-8]), 2) == pytest.approx(2e8)
    assert singular_values(torch.zeros(3, 5)).tolist() == [0, 0, 0] and rank_of(torch.zeros(3), (3, 5)) == 0
    wide = features(0, 5, 9000) * torch.tensor([1, 1e-3, 1e-6, 1e-9, 1e-12]).double()[:, None]
    torch.testing.assert_close(singular_values(wide), torch.linalg.svdvals(wide), rtol=1e-3, atol=1e-14)
    tall = features(0, 9, 4)
    torch.testing.assert_close(singular_values(tall), torch.linalg.svdvals(tall))
    torch.testing.assert_close(singular_values(tall.T), torch.linalg.svdvals(tall))


BAD = {
    "float32": (gnn, {"dtype": torch.float32}, ValueError, r"dtype is torch.float32; .* need torch.float64"),
    "too large": (gnn, {"nodes": [34]}, ValueError, r"nodes must lie in 0\.\.33, got 34\.\.34"),
    "negative": (gnn, {"nodes": -1}, ValueError, r"nodes must lie in 0\.\.33, got -1\.\.-1"),
    "layer": (gnn, {"layer": 5}, ValueError, r"layer 5 does not exist; this model has layers 1\.\.2"),
    "no gradient": (Fixed, {"layer": "table"}, ValueError, r"layer 'table' has no gradient to the features"),
    "memory": (gnn, {"memory": 1000}, ValueError, r"the Jacobian \[8, 17, 8\] of node 0 alone takes .* raise memory="),
    "memory 0": (gnn, {"memory": 0}, ValueError, r"memory must be positive"),
    "tolerance": (gnn, {"tolerance": -1.0}, ValueError, r"tolerance must be positive"),
    "pooled": (lambda: gnn(pool="sum"), {"layer": "head"}, ValueError, r"layer 'head' has 1 rows, not one for each"),
}


@pytest.mark.parametrize("build, options, error, text", BAD.values(), ids=BAD)
def test_bad_input(build, options, error, text, graph):
    with pytest.raises(error, match=text):
        ml.metamer_dimension(build(), graph, **{"layer": 1, "nodes": [0], **options})


def test_bad_weights(graph):
    model = gnn()
    with torch.no_grad():
        model.layers[0].conv.bias[0] = torch.nan
    with pytest.raises(ValueError, match="outputs NaN or infinite entries"):
        ml.metamer_dimension(model, graph, 1)
