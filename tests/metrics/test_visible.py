from dataclasses import replace

import pytest
import torch
from torch import nn

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.metrics.features import feature_cosine
from metamerlib.metrics.visible import kept, likeness_in, visible_cosine, visible_likeness
from metamerlib.probing.row_space import row_space
from tests.helpers.metamers import gnn

ARCHITECTURES = ["gcn", "gat", "gatv2", "sage", "gin", "cheb", "sgc", "appnp", "mlp"]


@pytest.fixture(scope="module")
def graph():
    graph = ml.load_graph("davis")
    graph.x = graph.x.double()
    return graph


def build(graph, **options):
    return gnn(**({"in_channels": graph.num_features, "hidden_channels": 3, "out_channels": 2} | options))


def test_cosine_by_hand():
    reference = torch.tensor([[2.0, 0.0, 5.0], [0.0, 2.0, -5.0], [0.0, 0.0, 0.0]])
    x = torch.tensor([[2.0, 4.0, 1.0], [0.0, 2.0, 1.0], [9.0, 9.0, 9.0]])
    seen = torch.eye(3)[:, :2]
    # Centre (2/3, 2/3); rows (4, -2)/3 and (-2, 4)/3 of the reference; the zero row is left out of the mean only.
    first = (4 / 3 * 4 / 3 + 10 / 3 * -2 / 3) / ((16 + 100) ** 0.5 / 3 * (16 + 4) ** 0.5 / 3)
    assert visible_cosine(x, reference, seen) == pytest.approx((first + 1) / 2)
    assert visible_cosine(x, reference, seen, rows=torch.tensor([1])) == pytest.approx(1)
    # What lies outside of the basis does not count, and a turn of the basis changes nothing.
    turn = torch.linalg.qr(torch.tensor([[1.0, 2.0], [3.0, -1.0]])).Q
    assert visible_cosine(x * torch.tensor([1, 1, -7]), reference, seen @ turn) == pytest.approx((first + 1) / 2)


def test_kept_by_hand():
    assert kept(0.4, 0.1, 0.7) == pytest.approx(0.5)
    assert kept(0.7, 0.1, 0.7) == 1 and kept(0.1, 0.1, 0.7) == 0
    assert kept(0.1, 1.0, 1.0) != kept(0.1, 1.0, 1.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"basis": torch.ones(3, 2)}, "orthonormal"),
        ({"basis": torch.eye(2)}, r"pass Q \[3, r\]"),
        ({"reference": torch.zeros(2, 2)}, r"\[4, 3\] beside \[2, 2\]"),
    ],
)
def test_bad_input_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        visible_cosine(**({"x": torch.zeros(4, 3), "reference": torch.zeros(4, 3)} | options))


@pytest.mark.parametrize("conv", ARCHITECTURES)
def test_the_null_space_metamer_keeps_all_and_the_start_nothing(conv, graph):
    model = build(graph, conv=conv, hidden_channels=2)
    metamer = ml.nullspace_metamer(model, graph)
    seen = visible_likeness(model, metamer)
    assert seen.visible_rank == row_space(model, graph.num_features).rank
    assert seen.visible_cosine == pytest.approx(1) and seen.kept == pytest.approx(1)
    assert seen.feature_cosine_nullspace == pytest.approx(feature_cosine(metamer.graph.x, graph.x).mean)
    begun = visible_likeness(model, replace(metamer, graph=metamer.start))
    assert begun.visible_cosine == begun.visible_cosine_start == seen.visible_cosine_start
    assert begun.rise == begun.kept == 0


@pytest.mark.parametrize("conv", ["gcn", "mlp"])
def test_an_invertible_linear_layer_keeps_everything_it_sees(conv, graph):
    # h = A X W determines A X W; with A = I, or A invertible, that is all of X W.
    if conv == "gcn":
        graph = with_features(graph, graph.x)
        graph.edge_index = torch.tensor([[0, 1], [1, 0]])
        graph.edge_weight = torch.tensor([0.5, 0.5]).double()
    model = build(graph, conv=conv, act="identity", num_layers=1)
    metamer = ml.find_metamer(model, graph, layer=1, rtol=1e-14, solver="lbfgs")
    seen = visible_likeness(model, metamer)
    assert seen.kept == pytest.approx(1, abs=1e-4) and seen.visible_cosine == pytest.approx(1, abs=1e-6)
    # A second linear map to one number keeps a part.
    model = build(graph, conv=conv, act="identity", num_layers=2, out_channels=1)
    deeper = visible_likeness(model, ml.find_metamer(model, graph, layer=2, rtol=1e-14, solver="lbfgs"))
    assert deeper.visible_rank == 3 and deeper.kept < 0.9


