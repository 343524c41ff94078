import itertools

import pytest
import torch
from torch import nn
from torch_geometric.nn import APPNP, ChebConv, GATConv, GATv2Conv, GCNConv, GINConv, SAGEConv, SGConv

import metamerlib as ml
from metamerlib.models.convolutions import CONVOLUTIONS
from metamerlib.models.gnn import ACTIVATIONS, NORMS, POOLS, RESIDUALS, Dropout, build_model

PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])


def gnn(**changes):
    torch.manual_seed(0)
    sizes = dict(conv="gcn", in_channels=5, hidden_channels=8, out_channels=3, num_layers=3)
    return ml.GNN(**{**sizes, **changes}).double().eval()


@pytest.fixture
def graph():
    graph = ml.load_graph("karate").clone()
    graph.x = torch.randn(34, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return graph


def hidden_states(model, *inputs):
    states = []
    handles = [layer.register_forward_hook(lambda *call: states.append(call[2])) for layer in model.layers]
    output = model(*inputs)
    for handle in handles:
        handle.remove()
    return states, output


def mlp(i, o):
    return nn.Sequential(nn.Linear(i, 8), nn.Tanh(), nn.Linear(8, o))


PLAIN = {
    "gcn": GCNConv,
    "gat": GATConv,
    "gatv2": GATv2Conv,
    "sage": SAGEConv,
    "gin": lambda i, o: GINConv(mlp(i, o)),
    "cheb": lambda i, o: ChebConv(i, o, K=2),
    "sgc": lambda i, o: SGConv(i, o, K=2),
    "appnp": nn.Linear,
    "mlp": nn.Linear,
}


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_a_model_equals_a_plain_stack_of_its_convolution(conv, num_layers, graph):
    model = gnn(conv=conv, num_layers=num_layers, act="tanh")
    states, _ = hidden_states(model, graph.x, graph.edge_index)
    h, widths = graph.x, [5] + [8] * (num_layers - 1) + [3]
    for k, (i, o) in enumerate(itertools.pairwise(widths)):
        plain, ours = PLAIN[conv](i, o).double(), model.layers[k].conv
        plain.load_state_dict(dict(zip(plain.state_dict(), ours.state_dict().values(), strict=True)))
        h = plain(h) if isinstance(plain, nn.Linear) else plain(h, graph.edge_index)
        if conv == "appnp":
            h = APPNP(10, 0.1)(h, graph.edge_index)
        h = h.tanh() if k < num_layers - 1 else h
        torch.testing.assert_close(states[k], h)


@pytest.mark.parametrize("act", ["relu", "tanh"])
def test_gcn_layers_equal_the_formula(act, graph):
    model = gnn(act=act, num_layers=2)
    a = torch.eye(3, dtype=torch.float64)
    a[PATH[0], PATH[1]] = 1
    d = a.sum(1).rsqrt()
    a_hat = d[:, None] * a * d
    x = graph.x[:3]
    (h, logits), output = hidden_states(model, x, PATH)
    first, second = (layer.conv for layer in model.layers)
    expected = getattr(torch, act)(a_hat @ x @ first.lin.weight.T + first.bias)
    torch.testing.assert_close(h, expected)
    torch.testing.assert_close(logits, a_hat @ expected @ second.lin.weight.T + second.bias)
    assert output is logits


@pytest.mark.parametrize("conv", CONVOLUTIONS)
@pytest.mark.parametrize("num_layers", [1, 3])
def test_every_convolution_has_the_widths_asked_for(conv, num_layers, graph):
    states, output = hidden_states(gnn(conv=conv, num_layers=num_layers), graph.x, graph.edge_index)
    assert [h.size(1) for h in states] == [8] * (num_layers - 1) + [3]
    assert output.shape == (34, 3)


@pytest.mark.parametrize("conv", CONVOLUTIONS)
@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("norm", NORMS)
def test_permuting_the_nodes_permutes_the_output(conv, residual, norm, graph):
    model = gnn(conv=conv, residual=residual, norm=norm)
    order = torch.randperm(34, generator=torch.Generator().manual_seed(1))
    place = order.argsort()
    torch.testing.assert_close(model(graph.x[order], place[graph.edge_index]), model(graph.x, graph.edge_index)[order])


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_activation_comes_after_the_norm(act, graph):
    layer = gnn(act=act, norm="layer").layers[0]
    z = layer.norm(layer.conv(graph.x, graph.edge_index))
    torch.testing.assert_close(layer(graph.x, graph.edge_index, None, None, None), ACTIVATIONS[act]()(z))
    torch.testing.assert_close(z.mean(1), torch.zeros(34, dtype=torch.float64))


def test_skip_adds_the_input_where_the_widths_agree(graph):
    model, plain = gnn(residual="skip"), gnn()
    (h1, h2, logits), _ = hidden_states(model, graph.x, graph.edge_index)
    torch.testing.assert_close(h1, plain.layers[0](graph.x, graph.edge_index, None, None, None))
    torch.testing.assert_close(h2, plain.layers[1](h1, graph.edge_index, None, None, None) + h1)
    torch.testing.assert_close(logits, plain.layers[2](h2, graph.edge_index, None, None, None))


def test_initial_keeps_a_tenth_of_the_first_layer(graph):
    model, plain = gnn(residual="initial"), gnn()
    (h1, h2, _), _ = hidden_states(model, graph.x, graph.edge_index)
    torch.testing.assert_close(h2, 0.9 * plain.layers[1](h1, graph.edge_index, None, None, None) + 0.1 * h1)


def test_jumping_concatenates_all_layers(graph):
    model = gnn(residual="jumping")
    states, output = hidden_states(model, graph.x, graph.edge_index)
    assert [h.size(1) for h in states] == [8, 8, 8] and model.head.in_features == 24
    torch.testing.assert_close(output, model.head(torch.cat(states, 1)))


@pytest.mark.parametrize("pool", POOLS)
def test_pooling_sums_or_averages_each_graph(pool, graph):
    model = gnn(pool=pool)
    batch = (torch.arange(34) >= 20).long()
    states, output = hidden_states(model, graph.x, graph.edge_index, None, batch)
    parts = torch.stack([getattr(part, pool)(0) for part in (states[-1][:20], states[-1][20:])])
    torch.testing.assert_close(output, model.head(parts))
    assert model(graph.x, graph.edge_index).shape == (1, 3)


@pytest.mark.parametrize("norm", NORMS)
def test_graphs_of_a_batch_do_not_touch_each_other(norm, graph):
    model = gnn(norm=norm, residual="jumping")
    alone = model(graph.x, graph.edge_index)
    twice = torch.cat([graph.edge_index, graph.edge_index + 34], 1)
    batch = torch.arange(2).repeat_interleave(34)
    together = model(torch.cat([graph.x, 3 * graph.x + 1]), twice, None, batch)
    torch.testing.assert_close(together[:34], alone)


@pytest.mark.parametrize("conv", [name for name, c in CONVOLUTIONS.items() if c.reads_weights])
def test_edge_weights_of_zero_are_missing_edges(conv, graph):
    model = gnn(conv=conv)
    keep = torch.ones(graph.num_edges, dtype=torch.bool)
    keep[(graph.edge_index == 5).any(0)] = False
    torch.testing.assert_close(
        model(graph.x, graph.edge_index, keep.double()), model(graph.x, graph.edge_index[:, keep])
    )


@pytest.mark.parametrize("conv", [name for name, c in CONVOLUTIONS.items() if not c.reads_weights])
def test_edge_weights_are_refused_where_they_would_be_ignored(conv, graph):
    with pytest.raises(ValueError, match=rf"{conv} has no edge weights; use one of \['gcn', 'cheb', 'sgc', 'appnp'\]"):
        gnn(conv=conv)(graph.x, graph.edge_index, torch.ones(graph.num_edges, dtype=torch.float64))


@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_isolated_nodes_and_graphs_without_edges(conv):
    model = gnn(conv=conv, norm="layer")
    x = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    none = torch.empty(2, 0, dtype=torch.long)
    assert torch.isfinite(model(x, none)).all()
    torch.testing.assert_close(model(x, PATH)[3], model(x, none)[3])


@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_sparse_features_give_the_same_output(conv, graph):
    model = gnn(conv=conv)
    x = graph.x * (graph.x > 1)
    sparse = model(x.to_sparse_coo(), graph.edge_index)
    torch.testing.assert_close(sparse, model(x, graph.edge_index))


def test_dropout_of_sparse_features_drops_stored_entries():
    dropout = Dropout(0.5)
    x = torch.eye(200).to_sparse_coo()
    torch.manual_seed(0)
    values = dropout(x).to_dense().diagonal()
    assert set(values.tolist()) == {0.0, 2.0} and 70 < int((values > 0).sum()) < 130
    assert torch.equal(dropout.eval()(x).to_dense(), x.to_dense())


@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_reset_parameters_draws_everything_anew_and_by_seed(conv):
    model, again = gnn(conv=conv, residual="jumping"), gnn(conv=conv, residual="jumping")
    before = {name: p.clone() for name, p in model.named_parameters()}
    for seed, m in ((1, model), (1, again)):
        torch.manual_seed(seed)
        m.reset_parameters()
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    constant = {n for n, p in before.items() if p.unique().numel() == 1}
    assert changed | constant == set(before) and changed
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), again.parameters(), strict=True))


def test_cora_gcn_has_the_parameters_of_the_paper():
    model = ml.GNN(conv="gcn", in_channels=1433, hidden_channels=64, out_channels=7, num_layers=2)
    assert sum(p.numel() for p in model.parameters()) == 1433 * 64 + 64 + 64 * 7 + 7
    assert isinstance(model.layers[0].conv, GCNConv) and len(model.layers) == 2


def test_attention_splits_wide_layers_into_eight_heads():
    model = ml.GNN(conv="gat", in_channels=5, hidden_channels=64, out_channels=3, num_layers=2)
    assert [(layer.conv.heads, layer.conv.out_channels) for layer in model.layers] == [(8, 8), (1, 3)]


def test_build_model_by_name_and_by_factory(graph):
    model = build_model("sage", ml.load_graph("karate"), hidden_channels=4, num_layers=1)
    assert (model.conv, model.in_channels, len(model.layers)) == ("sage", 34, 1)
    assert isinstance(build_model("torch.nn:Identity", graph), torch.nn.Identity)
