import pytest
import torch
from torch import nn

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.probing.probe import Probe
from tests.helpers.jacobians import Fixed, Foreign, whole_jacobian
from tests.helpers.metamers import WIDTH, features, gnn

NODES = [0, 5, 33]


def jacobian(model, graph, layer, nodes=None):
    """Return the Jacobian [m, N * F] of the matched activations with nothing but autograd."""
    rows = range(34) if nodes is None else nodes
    return torch.cat([whole_jacobian(model, graph, layer, v).flatten(1) for v in rows])


def propagation(graph):
    matrix = torch.eye(34, dtype=torch.float64)
    matrix[graph.edge_index[1], graph.edge_index[0]] = 1
    scale = matrix.sum(1).rsqrt()
    return scale[:, None] * matrix * scale


@pytest.mark.parametrize("hidden", [3, 8])
def test_dimension_of_a_linear_gcn(graph, hidden):
    model = gnn(act="identity", hidden_channels=hidden)
    basis = ml.tangent_basis(model, graph, layer=1)
    rank = torch.linalg.matrix_rank(propagation(graph)).item() * hidden
    assert basis.rank == rank and basis.dimension == 34 * WIDTH - rank
    assert basis.vectors.size(0) == 34 * hidden - rank


@pytest.mark.parametrize("conv", ["gcn", "gat", "sage", "gin", "mlp"])
@pytest.mark.parametrize("nodes", [None, NODES])
def test_basis_is_orthonormal_and_tangent(graph, conv, nodes):
    model = gnn(conv=conv, act="elu", num_layers=2)
    basis = ml.tangent_basis(model, graph, layer=2, nodes=nodes)
    flat = basis.vectors.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(len(flat), dtype=torch.float64))
    J = jacobian(model, graph, 2, nodes)
    assert (J @ basis.features().flatten(1).T).norm() < 1e-10 * J.norm()
    assert basis.rank == torch.linalg.matrix_rank(J).item()


@pytest.mark.parametrize("method", ["dense", "matrix-free"])
@pytest.mark.parametrize("conv, act", [("gcn", "tanh"), ("gcn", "relu"), ("gat", "elu"), ("mlp", "elu")])
def test_projections_agree_with_the_explicit_one(graph, conv, act, method):
    model, v = gnn(conv=conv, act=act), features(3)
    J = jacobian(model, graph, 2, NODES)
    wanted = v - (torch.linalg.pinv(J) @ (J @ v.flatten())).reshape(34, WIDTH)
    options = dict(layer=2, nodes=NODES)
    found = ml.project_to_tangent(model, graph, v, method=method, tolerance=1e-13, **options)
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(ml.tangent_basis(model, graph, **options).project(v), wanted, rtol=1e-8, atol=1e-8)


def test_silent_units_bind_nothing(graph):
    model = gnn(conv="mlp", num_layers=2)
    active = Probe(model, 1)(graph).activation[NODES] > 0
    assert ml.tangent_basis(model, graph, layer=1, nodes=NODES).rank == int(active.sum()) < active.numel()


def test_free_nodes_count_alone(graph):
    basis = ml.tangent_basis(gnn(), graph, layer=1, nodes=[0], free_nodes=[1, 2, 15])
    assert basis.vectors.shape[1:] == (3, 8) and basis.dimension == 3 * WIDTH - basis.rank
    torch.testing.assert_close(basis.features([0]).shape, torch.Size([1, 3, WIDTH]))


def test_foreign_models_and_float32_are_taken(graph):
    model = Foreign()
    basis = ml.tangent_basis(model, with_features(graph, graph.x.float()), layer="first", nodes=NODES)
    assert basis.vectors.dtype == torch.float64 and next(model.parameters()).dtype == torch.float32


class Raw(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(WIDTH, 4)

    def forward(self, x, edge_index):
        return self.lin(x.tanh())


def test_features_are_their_own_coordinates_where_they_enter_otherwise(graph):
    torch.manual_seed(0)
    basis = ml.tangent_basis(Raw().double(), graph, layer="lin", nodes=[2], free_nodes=[2])
    assert basis.vectors.shape == (WIDTH - 4, 1, WIDTH) and basis.constraint.space is None


@pytest.mark.parametrize(
    "change, message",
    [
        ({"dtype": torch.float32}, r"tangents need torch.float64"),
        ({"nodes": [34]}, r"nodes must lie in 0..33, got 34"),
        ({"free_nodes": [-1]}, r"free_nodes must lie in 0..33"),
        ({"layer": 3}, r"this model has layers 1..2"),
        ({"memory": 1000}, r"use project_to_tangent, name fewer free_nodes, or raise memory="),
    ],
)
def test_bad_input(graph, change, message):
    with pytest.raises(ValueError, match=message):
        ml.tangent_basis(gnn(), graph, **{"layer": 2, **change})


def test_directions_must_fit(graph):
    with pytest.raises(ValueError, match=r"direction must be a tensor \[2, 40\], one row for each free node, got"):
        ml.project_to_tangent(gnn(), graph, features(), layer=1, free_nodes=[1, 2])


def test_layers_that_ignore_the_features_are_refused(graph):
    model = Fixed().double()
    with pytest.raises(ValueError, match=r"has no gradient to the features; choose a layer"):
        ml.tangent_basis(model, graph, layer="table")
