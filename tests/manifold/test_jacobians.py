from dataclasses import replace

import pytest
import torch
from torch_geometric.nn import GCNConv

from metamerlib.manifold.jacobians import MEMORY, prepare
from metamerlib.models.convolutions import CONVOLUTIONS
from tests.helpers.jacobians import Everyone, Foreign, Hops, Learned, whole_jacobian
from tests.helpers.metamers import WIDTH, features, gnn

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
OPTIONS = {"forward": None, "dtype": None, "memory": MEMORY, "device": None}


def prepared(model, graph, layer, nodes=None, **changes):
    return prepare(model, graph, layer, nodes, **{**OPTIONS, **changes})


def in_features(local, matrix, basis):
    """Map a Jacobian in coordinates back to the features [d_k, n_v, F]."""
    blocks = matrix.reshape(matrix.size(0), -1, local.graph.x.size(1))
    return blocks if basis is None else blocks @ basis.T


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_jacobians_are_those_of_the_whole_graph(conv, layer, graph):
    model = gnn(conv=conv, num_layers=3, act="elu")
    local, nodes = prepared(model, graph, layer, [0, 5, 33])
    assert local.margin == 0 and local.graph.x.size(1) <= WIDTH
    # Coordinates are the features times the basis, so that the basis is known from both.
    basis = None
    if local.graph.x.size(1) < WIDTH:
        basis = torch.linalg.lstsq(graph.x, local.graph.x, driver="gelsd").solution
        torch.testing.assert_close(graph.x @ basis, local.graph.x)
    found = {jacobian.node: jacobian for jacobian in local.jacobians(nodes)}
    assert set(found) == {0, 5, 33}
    for node, jacobian in found.items():
        wanted = whole_jacobian(model, graph, layer, node)
        assert jacobian.inputs == jacobian.field.numel() * WIDTH
        if basis is None:
            torch.testing.assert_close(in_features(local, jacobian.matrix, None), wanted[:, jacobian.field])
        else:
            flat = wanted[:, jacobian.field].flatten(1)
            torch.testing.assert_close(jacobian.matrix @ jacobian.matrix.T, flat @ flat.T)


class OwnGCN(GCNConv):
    """The same convolution under another name, so that nothing is known about it."""


@pytest.mark.parametrize("layer", ["layers.0", "layers.1"])
def test_unknown_convolutions_get_wider_subgraphs(layer, graph):
    model = gnn(num_layers=3)
    for block in model.layers:
        block.conv.__class__ = OwnGCN
    local, nodes = prepared(model, graph, layer, [0, 16])
    assert local.margin == 1
    for jacobian in local.jacobians(nodes):
        flat = whole_jacobian(model, graph, layer, jacobian.node)[:, jacobian.field].flatten(1)
        torch.testing.assert_close(jacobian.matrix @ jacobian.matrix.T, flat @ flat.T)


@pytest.mark.parametrize("kind, layer, margin", [(Foreign, "second", 0), (Hops, "spread", 0), (Everyone, "", None)])
def test_foreign_models(kind, layer, margin, graph):
    torch.manual_seed(0)
    model = kind()
    local, nodes = prepared(model, graph, layer or model, [0, 16])
    assert local.margin == margin
    for jacobian in local.jacobians(nodes):
        flat = whole_jacobian(model, graph, layer or model, jacobian.node)[:, jacobian.field].flatten(1)
        torch.testing.assert_close(jacobian.matrix @ jacobian.matrix.T, flat @ flat.T)


def test_learned_weights_are_differentiated(graph):
    torch.manual_seed(0)
    model = Learned()
    local, nodes = prepared(model, graph, "conv", [3])
    (jacobian,) = local.jacobians(nodes)
    flat = whole_jacobian(model, graph, "conv", 3)[:, jacobian.field].flatten(1)
    torch.testing.assert_close(jacobian.matrix @ jacobian.matrix.T, flat @ flat.T)


def test_a_forward_that_insists_on_the_whole_graph(graph):
    def forward(model, data):
        assert data.x.size(0) == 34
        return model(data.x, data.edge_index)

    model = gnn()
    local, nodes = prepared(model, graph, 1, [0, 16], forward=forward)
    assert local.margin is None
    for jacobian in local.jacobians(nodes):
        flat = whole_jacobian(model, graph, 1, jacobian.node)[:, jacobian.field].flatten(1)
        torch.testing.assert_close(jacobian.matrix @ jacobian.matrix.T, flat @ flat.T)


def test_a_chunk_that_differs_falls_back_to_the_whole_graph(graph):
    model = gnn(act="elu")
    local, nodes = prepared(model, graph, 1, [0, 16])
    local.probe.model.layers[0].conv.propagate.values.mul_(1.5)
    for jacobian in local.jacobians(nodes):
        flat = whole_jacobian(model, graph, 1, jacobian.node)[:, jacobian.field].flatten(1)
        torch.testing.assert_close(jacobian.matrix @ jacobian.matrix.T, flat @ flat.T)


def test_a_field_found_too_small_is_never_silent(graph):
    local, nodes = prepared(gnn(num_layers=3), graph, 2, [0])
    narrow = replace(local, probe=local.plain, margin=None, reach=replace(local.reach, hops=1))
    with pytest.raises(RuntimeError, match="node 0 depends on nodes outside of the receptive field"):
        list(narrow.jacobians(nodes))


def test_pre_activation_is_differentiated_where_it_is_in_reach(graph):
    for act in ("relu", "tanh"):
        local, nodes = prepared(gnn(act=act), graph, 1, [4], pre_activation=True)
        (jacobian,) = local.jacobians(nodes)
        (plain,) = prepared(gnn(act=act), graph, 1, [4])[0].jacobians(nodes)
        z = jacobian.pre_activation
        slope = (z > 0).double() if act == "relu" else 1 - z.tanh().square()
        torch.testing.assert_close(plain.matrix, slope[:, None] * jacobian.matrix)
    for model, layer in ((gnn(residual="skip", num_layers=3), 2), (Foreign(), "second")):
        assert prepared(model, graph, layer, pre_activation=True)[0].derivative is None


def test_attributes_of_nodes_and_edges_travel_with_them(graph):
    graph.edge_attr = torch.rand(graph.num_edges, 3, generator=torch.Generator().manual_seed(0))
    graph.offset = features(3, 34, 8)

    def forward(model, data):
        return model(data.x, data.edge_index, data.edge_attr.sum(1).double()) + data.offset[:, :3]

    local, _ = prepared(gnn(), graph, 2, forward=forward)
    assert local.margin == 0
    nodes = torch.tensor([1, 1, 20])
    union, centres, rows = local.union(nodes, local.reach.fields(nodes))
    members = local.reach.fields(nodes)
    assert torch.equal(union.offset, graph.offset[members.node]) and torch.equal(rows, torch.arange(rows.numel()))
    assert torch.equal(members.node[centres], nodes) and union.edge_attr.size(0) == union.edge_index.size(1)
    ends = members.node[union.edge_index]
    keys = {(int(s), int(t)): row for s, t, row in zip(*graph.edge_index, graph.edge_attr, strict=True)}
    for (s, t), row in zip(ends.T.tolist(), union.edge_attr, strict=True):
        assert torch.equal(keys[s, t], row.double())
    assert torch.equal(members.owner[union.edge_index[0]], members.owner[union.edge_index[1]])


@pytest.mark.parametrize("device", DEVICES)
def test_device(device, graph):
    local, nodes = prepared(gnn(), graph, 1, [0], device=device)
    (jacobian,) = local.jacobians(nodes)
    assert jacobian.matrix.device.type == device
