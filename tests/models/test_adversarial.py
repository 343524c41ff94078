import copy
import math

import pytest
import torch
from torch import nn
from torch_geometric.data import Data

import metamerlib as ml
from metamerlib.models.adversarial import EdgeAttack, FeatureAttack, attack_of, robust_accuracy
from tests.helpers.graphs import rings_and_stars


def gnn(graph, **changes):
    sizes = dict(conv="gcn", in_channels=graph.num_features, hidden_channels=16, out_channels=4, num_layers=2)
    torch.manual_seed(0)
    return ml.GNN(**{**sizes, **changes}).eval()


@pytest.fixture(scope="module")
def graph():
    return ml.load_graph("bow-sbm")


@pytest.fixture(scope="module")
def plain(graph):
    return ml.train(gnn(graph), graph, epochs=40).model


class Linear(nn.Module):
    """Two classes, scores x w and -x w."""

    def __init__(self, weight):
        super().__init__()
        self.linear = nn.Linear(len(weight), 2, bias=False)
        self.linear.weight = nn.Parameter(torch.stack([weight, -weight]))

    def forward(self, x):
        return self.linear(x)


class Rough(Linear):
    def forward(self, x):
        return self.linear(x) + 0.1 * x.square()[:, :2]


def points():
    x = torch.tensor([[3.0, 4, 0, 0, 0], [0, 0, 0, 0, 2], [1, 0, 0, 0, -1]])
    edge_index = torch.empty(2, 0, dtype=torch.long)
    mask = torch.ones(3, dtype=torch.bool)
    return Data(x=x, edge_index=edge_index, y=torch.tensor([0, 0, 1]), test_mask=mask)


def test_a_linear_model_is_attacked_along_its_weights():
    graph, weight = points(), torch.tensor([1.0, 0, 0, 0, 2])
    model = Linear(weight)
    moved = FeatureAttack(0.1, steps=5).perturb(model, graph, graph.test_mask)
    direction = weight / weight.norm()
    size = 0.1 * graph.x.norm(dim=1, keepdim=True)
    assert torch.allclose(moved.x - graph.x, torch.tensor([[-1.0], [-1], [1]]) * size * direction, atol=1e-6)
    # Margins x w / (|w| |x|): 3, 4, 1 over 5^0.5 times 5, 2, 2^0.5: right up to these radii.
    for radius, right in ((0.25, 1.0), (0.28, 2 / 3), (0.32, 1 / 3), (0.9, 0.0)):
        got = robust_accuracy(model, graph, attack=FeatureAttack(radius, 10))
        assert got == pytest.approx(_share_above(radius)), (radius, right)


def _share_above(radius):
    margins = [3 / 5**0.5 / 5, 4 / 5**0.5 / 2, 1 / 5**0.5 / 2**0.5]
    return sum(margin > radius for margin in margins) / 3


@pytest.mark.parametrize("conv", ["gcn", "sage", "gat", "mlp"])
def test_the_attack_stays_in_its_ball_and_hurts_more_than_noise(conv, graph):
    model, mask = gnn(graph, conv=conv), graph.test_mask
    before = copy.deepcopy(model.state_dict())
    losses = {}
    for name, attack in (("pgd", FeatureAttack(0.3, 5)), ("noise", FeatureAttack(0.3, 0))):
        moved = attack.perturb(model, graph, mask)
        share = (moved.x - graph.x).norm(dim=1) / graph.x.norm(dim=1)
        assert share.max() <= 0.3 * (1 + 1e-4)
        with torch.no_grad():
            losses[name] = nn.functional.cross_entropy(model(moved.x, graph.edge_index)[mask], graph.y[mask])
    assert losses["pgd"] > losses["noise"] + 0.01
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_coordinates_and_features_give_one_attack(graph):
    model, mask = gnn(graph).double(), graph.test_mask
    graph = copy.copy(graph)
    graph.x = graph.x.double()
    seen = FeatureAttack(0.2, 3).perturb(model, graph, mask)
    wide = gnn(graph, hidden_channels=graph.num_features).double()  # no fewer coordinates than features
    direct = FeatureAttack(0.2, 3).perturb(wide, graph, mask)
    assert (seen.x - graph.x).norm() > 0 and (direct.x - graph.x).norm() > 0
    weight = model.layers[0].conv.lin.weight
    outside = (seen.x - graph.x) @ (torch.eye(graph.num_features).double() - torch.linalg.pinv(weight) @ weight)
    assert outside.abs().max() < 1e-9  # nothing is spent where the model cannot see
    sparse = copy.copy(graph)
    sparse.x = graph.x.to_sparse_coo()
    assert torch.allclose(FeatureAttack(0.2, 3).perturb(model, sparse, mask).x, seen.x, atol=1e-9)


