import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch_geometric.data import Data

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.models.convolutions import CONVOLUTIONS
from metamerlib.models.gnn import NORMS, RESIDUALS
from metamerlib.probing.probe import Probe
from metamerlib.search.features.adam import Adam
from metamerlib.search.features.lbfgs import LBFGS
from tests.helpers.metamers import WIDTH, Narrow, check_honest, features, gnn

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


# Attention and GIN's inner ReLU make curved problems that need more steps; all others converge.
CURVED = {"gat", "gatv2", "gin"}


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("conv", CONVOLUTIONS)
@pytest.mark.parametrize("solver, act", [("lbfgs", "relu"), ("lbfgs", "elu"), (Adam(0.03), "elu")])
def test_every_solver_finds_metamers_of_every_convolution(solver, act, conv, layer, graph):
    model = gnn(conv=conv, act=act)
    m = ml.find_metamer(model, graph, layer=layer, solver=solver, max_steps=300)
    check_honest(model, m, layer)
    assert m.loss < 0.01
    if solver == "lbfgs" and conv not in CURVED and (act == "elu" or layer == 1):
        assert m.status == "converged"
    assert F.cosine_similarity(m.graph.x, graph.x).mean() < 0.6


@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("norm", NORMS)
def test_residuals_and_norms_are_matched_after_the_sum(norm, residual, graph):
    model = gnn(num_layers=3, residual=residual, norm=norm)
    m = ml.find_metamer(model, graph, layer=2, max_steps=200, rtol=1e-2)
    check_honest(model, m, 2, rtol=1e-2)
    assert m.loss < 0.1 * m.history.loss[0]


def a_hat(graph):
    a = torch.eye(34, dtype=torch.float64)
    a[graph.edge_index[0], graph.edge_index[1]] = 1
    d = a.sum(1).rsqrt()
    return d[:, None] * a * d


def test_linear_gcn_has_the_metamers_of_linear_algebra(graph):
    model = gnn(num_layers=1, act="identity", out_channels=6)
    m = ml.find_metamer(model, graph, layer=1, rtol=1e-20)
    w = model.layers[0].conv.lin.weight.T
    assert m.status == "converged"
    torch.testing.assert_close(a_hat(graph) @ m.graph.x @ w, a_hat(graph) @ graph.x @ w, rtol=0, atol=1e-8)
    moved = m.graph.x - m.start.x
    q = torch.linalg.qr(w)[0]
    torch.testing.assert_close(moved, moved @ q @ q.T)


@pytest.mark.parametrize("solver", ["lbfgs", Adam(0.03)])
def test_planted_metamer_is_recognised_at_once(solver, graph):
    model = gnn()
    planted = ml.nullspace_metamer(model, graph, seed=3)
    m = ml.find_metamer(model, graph, layer=1, start=planted.graph.x, solver=solver)
    assert (m.status, m.steps) == ("converged", 1) and m.loss < 1e-28
    torch.testing.assert_close(m.graph.x, planted.graph.x)
    near = planted.graph.x + 0.05 * features(5)
    m = ml.find_metamer(model, graph, layer=1, start=near, solver=solver)
    assert m.status == "converged" and 1 < m.steps < 100 and (m.graph.x - near).norm() < (near - graph.x).norm() / 10


def test_start_at_the_reference_is_a_metamer_at_once(graph):
    m = ml.find_metamer(gnn(), graph, layer=2, start="reference")
    assert (m.status, m.steps, m.loss, m.dead_units) == ("converged", 1, 0.0, None)
    torch.testing.assert_close(m.graph.x, graph.x)
    assert m.settings["start"] == "reference" and torch.equal(m.start.x, graph.x)


def test_same_seed_same_metamer_bit_for_bit(graph):
    first, again, other = (ml.find_metamer(gnn(), graph, layer=2, seed=seed, max_steps=60) for seed in (0, 0, 1))
    assert torch.equal(first.graph.x, again.graph.x) and first.history.loss.equals(again.history.loss)
    assert not torch.equal(first.graph.x, other.graph.x)


@pytest.mark.parametrize("conv", ["gcn", "gat", "gin"])
def test_permuted_metamer_is_a_metamer_of_the_permuted_graph(conv, graph):
    model = gnn(conv=conv)
    m = ml.find_metamer(model, graph, layer=2, max_steps=50)
    order = torch.randperm(34, generator=torch.Generator().manual_seed(1))
    edges = order.argsort()[graph.edge_index]
    moved = Data(x=graph.x[order], edge_index=edges)
    other = ml.find_metamer(model, moved, layer=2, start=m.graph.x[order], max_steps=1)
    assert other.steps == 1 and other.loss == pytest.approx(m.loss)


NODES = {
    "one": 7,
    "indices": [3, 33, 0],
    "mask": torch.arange(34) < 5,
    "tensor": torch.tensor([10, 2]),
}