def test_identical_features_are_alike_in_any_coordinates(graph):
    model = build(graph)
    metamer = ml.nullspace_metamer(model, graph)
    seen = visible_likeness(model, replace(metamer, graph=graph))
    assert seen.visible_cosine == pytest.approx(1) and seen.rise == pytest.approx(1 - _start_likeness(metamer))
    # Where the start is the reference itself there is nothing to keep.
    same = visible_likeness(model, replace(metamer, graph=graph, start=graph))
    assert same.visible_cosine == pytest.approx(1) and same.kept != same.kept and same.rise == pytest.approx(0)


def _start_likeness(metamer):
    return feature_cosine(metamer.start.x, metamer.reference.x).mean


def test_a_model_that_sees_every_direction_is_measured_against_the_reference_itself(graph):
    model = build(graph, hidden_channels=4 * graph.num_features)
    metamer = ml.find_metamer(model, graph, layer=1, rtol=1e-6)
    seen = visible_likeness(model, metamer)
    assert seen.visible_rank == graph.num_features and seen.feature_cosine_nullspace == pytest.approx(1)
    begun = _start_likeness(metamer)
    assert seen.kept == pytest.approx((feature_cosine(metamer.graph.x, graph.x).mean - begun) / (1 - begun))


class Rough(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.linear = nn.Linear(channels, 2, dtype=torch.float64)

    def forward(self, x):
        return self.linear(x) + x.square().sum(1, keepdim=True)


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def forward(self, x):
        return self.scale * x[:, :2]


@pytest.mark.parametrize(("model", "said"), [(Rough(32), "in another way"), (Bare(), "no linear map")])
def test_a_model_without_visible_coordinates_gets_a_reason(model, said, graph):
    metamer = ml.find_metamer(model, graph, layer=model, max_steps=3)
    seen = visible_likeness(model, metamer)
    assert said in seen.visible_reason
    assert all(value != value for name, value in seen._asdict().items() if name != "visible_reason")
    scores = ml.compare(model, metamer, null_draws=2)
    assert scores["visible_reason"] == seen.visible_reason and scores["kept"] != scores["kept"]


def test_comparison_holds_the_same_numbers_with_start_and_shuffled_beside(graph):
    model = build(graph)
    metamer = ml.find_metamer(model, graph, layer=2, max_steps=40)
    scores, seen = ml.compare(model, metamer, null_draws=2), visible_likeness(model, metamer)
    for name in ("visible_cosine", "visible_cosine_start", "kept", "rise", "visible_rank", "visible_reason"):
        assert scores[name] == getattr(seen, name), name
    space = row_space(model, graph.num_features)
    partners = torch.arange(len(graph.x)).roll(3)
    moved = likeness_in(space, metamer, partners=partners).visible_cosine_shuffled
    assert moved == visible_cosine(metamer.graph.x, graph.x[partners], space.basis)
    assert scores["rise"] == pytest.approx(scores["feature_cosine"] - scores["feature_cosine_start"])
    assert scores["visible_cosine_shuffled"] < scores["visible_cosine"]


def test_only_free_rows_count(graph):
    model = build(graph)
    free = torch.arange(5)
    metamer = ml.find_metamer(model, graph, layer=2, free_nodes=free, nodes=free, max_steps=10)
    seen = visible_likeness(model, metamer)
    space = row_space(model, graph.num_features)
    assert seen.visible_cosine == visible_cosine(metamer.graph.x, graph.x, space.basis, rows=free)
    assert seen.rise == pytest.approx(
        feature_cosine(metamer.graph.x[free], graph.x[free]).mean
        - feature_cosine(metamer.start.x[free], graph.x[free]).mean
    )
