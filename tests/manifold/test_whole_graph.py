import numpy as np
import pytest
import torch

import metamerlib as ml
from metamerlib.manifold.whole_graph import whole_graph_dimension
from metamerlib.probing.probe import Probe
from tests.helpers.jacobians import Everyone, whole_jacobian
from tests.helpers.metamers import WIDTH, gnn

ADVERSE = {"num_layers": 1, "out_channels": 6}


def brute_rank(model, graph, layer):
    rows = [whole_jacobian(model, graph, layer, node).flatten(1) for node in range(34)]
    return int(torch.linalg.matrix_rank(torch.cat(rows)))


def spread(graph):
    """Return the normalised adjacency with self-loops [N, N]."""
    matrix = torch.eye(34, dtype=torch.float64)
    matrix[graph.edge_index[0], graph.edge_index[1]] = 1
    scale = matrix.sum(1).rsqrt()
    return scale[:, None] * matrix * scale


@pytest.mark.parametrize("conv", ["gcn", "sgc"])
@pytest.mark.parametrize("deficient", [False, True])
def test_linear_layer_is_the_product_of_ranks(conv, deficient, graph):
    model = gnn(conv=conv, **ADVERSE)
    with torch.no_grad():
        if deficient:
            model.layers[0].conv.lin.weight[4:] = model.layers[0].conv.lin.weight[:2]
    wanted = int(torch.linalg.matrix_rank(spread(graph))) * (4 if deficient else 6)
    found = whole_graph_dimension(model, graph)
    assert found["inputs"] == 34 * WIDTH and found["rank"] == wanted == brute_rank(model, graph, 1)
    assert found["dimension"] == 34 * WIDTH - wanted and found["gap"] > 1e6


@pytest.mark.parametrize("act", ["relu", "elu", "gelu"])
@pytest.mark.parametrize("deficient", [False, True])
def test_one_layer_with_an_activation(act, deficient, graph):
    model = gnn(act=act)
    with torch.no_grad():
        if deficient:
            model.layers[0].conv.lin.weight[7] = model.layers[0].conv.lin.weight[2]
    assert whole_graph_dimension(model, graph)["rank"] == brute_rank(model, graph, 1)


def test_relu_counts_the_rows_of_each_unit(graph):
    model = gnn()
    active = Probe(model, 1)(graph).activation > 0
    wanted = sum(int(torch.linalg.matrix_rank(spread(graph)[rows])) for rows in active.T)
    found = whole_graph_dimension(model, graph)
    assert found["rank"] == wanted and np.isnan(found["gap"])


@pytest.mark.parametrize("model, layer", [(gnn(act="tanh"), 2), (gnn(conv="gat"), 1), (Everyone(), None)])
def test_other_layers_by_their_whole_jacobian(model, layer, graph):
    layer = layer or model
    assert whole_graph_dimension(model, graph, layer)["rank"] == brute_rank(model, graph, layer)


def test_factors_of_a_graph_of_several_components():
    graph = ml.load_graph("bow-sbm")
    model = ml.GNN(conv="gcn", in_channels=600, hidden_channels=8, out_channels=4, num_layers=1)
    found = whole_graph_dimension(model, graph)
    full = torch.eye(400, dtype=torch.float64)
    full[graph.edge_index[0], graph.edge_index[1]] = 1
    scale = full.sum(1).rsqrt()
    assert found["rank"] == 4 * int(torch.linalg.matrix_rank(scale[:, None] * full * scale))


def test_memory_is_checked_before_computing(graph):
    with pytest.raises(ValueError, match=r"the Jacobian of the whole graph takes .* raise memory="):
        whole_graph_dimension(gnn(), graph, 2, memory=1000)
    with pytest.raises(ValueError, match=r"the matrix P takes"):
        whole_graph_dimension(gnn(), graph, 1, memory=1000)
    with pytest.raises(ValueError, match=r"dtype is torch.float32"):
        whole_graph_dimension(gnn(), graph, 1, dtype=torch.float32)