def test_a_model_that_reads_features_otherwise_is_attacked_all_the_same():
    graph = points()
    model = Rough(torch.tensor([1.0, 0, 0, 0, 2]))
    with torch.no_grad():
        before = nn.functional.cross_entropy(model(graph.x), graph.y)
        moved = FeatureAttack(0.5, 5).perturb(model, graph, graph.test_mask)
        assert nn.functional.cross_entropy(model(moved.x), graph.y) > before + 0.1


@pytest.mark.parametrize("conv", ["gcn", "sage"])
def test_training_against_the_attack_raises_robust_accuracy(conv, graph):
    model, attack = gnn(graph, conv=conv), FeatureAttack(0.05, 20)
    plain = ml.train(model, graph, epochs=60)
    robust = ml.train(model, graph, epochs=60, adversarial=FeatureAttack(0.15, 3, ramp=20))
    shares = [robust_accuracy(fit.model, graph, attack=attack, restarts=2) for fit in (plain, robust)]
    assert shares[1] > shares[0] + 0.05 and robust.test_accuracy > plain.test_accuracy - 0.05
    assert robust.best_epoch >= 20


def test_more_restarts_never_raise_robust_accuracy(plain, graph):
    shares = [robust_accuracy(plain, graph, attack=FeatureAttack(0.08, 4), restarts=k) for k in (1, 2, 4)]
    assert shares == sorted(shares, reverse=True) and shares[0] < 0.9
    on_input = robust_accuracy(plain, graph, attack=FeatureAttack(1e-9, 1), restarts=1)
    with torch.no_grad():
        right = (plain(graph.x, graph.edge_index).argmax(1) == graph.y)[graph.test_mask]
    assert on_input == pytest.approx(right.double().mean().item())


def test_edges_within_the_budget_and_no_other_change(plain, graph):
    before = torch.get_rng_state()
    moved = EdgeAttack(0.1, steps=5).perturb(plain, graph, graph.test_mask, restart=2)
    assert torch.equal(torch.get_rng_state(), before)
    old, new = ({tuple(pair) for pair in each.edge_index.T.tolist()} for each in (graph, moved))
    assert 0 < len(old ^ new) <= 2 * round(0.1 * len(old) / 2)
    assert all((v, u) in new for u, v in new) and torch.equal(moved.x, graph.x)
    share = robust_accuracy(plain, graph, attack=EdgeAttack(0.2, steps=10), restarts=1)
    assert share < robust_accuracy(plain, graph, attack=EdgeAttack(0.01, steps=2), restarts=1)


def test_training_against_edges_runs_and_is_repeatable(graph):
    fits = [ml.train(gnn(graph), graph, epochs=4, adversarial=EdgeAttack(steps=2, ramp=2)) for _ in range(2)]
    assert fits[0].history.equals(fits[1].history)
    assert not fits[0].history.equals(ml.train(gnn(graph), graph, epochs=4).history)


def test_graph_level_models_are_trained_and_attacked():
    graphs = rings_and_stars()
    model = ml.GNN(conv="gin", in_channels=graphs[0].num_features, hidden_channels=8, out_channels=2, num_layers=2,
                   pool="sum", dropout=0.0).double()  # fmt: skip
    attack = FeatureAttack(0.2, 3, ramp=5)
    fit = ml.train(model, graphs, epochs=15, adversarial=attack)
    shares = [robust_accuracy(fit.model, graphs, attack=FeatureAttack(radius, 5)) for radius in (1e-6, 0.5)]
    assert shares[0] == pytest.approx(fit.test_accuracy) and shares[1] <= shares[0]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"adversarial": "noise"}, ValueError, "unknown adversarial"),
        ({"adversarial": 3}, TypeError, "or an attack, got 3"),
    ],
)
def test_bad_attacks_are_refused(arguments, error, said, graph):
    with pytest.raises(error, match=said):
        ml.train(gnn(graph), graph, **arguments)


def test_bad_parameters_are_refused(graph, plain):
    for build in (lambda: FeatureAttack(-1), lambda: FeatureAttack(steps=-1), lambda: EdgeAttack(0)):
        with pytest.raises(ValueError):
            build()
    with pytest.raises(ValueError, match="join the graphs"):
        attack_of("edges", many=True)
    with pytest.raises(ValueError, match="no edge weights"):
        attack_of("edges", many=False, weighted=True)
    with pytest.raises(ValueError, match="no my_mask"):
        robust_accuracy(plain, graph, mask="my_mask")


def test_the_ramp_reaches_the_whole_budget():
    attack = FeatureAttack(0.2, ramp=10)
    assert [attack.at(epoch).radius for epoch in (1, 5, 10, 30)] == pytest.approx([0.02, 0.1, 0.2, 0.2])
    assert math.isclose(EdgeAttack(0.05, ramp=5).at(1).budget, 0.01)
