import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch_geometric.data import Batch

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.models.convolutions import CONVOLUTIONS
from metamerlib.probing.probe import Probe, Recording
from metamerlib.probing.target import Target
from metamerlib.search.features.problem import feature_problem
from metamerlib.search.features.starts import feature_starts

KARATE = ml.load_graph("karate")
PARTS = {"karate": 34, "davis": 32}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def gnn(**changes):
    torch.manual_seed(0)
    sizes = dict(conv="gcn", in_channels=12, hidden_channels=8, out_channels=3, num_layers=3)
    return ml.GNN(**{**sizes, **changes}).double().eval()


def features(seed=0, rows=34, width=12):
    return torch.randn(rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def graph():
    return with_features(KARATE.clone(), features())


def relu_recording(z, skip=0.0):
    z = torch.as_tensor(z, dtype=torch.float64)
    return Recording(z.clamp(min=0) + skip, z, True, None)


def build(model, graph, layer, starts=None, free=None, nodes=None, reduce=True):
    probe = Probe(model, layer)
    target = Target.of(probe.check(graph), nodes)
    starts = features(1)[None] if starts is None else starts
    return feature_problem(probe, graph, target, starts, free, reduce=reduce)


def test_one_sided_residual_by_hand():
    # Target active, active, dead, dead; candidate alive, dead, alive, dead.
    target = Target.of(relu_recording([[3.0, 2.0, -1.0, -4.0]]), None)
    residual, plain = target.residual(relu_recording([[5.0, -7.0, 6.0, -8.0]]), 1)
    assert residual.tolist() == [[[2.0, -9.0, 6.0, 0.0]]]
    assert plain.tolist() == [[[2.0, -2.0, 6.0, 0.0]]]
    assert target.dead_units(relu_recording([[5.0, -7.0, 6.0, -8.0]])) == 1


def test_dead_units_are_counted_on_the_matched_nodes():
    reference, found = [[1.0, 1.0], [1.0, -1.0], [2.0, 0.0]], [[-1.0, 0.0], [2.0, -1.0], [-3.0, -3.0]]
    assert Target.of(relu_recording(reference), None).dead_units(relu_recording(found)) == 3
    assert Target.of(relu_recording(reference), torch.tensor([1, 2])).dead_units(relu_recording(found)) == 1
    smooth = Target.of(Recording(torch.ones(2, 2), None, False, None), None)
    assert smooth.dead_units(Recording(torch.ones(2, 2), None, False, None)) is None


entries = st.lists(st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0]), min_size=6, max_size=6)


@given(entries, entries)
def test_one_sided_residual_equals_its_definition_and_vanishes_with_the_match(reference, candidate):
    z, trial = (torch.tensor(e, dtype=torch.float64).reshape(2, 3) for e in (reference, candidate))
    if not (z > 0).any():
        return
    target = Target.of(relu_recording(z), None)
    residual, plain = target.residual(relu_recording(trial), 1)
    h = z.clamp(min=0)
    assert torch.equal(residual[0], torch.where(h > 0, trial - h, trial.clamp(min=0)))
    assert torch.equal(residual == 0, plain == 0)


@given(entries)
def test_one_sided_residual_has_a_gradient_on_dead_units(candidate):
    trial = torch.tensor(candidate, dtype=torch.float64).reshape(2, 3).requires_grad_()
    target = Target.of(relu_recording(torch.full((2, 3), 2.5)), None)
    residual, _ = target.residual(relu_recording(trial), 1)
    (gradient,) = torch.autograd.grad(residual.square().sum(), trial)
    wanted = 2 * (trial - 2.5).detach()
    assert torch.equal(gradient[trial != 0], wanted[trial != 0]) and (gradient[trial < 0] != 0).all()


def test_with_a_skip_the_residual_may_vanish_without_a_match():
    # h = relu(z) + x: a dead unit whose x makes up for max(z', 0) and for min(z', 0) too.
    target = Target.of(relu_recording([[1.0]], skip=2.0), None)
    residual, plain = target.residual(relu_recording([[-1.0]], skip=4.0), 1)
    assert residual.item() == 0.0 and plain.item() == 1.0


@pytest.mark.parametrize("residual", ["none", "skip", "initial", "jumping"])
def test_loss_is_that_of_the_definition_whatever_is_minimised(residual, graph):
    model = gnn(residual=residual)
    nodes = torch.tensor([4, 1, 30])
    problem = build(model, graph, 2, nodes=nodes)
    h, found = (Probe(model, 2)(with_features(graph, x)).activation[nodes] for x in (graph.x, features(1)))
    expected = (found - h).square().sum() / h.square().sum()
    evaluation = problem.evaluate(problem.start)
    torch.testing.assert_close(evaluation.loss, expected[None])
    assert evaluation.objective.item() >= evaluation.loss.item() or residual in ("skip", "initial")