@pytest.mark.parametrize("nodes", NODES.values(), ids=NODES)
@pytest.mark.parametrize("conv", ["gcn", "gatv2", "sage"])
def test_only_the_named_nodes_are_matched(conv, nodes, graph):
    model = gnn(conv=conv)
    m = ml.find_metamer(model, graph, layer=1, nodes=nodes, rtol=1e-8)
    check_honest(model, m, 1, rtol=1e-8)
    assert m.status == "converged" and m.target.shape == (len(m.nodes), 8)
    everywhere = Probe(model, 1)
    others = torch.ones(34, dtype=torch.bool)
    others[m.nodes] = False
    away = (everywhere(m.graph).activation - everywhere(graph).activation)[others]
    assert away.norm() > 0.1


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_only_free_rows_change(solver, graph):
    free = [2, 30, 4, 11, 19]
    m = ml.find_metamer(gnn(), graph, layer=1, free_nodes=free, solver=solver, max_steps=200)
    held = torch.ones(34, dtype=torch.bool)
    held[free] = False
    assert torch.equal(m.graph.x[held], graph.x[held]) and torch.equal(m.start.x[held], graph.x[held])
    assert bool((m.graph.x[free] != graph.x[free]).any(1).all())
    assert m.free_nodes.tolist() == free
    check_honest(gnn(), m, 1)


def test_one_node_may_hide_a_change_of_its_own(graph):
    m = ml.find_metamer(gnn(), graph, layer=2, nodes=[9], free_nodes=[9], rtol=1e-10)
    assert m.status == "converged" and not torch.allclose(m.graph.x[9], graph.x[9])


@pytest.mark.parametrize("norm", [None, "pair", "batch"])
def test_restarts_do_not_disturb_each_other_and_the_best_is_returned(norm, graph):
    model = gnn(norm=norm)
    options = dict(layer=1, max_steps=60, rtol=1e-7)
    several = ml.find_metamer(model, graph, num_restarts=3, **options)
    check_honest(model, several, 1, rtol=1e-7)
    starts = torch.randn(3, 34, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    starts = graph.x.mean(0) + graph.x.std(0, correction=0) * starts
    alone = [ml.find_metamer(model, graph, start=start, **options) for start in starts]
    best = min(range(3), key=lambda b: alone[b].loss)
    assert several.loss == pytest.approx(alone[best].loss, rel=0.05)
    torch.testing.assert_close(several.start.x, starts[best])


@pytest.mark.parametrize("device", DEVICES)
def test_result_lies_where_the_search_ran(device, graph):
    m = ml.find_metamer(gnn(), graph, layer=1, device=device, num_restarts=2)
    assert m.status == "converged" and m.settings["device"].startswith(device)
    assert m.graph.x.device.type == m.target.device.type == device
    assert graph.x.device.type == "cpu"


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
@pytest.mark.parametrize("conv", ["gcn", "gat", "sage"])
def test_model_and_graph_are_left_as_they_were(conv, solver, graph):
    model = gnn(conv=conv, norm="batch").train()
    next(model.parameters()).requires_grad_(False)
    model(graph.x, graph.edge_index).sum().backward()
    calls = []
    handle = model.layers[1].register_forward_hook(lambda *_: None)
    state, grads = copy.deepcopy(model.state_dict()), [p.grad for p in model.parameters()]
    keep = [None if g is None else g.clone() for g in grads]
    required = [p.requires_grad for p in model.parameters()]
    before, random = graph.clone(), torch.get_rng_state()
    attributes = [set(vars(module)) for module in model.modules()]
    ml.find_metamer(model, graph, layer=2, solver=solver, max_steps=20, num_restarts=2)
    assert all(torch.equal(p, state[name]) for name, p in model.state_dict().items())
    assert all(
        p.grad is g and (g is None or torch.equal(g, k))
        for p, g, k in zip(model.parameters(), grads, keep, strict=True)
    )
    assert [p.requires_grad for p in model.parameters()] == required
    assert all(module.training for module in model.modules()) and not calls
    assert sum(len(module._forward_hooks) for module in model.modules()) == 1
    assert attributes == [set(vars(module)) for module in model.modules()]
    handle.remove()
    assert graph.keys() == before.keys() and torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(graph[k], v) for k, v in before.to_dict().items() if isinstance(v, torch.Tensor))


def test_result_shares_no_memory_with_the_graph(graph):
    m = ml.find_metamer(gnn(), graph, layer=1, free_nodes=[1], max_steps=3)
    graph.x.zero_()
    assert m.reference.x.any() and m.graph.x[0].any() and m.start.x[0].any()


def test_features_that_ask_for_gradients_give_a_plain_result(graph):
    graph.x.requires_grad_()
    m = ml.find_metamer(gnn(), graph, layer=1, free_nodes=[0, 1])
    assert not any(t.requires_grad for t in (m.graph.x, m.reference.x, m.start.x, m.target, m.activation))
    assert graph.x.requires_grad and graph.x.grad is None


