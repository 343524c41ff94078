import copy
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GATConv, GCNConv, SGConv
from torch_geometric.nn.models import GAT, GCN, GIN, GraphSAGE

import metamerlib as ml
from metamerlib.capture import Probe, with_features
from metamerlib.models import CONVOLUTIONS, NORMS, RESIDUALS
from metamerlib.solvers import LBFGS, Adam

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
WIDTH = 40


def features(seed=0, rows=34, width=WIDTH):
    return torch.randn(rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gnn(**changes):
    torch.manual_seed(0)
    sizes = dict(conv="gcn", in_channels=WIDTH, hidden_channels=8, out_channels=3, num_layers=2)
    return ml.GNN(**{**sizes, **changes}).double()


@pytest.fixture
def graph():
    return with_features(ml.load_graph("karate").clone(), features())


def loss_of(model, m, layer):
    """Return the loss by its definition, with nothing but the model and the graphs."""
    found, wanted = (Probe(model, layer)(g).activation for g in (m.graph, m.reference))
    if m.nodes is not None:
        found, wanted = found[m.nodes], wanted[m.nodes]
    return ((found - wanted).square().sum() / wanted.square().sum()).item()


def check_honest(model, m, layer, rtol=1e-4):
    assert m.loss == pytest.approx(loss_of(model, m, layer), rel=1e-6, abs=1e-28)
    assert m.relative_error == math.sqrt(m.loss)
    assert (m.status == "converged") == (m.loss <= rtol)
    assert m.status in ("converged", "stalled", "max_steps")
    difference = (m.activation - m.target).square().sum() / m.target.square().sum()
    assert difference.item() == pytest.approx(m.loss, rel=1e-6, abs=1e-28)
    assert m.loss <= m.history.loss.min() * (1 + 1e-6) + 1e-28
    assert torch.equal(m.graph.edge_index, m.reference.edge_index)


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("conv", CONVOLUTIONS)
@pytest.mark.parametrize("solver, act", [("lbfgs", "relu"), ("lbfgs", "gelu"), ("adam", "elu")])
def test_every_solver_finds_metamers_of_every_convolution(solver, act, conv, layer, graph):
    model = gnn(conv=conv, act=act)
    m = ml.find_metamer(model, graph, layer=layer, solver=solver)
    check_honest(model, m, layer)
    assert m.status == "converged"
    assert torch.nn.functional.cosine_similarity(m.graph.x, graph.x).mean() < 0.6


@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("norm", NORMS)
def test_residuals_and_norms_are_matched_after_the_sum(norm, residual, graph):
    model = gnn(num_layers=3, residual=residual, norm=norm)
    m = ml.find_metamer(model, graph, layer=2, max_steps=600, rtol=1e-3)
    check_honest(model, m, 2, rtol=1e-3)
    assert m.loss < 0.02


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


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_planted_metamer_is_recognised_at_once(solver, graph):
    model = gnn()
    planted = ml.nullspace_metamer(model, graph, seed=3)
    m = ml.find_metamer(model, graph, layer=1, start=planted.graph.x, solver=solver)
    assert (m.status, m.steps) == ("converged", 1) and m.loss < 1e-28
    torch.testing.assert_close(m.graph.x, planted.graph.x)
    near = planted.graph.x + 1e-2 * features(5)
    m = ml.find_metamer(model, graph, layer=1, start=near, solver=solver, rtol=1e-6)
    assert m.status == "converged" and m.steps < 50 and (m.graph.x - near).norm() < 0.5


def test_metamer_of_the_identity_is_the_reference(graph):
    class Same(nn.Module):
        def __init__(self):
            super().__init__()
            self.same = nn.Identity()

        def forward(self, x, edge_index):
            return self.same(x)

    m = ml.find_metamer(Same(), graph, layer="same", rtol=1e-20)
    assert m.status == "converged"
    torch.testing.assert_close(m.graph.x, graph.x)


def test_start_at_the_reference_is_a_metamer_at_once(graph):
    m = ml.find_metamer(gnn(), graph, layer=2, start="reference")
    assert (m.status, m.steps, m.loss, m.dead_units) == ("converged", 1, 0.0, None)
    torch.testing.assert_close(m.graph.x, graph.x)
    assert m.settings["start"] == "reference" and torch.equal(m.start.x, graph.x)


def test_same_seed_same_metamer_bit_for_bit(graph):
    first, again, other = (ml.find_metamer(gnn(), graph, layer=2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.graph.x, again.graph.x) and first.history.loss.equals(again.history.loss)
    assert not torch.equal(first.graph.x, other.graph.x)


@pytest.mark.parametrize("conv", ["gcn", "gat", "gin"])
def test_permuted_metamer_is_a_metamer_of_the_permuted_graph(conv, graph):
    model = gnn(conv=conv)
    m = ml.find_metamer(model, graph, layer=2)
    order = torch.randperm(34, generator=torch.Generator().manual_seed(1))
    edges = order.argsort()[graph.edge_index]
    moved = Data(x=graph.x[order], edge_index=edges)
    other = ml.find_metamer(model, moved, layer=2, start=m.graph.x[order])
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
    m = ml.find_metamer(gnn(), graph, layer=2, device=device, num_restarts=2)
    assert m.status == "converged" and m.settings["device"].startswith(device)
    assert m.graph.x.device.type == m.target.device.type == device
    assert graph.x.device.type == "cpu"


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
@pytest.mark.parametrize("conv", ["gcn", "gat", "sage"])
def test_model_and_graph_are_left_as_they_were(conv, solver, graph):
    model = gnn(conv=conv, norm="batch").train()
    model.layers[0].conv.bias = None if conv != "sage" else model.layers[0].conv.bias
    model.head = nn.Identity()
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


@pytest.mark.parametrize("kind, act", [(GCN, "act:0"), (GAT, "act:0"), (GraphSAGE, "act:0"), (GIN, "act:1")])
@pytest.mark.parametrize("layer", ["convs.0", "convs.1", "act"])
def test_models_of_pyg_unmodified(kind, act, layer, graph):
    torch.manual_seed(0)
    model = kind(WIDTH, 8, 2, 3, dropout=0.5, norm="batch_norm").double()
    layer = act if layer == "act" else layer
    m = ml.find_metamer(model, graph, layer=layer)
    check_honest(model, m, layer)
    assert m.status == "converged" and m.layer == layer
    assert (m.dead_units is None) == (layer != act)


class Blocks(nn.Module):
    """A foreign model whose block ends with a function, with keyword-only inputs that the graph lacks."""

    class Block(nn.Module):
        def __init__(self, relu):
            super().__init__()
            self.conv, self.relu = GCNConv(WIDTH, 8), relu

        def forward(self, x, edge_index):
            return self.relu(self.conv(x, edge_index))

    def __init__(self, relu=F.relu):
        super().__init__()
        self.block, self.out = self.Block(relu), GCNConv(8, 3)

    def forward(self, x, edge_index, *, edge_weight=None, perturbation=None):
        h = self.block(x if perturbation is None else x + perturbation, edge_index)
        return self.out(h, edge_index, edge_weight)


@pytest.mark.parametrize("relu", [F.relu, torch.relu, nn.ReLU(), nn.ReLU(inplace=True)])
def test_functional_relu_gets_the_one_sided_residual(relu, graph):
    torch.manual_seed(0)
    model = Blocks(relu).double()
    by_name, by_module = (ml.find_metamer(model, graph, layer=layer) for layer in ("block", model.block))
    check_honest(model, by_name, "block")
    assert by_name.status == "converged" and by_name.dead_units is not None
    assert torch.equal(by_name.graph.x, by_module.graph.x) and by_module.layer == "block"


@pytest.mark.parametrize("relu", [torch.Tensor.relu_, lambda z: z.clamp(min=0)])
def test_activations_out_of_reach_are_matched_plainly(relu, graph):
    torch.manual_seed(0)
    model = Blocks(relu).double()
    m = ml.find_metamer(model, graph, layer="block", max_steps=300)
    check_honest(model, m, "block")
    assert m.loss < 0.2 and m.dead_units is None


def test_slope_brings_dead_units_back(graph):
    torch.manual_seed(0)
    model = Blocks().double()
    without, given = (
        ml.find_metamer(model, graph, layer="block", solver="adam", slope=slope, max_steps=400) for slope in (None, 0.2)
    )
    assert given.settings["slope"] == 0.2 and given.settings["solver"] == "adam"
    assert given.loss < without.loss and given.dead_units <= without.dead_units
    assert ml.find_metamer(model, graph, layer="block", slope=0.2, max_steps=2).settings["solver"] == "adam"


def test_forward_brings_edge_attributes_and_restarts_too(graph):
    class Edges(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = GATConv(WIDTH, 8, edge_dim=2)

        def forward(self, x, edge_index, edge_attr):
            return self.conv(x, edge_index, edge_attr=edge_attr)

    torch.manual_seed(0)
    graph.edge_attr = torch.rand(graph.num_edges, 2, dtype=torch.float64)
    model = Edges().double()

    def forward(model, data):
        return model(data.x, data.edge_index, data.edge_attr)

    m = ml.find_metamer(model, graph, layer="conv", forward=forward, num_restarts=2)
    found, wanted = (forward(model, g) for g in (m.graph, graph))
    assert m.status == "converged"
    assert ((found - wanted).norm() / wanted.norm()).item() == pytest.approx(m.relative_error, rel=1e-6)


@pytest.mark.parametrize("conv", [GCNConv, SGConv])
def test_models_that_have_cached_another_graph(conv, graph):
    torch.manual_seed(0)
    model = conv(WIDTH, 8, cached=True).double()
    model(features(1, 3), torch.tensor([[0, 1], [1, 0]]))
    m = ml.find_metamer(model, graph, layer=model, num_restarts=2)
    plain = conv(WIDTH, 8).double()
    plain.load_state_dict(model.state_dict())
    found, wanted = (plain(g.x, graph.edge_index) for g in (m.graph, graph))
    assert m.status == "converged"
    assert ((found - wanted).norm() / wanted.norm()).item() == pytest.approx(m.relative_error, rel=1e-6)


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
    model = gnn(conv=conv)
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
    m = ml.find_metamer(gnn(num_layers=3), graph, layer=3, rtol=1e-30, stall_rtol=0.9, max_steps=1500)
    assert m.status == "stalled" and m.steps < 1500


class Narrow(nn.Module):
    """Not a number where the features are far from the reference."""

    def __init__(self, limit):
        super().__init__()
        self.lin, self.limit = nn.Linear(WIDTH, 8), limit

    def forward(self, x, edge_index):
        return torch.where(x.norm() > self.limit, torch.nan, self.lin(x))


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
    # h = relu(z) + x with z = x w + b: a dead unit can vanish from the residual and not from the loss.
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(1, 1)

    model = ml.GNN(conv="mlp", in_channels=1, hidden_channels=1, out_channels=1, num_layers=2, residual="skip").double()
    with torch.no_grad():
        model.layers[0].conv.weight.fill_(-2.0)
        model.layers[0].conv.bias.fill_(1.0)
    graph = bare(torch.zeros(1, 1, dtype=torch.float64), [])
    # h = relu(1 - 2x) + x = 1 at x = 0; at x = 1, z = -1, h = 1: a true metamer. In between h falls to 1/2.
    m = ml.find_metamer(model, graph, layer=1, start=torch.full((1, 1), 5.0, dtype=torch.float64), max_steps=200)
    check_honest(model, m, 1)


@pytest.mark.parametrize("solver", [LBFGS(memory=3), Adam(0.1)])
def test_solver_objects_carry_their_own_numbers(solver, graph):
    m = ml.find_metamer(gnn(act="elu"), graph, layer=1, solver=solver)
    assert m.status == "converged" and m.settings["solver"] == repr(solver)


def test_saved_metamers_come_back_whole(graph, tmp_path):
    graph.words, graph.note, graph.shapes = ["a", "b"], {"left": "out"}, [torch.ones(2)]
    m = ml.find_metamer(gnn(), graph, layer=1, nodes=[1, 2], free_nodes=[1, 2, 3], max_steps=20, rtol=1e-9)
    m.save(tmp_path / "m.pt")
    other = ml.Metamer.load(tmp_path / "m.pt")
    for name in ("target", "activation", "nodes", "free_nodes"):
        assert torch.equal(getattr(m, name), getattr(other, name))
    for name in ("layer", "loss", "relative_error", "status", "steps", "seconds", "dead_units", "settings"):
        assert getattr(m, name) == getattr(other, name)
    assert m.history.equals(other.history)
    for name in ("graph", "start", "reference"):
        one, two = getattr(m, name), getattr(other, name)
        assert all(torch.equal(v, two[k]) for k, v in one.to_dict().items() if isinstance(v, torch.Tensor))
    assert other.graph.name == "karate" and other.graph.words == ["a", "b"] and "note" not in other.graph
    assert [file.name for file in tmp_path.iterdir()] == ["m.pt"]


def test_search_goes_on_from_a_saved_metamer(graph, tmp_path):
    first = ml.find_metamer(gnn(), graph, layer=1, max_steps=10, rtol=1e-8)
    first.save(tmp_path / "m.pt")
    loaded = ml.Metamer.load(tmp_path / "m.pt")
    more = ml.find_metamer(gnn(), loaded.reference, layer=loaded.layer, start=loaded.graph.x, rtol=1e-8)
    assert more.history.loss[0] == pytest.approx(first.loss) and more.loss < first.loss
    assert more.settings["start"] == "given"


def test_failed_searches_can_be_saved_too(graph, tmp_path):
    torch.manual_seed(0)
    model = Narrow(1.0).double()
    graph.x = 0.01 * graph.x
    m = ml.find_metamer(model, graph, layer=model, start=features(3))
    m.save(tmp_path / "m.pt")
    assert math.isnan(ml.Metamer.load(tmp_path / "m.pt").loss)


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("code of the file was run",))


def test_files_with_code_are_refused_unread(tmp_path):
    for name, write in (("torch", torch.save), ("pickle", lambda o, p: p.write_bytes(pickle.dumps(o)))):
        path = tmp_path / name
        write(Evil(), path)
        with pytest.raises(ValueError, match=f"{name} is not a saved metamer"):
            ml.Metamer.load(path)
    torch.save({"x": torch.ones(2)}, tmp_path / "other")
    with pytest.raises(ValueError, match="is not a saved metamer"):
        ml.Metamer.load(tmp_path / "other")


def test_missing_files_and_folders_are_named(graph, tmp_path):
    with pytest.raises(FileNotFoundError, match="no metamer at .*nothing"):
        ml.Metamer.load(tmp_path / "nothing")
    m = ml.find_metamer(gnn(), graph, layer=1, start="reference")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; create it first"):
        m.save(tmp_path / "nowhere" / "m.pt")