@pytest.mark.parametrize("act", ["relu", "elu"])
@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_gradient_is_that_of_the_objective(conv, act, graph):
    problem = build(gnn(conv=conv, act=act), graph, 2)
    along = torch.randn(problem.start.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    step = 1e-6 * along
    ahead, behind = (problem.evaluate(problem.start + s).objective.item() for s in (step, -step))
    slope = (problem.evaluate(problem.start).gradient * along).sum().item()
    assert (ahead - behind) / 2e-6 == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("norm", [None, "batch", "layer", "pair"])
@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_restarts_in_one_batch_are_those_run_alone(conv, norm, device, graph):
    model, graph = gnn(conv=conv, norm=norm, num_layers=2).to(device), graph.to(device)
    starts = torch.stack([features(seed) for seed in (1, 2, 3)]).to(device)
    together = build(model, graph, 2, starts)
    batch = together.evaluate(together.start)
    for copy in range(3):
        alone = build(model, graph, 2, starts[copy : copy + 1])
        one = alone.evaluate(alone.start)
        torch.testing.assert_close(batch.loss[copy], one.loss[0])
        torch.testing.assert_close(batch.gradient[copy], one.gradient[0])


@pytest.mark.parametrize("copies", [1, 2])
def test_only_free_rows_are_handed_to_the_solver(copies, graph):
    free = torch.tensor([5, 2])
    starts = features(1, 2 * copies).reshape(copies, 2, 12)
    problem = build(gnn(), graph, 2, starts, free)
    assert problem.start.shape[:2] == (copies, 2)
    x = graph.x.clone()
    x[free] = starts[-1]
    h, found = (Probe(gnn(), 2)(with_features(graph, x)).activation for x in (graph.x, x))
    expected = (found - h).square().sum() / h.square().sum()
    torch.testing.assert_close(problem.evaluate(problem.start).loss[-1], expected)


def test_permuted_metamer_of_the_permuted_graph_has_the_same_loss(graph):
    order = torch.randperm(34, generator=torch.Generator().manual_seed(3))
    moved = with_features(graph, graph.x[order])
    moved.edge_index = order.argsort()[graph.edge_index]
    a = build(gnn(), graph, 2)
    b = build(gnn(), moved, 2, features(1)[order][None])
    one, other = a.evaluate(a.start), b.evaluate(b.start)
    torch.testing.assert_close(other.loss, one.loss)
    torch.testing.assert_close(other.gradient, one.gradient[:, order])


def test_pooled_graphs_of_a_batch_are_repeated_with_every_restart():
    parts = [with_features(ml.load_graph(name).clone(), features(s, n)) for s, (name, n) in enumerate(PARTS.items())]
    for part in parts:
        for name in set(part.keys()) - {"x", "edge_index"}:
            del part[name]
    graph = Batch.from_data_list(parts)
    model = gnn(pool="mean", num_layers=2)
    starts = torch.stack([features(1, 66), features(2, 66)])
    problem = build(model, graph, "pool", starts)
    assert problem.target.activation.shape == (4, 8)  # two graphs in each of two searches
    alone = build(model, graph, "pool", starts[1:])
    torch.testing.assert_close(problem.evaluate(problem.start).loss[1:], alone.evaluate(alone.start).loss)


def test_norm_over_all_nodes_is_refused_for_restarts(graph):
    class Coupled(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(12, 8)

        def forward(self, x, edge_index):
            return self.lin(x) / self.lin(x).norm()

    model = Coupled().double()
    assert build(model, graph, model).start.shape == (1, 34, 8)
    with pytest.raises(ValueError, match=r"couples the graphs of a disjoint union.*num_restarts=1"):
        build(model, graph, model, torch.stack([features(1), features(2)]))


def test_layers_that_ignore_the_features_are_named(graph):
    class Degrees(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(1, 3)

        def forward(self, x, edge_index):
            return self.lin(edge_index[0].bincount(minlength=x.size(0))[:, None].to(x.dtype))

    problem = build(Degrees().double(), graph, "lin")
    with pytest.raises(ValueError, match=r"layer 'lin' does not depend on the features"):
        problem.evaluate(problem.start)


def test_targets_that_cannot_be_matched_are_named():
    with pytest.raises(ValueError, match=r"target activation is zero on all matched nodes"):
        Target.of(relu_recording([[-1.0, -2.0]]), None)
    with pytest.raises(ValueError, match="zero on all matched nodes"):
        Target.of(relu_recording([[1.0], [-1.0]]), torch.tensor([1]))
    with pytest.raises(ValueError, match=r"target activation holds NaN"):
        Target.of(relu_recording([[1.0, torch.nan]]), None)


def test_moments_start_follows_each_column_and_the_seed(graph):
    graph.x = features(rows=34) * torch.arange(12) + 5
    starts = feature_starts(graph, None, None, 200, 0)
    deviation = graph.x.std(0, correction=0)
    assert ((starts.mean((0, 1)) - graph.x.mean(0)).abs() <= 0.05 * deviation + 1e-12).all()
    assert ((starts.std((0, 1)) - deviation).abs() <= 0.05 * deviation + 1e-12).all()
    assert torch.equal(starts[:, :, 0], torch.full((200, 34), 5.0, dtype=torch.float64))
    assert torch.equal(feature_starts(graph, None, "moments", 200, 0), starts)
    assert not torch.equal(feature_starts(graph, None, None, 200, 1), starts)


def test_given_starts_keep_the_free_rows(graph):
    free = torch.tensor([3, 1])
    assert torch.equal(feature_starts(graph, free, "reference", 1, 0), graph.x[free][None])
    assert torch.equal(feature_starts(graph, free, features(5), 1, 0), features(5)[free][None])
    assert feature_starts(graph, free, None, 4, 0).shape == (4, 2, 12)