@pytest.mark.parametrize("pool", ["sum", "mean"])
def test_pooled_graphs_can_be_matched(pool, graph):
    model = gnn(pool=pool)
    batch = with_features(graph, graph.x)
    batch.batch = (torch.arange(34) >= 20).long()
    m = ml.find_metamer(model, batch, layer="pool", num_restarts=2, rtol=1e-8)
    assert m.status == "converged" and m.target.shape == (2, 8)
    check_honest(model, m, "pool", rtol=1e-8)
    whole = ml.find_metamer(model, graph, layer="pool")
    assert whole.target.shape == (1, 8) and whole.status == "converged"


def bare(x, edges):
    return Data(x=x, edge_index=torch.tensor(edges, dtype=torch.long).reshape(2, -1))


@pytest.mark.parametrize("conv", CONVOLUTIONS)
@pytest.mark.parametrize(
    "edges", [[], [[0, 1, 1, 2], [1, 0, 2, 1]], [[0, 1], [1, 2]]], ids=["none", "isolated", "directed"]
)
def test_sparse_graphs_without_labels_work(conv, edges):
    x = features(0, 5)
    x[3] = 0
    model = gnn(conv=conv, act="elu")
    m = ml.find_metamer(model, bare(x, edges), layer=2)
    check_honest(model, m, 2)
    assert m.status == "converged"


def test_weighted_graphs_work_where_the_convolution_reads_weights():
    graph = ml.load_graph("les-miserables")
    torch.manual_seed(0)
    sizes = dict(in_channels=77, hidden_channels=8, out_channels=3, num_layers=2)
    m = ml.find_metamer(ml.GNN(conv="gcn", **sizes), graph, layer=1, num_restarts=2)
    assert m.status == "converged"
    with pytest.raises(ValueError, match="gat has no edge weights; use one of"):
        ml.find_metamer(ml.GNN(conv="gat", **sizes), graph, layer=1)


def test_history_has_a_row_for_every_evaluation(graph):
    m = ml.find_metamer(gnn(), graph, layer=1, max_steps=30, rtol=1e-9)
    assert list(m.history.columns) == ["step", "loss", "seconds"]
    assert m.steps == 30 and m.status == "max_steps" and m.history.step.tolist() == list(range(1, 31))
    assert m.history.seconds.is_monotonic_increasing and m.history.seconds.iloc[-1] <= m.seconds
    start = with_features(graph, m.start.x)
    h, begin = (Probe(gnn(), 1)(g).activation for g in (graph, start))
    assert m.history.loss[0] == pytest.approx(((begin - h).square().sum() / h.square().sum()).item())


def test_flat_loss_is_stalled_when_asked(graph):
    m = ml.find_metamer(gnn(num_layers=3), graph, layer=3, rtol=1e-30, stall_rtol=0.9, max_steps=700)
    assert m.status == "stalled" and m.steps < 700


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_search_among_nan_says_so(solver, graph):
    torch.manual_seed(0)
    graph.x = 0.01 * graph.x
    model = Narrow(1.0).double()
    m = ml.find_metamer(model, graph, layer="lin", start=features(3), solver=solver)
    assert m.status == "converged"
    m = ml.find_metamer(model, graph, layer=model, start=features(3), solver=solver)
    assert m.status == "non_finite" and math.isnan(m.loss) and m.steps < 20
    torch.testing.assert_close(m.graph.x, m.start.x)


def test_zero_residual_of_a_skip_is_not_taken_for_a_match():
    # h = relu(z) + x at the unit of a, where z = 1 + b - 2 a: the reference has z = 1, h = 1. At a = 2, b = 2
    # the unit is dead (z = -1), the residual a - 1 + z is zero, and h = 2 is not the reference's.
    sizes = dict(in_channels=2, hidden_channels=2, out_channels=1, num_layers=2)
    model = ml.GNN(conv="mlp", residual="skip", **sizes).double()
    with torch.no_grad():
        model.layers[0].conv.weight.copy_(torch.tensor([[-2.0, 1.0], [0.0, 0.0]]))
        model.layers[0].conv.bias.copy_(torch.tensor([1.0, -1.0]))
    graph = bare(torch.tensor([[0.0, 2.0]], dtype=torch.float64), [])
    graph.x = torch.tensor([[0.0, 0.0]], dtype=torch.float64)
    start = torch.tensor([[2.0, 2.0]], dtype=torch.float64)
    m = ml.find_metamer(model, graph, layer=1, start=start, free_nodes=[0], max_steps=1)
    assert m.status == "max_steps" and m.loss == pytest.approx(1.0 + 4.0)
    m = ml.find_metamer(model, graph, layer=1, start=start)
    check_honest(model, m, 1)


@pytest.mark.parametrize("solver", [LBFGS(memory=3), Adam(0.1)])
def test_solver_objects_carry_their_own_numbers(solver, graph):
    m = ml.find_metamer(gnn(act="elu"), graph, layer=1, solver=solver)
    assert m.status == "converged" and m.settings["solver"] == repr(solver)
