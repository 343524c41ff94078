"""Searches in trouble: numbers out of range, values that are not numbers, nothing to vary, the caller's modes."""

import copy
import math

import pytest
import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GCNConv

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from tests.helpers.bits import bit_graph
from tests.helpers.metamers import WIDTH, features, gnn, loss_of

KARATE = with_features(ml.load_graph("karate").clone(), features())
BITS = bit_graph()
KINDS = {
    "features": {},
    "adam": dict(solver="adam"),
    "bits": dict(values="binary"),
    "edges": dict(vary="structure"),
    "weighted": dict(vary="structure", values="weighted"),
    "both": dict(vary="both"),
    "bits and weights": dict(vary="both", values=("binary", "weighted")),
}


def find(kind, model, *, layer=1, max_steps=24, graph=None, **options):
    graph = graph or (BITS if kind.startswith("bits") else KARATE)
    if kind == "many":
        return ml.find_metamers(model, [graph, graph], layer=layer, max_steps=max_steps, **options)[1]
    return ml.find_metamer(model, graph, layer=layer, max_steps=max_steps, **KINDS[kind], **options)


class Scaled(nn.Module):
    def __init__(self, scale):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.scale = GCNConv(WIDTH, 8), scale

    def forward(self, x, edge_index, edge_weight=None):
        return self.conv(x, edge_index, edge_weight) * self.scale


@pytest.mark.parametrize("kind", ["features", "bits", "edges", "weighted", "many"])
@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_target_whose_squares_tell_nothing_is_refused(kind, scale):
    model = Scaled(scale).double()
    with pytest.raises(ValueError, match=rf"target has norm \d\.\de{'[+]' if scale > 1 else '-'}.*scale the features"):
        find(kind, model, layer=model)


@pytest.mark.parametrize("scale", [1e100, 1e-100])
def test_large_and_small_targets_within_the_range_are_matched(scale):
    model = Scaled(scale).double()
    m = find("features", model, layer=model, max_steps=400)
    assert m.status == "converged" and m.loss == pytest.approx(loss_of(model, m, ""), rel=1e-6)


@pytest.mark.parametrize("scale", [1e25, 1e-25])
def test_single_precision_is_told_of_double(scale):
    graph, model = with_features(KARATE, KARATE.x.float()), Scaled(scale)
    with pytest.raises(ValueError, match="or use float64"):
        find("features", model, layer=model, graph=graph)


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_given_target_out_of_range_is_refused(scale):
    with pytest.raises(ValueError, match="the target has norm"):
        find("features", gnn(), target=torch.full((34, 8), scale, dtype=torch.float64))


@pytest.mark.parametrize("kind", [*KINDS, "many"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_refused_in_words(kind, dtype):
    graph = BITS if kind.startswith("bits") else KARATE
    graph = with_features(graph, graph.x.to(dtype))
    with pytest.raises(TypeError, match=r"computes in torch\.b?float16.*model\.float\(\)"):
        find(kind, gnn().to(dtype), graph=graph)


class Tired(nn.Module):
    """Not a number from a certain call on."""

    def __init__(self, calls):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.left = GCNConv(WIDTH, 8), calls

    def forward(self, x, edge_index, edge_weight=None):
        self.left -= 1
        h = self.conv(x, edge_index, edge_weight)
        return h if self.left > 0 else h * torch.nan


@pytest.mark.parametrize(
    ("kind", "calls"),
    [(kind, calls) for kind in ("features", "adam", "bits", "edges", "many") for calls in (20, 40)]
    + [("weighted", 40), ("weighted", 60), ("both", 120), ("bits and weights", 200)],
)
def test_best_graph_is_kept_where_the_model_ends_in_nan(kind, calls):
    model = Tired(calls).double()
    m = find(kind, model, layer=model, max_steps=5 * calls, rtol=1e-20)
    assert m.history.loss.isna().any()
    assert m.status == "non_finite" or (calls > 100 and m.status == "max_steps")  # that of the best of several turns
    assert math.isfinite(m.loss) and m.loss == pytest.approx(m.history.loss.min(), rel=1e-6)
    assert m.loss <= m.history.loss[0]


def star(leaves=8):
    hub, ends = torch.zeros(leaves, dtype=torch.long), torch.arange(1, leaves + 1)
    edges = torch.stack([hub, ends])
    return Data(x=features(rows=leaves + 1), edge_index=torch.cat([edges, edges.flip(0)], 1))


CONSTANT = with_features(KARATE, torch.ones_like(KARATE.x))
ONE = Data(x=features(rows=1), edge_index=torch.zeros(2, 0, dtype=torch.long))


@pytest.mark.parametrize(
    ("kind", "graph", "options"),
    [
        ("features", ONE, {}),
        ("adam", ONE, {}),
        ("features", CONSTANT, {}),
        ("bits", CONSTANT, {}),
        ("many", CONSTANT, {}),
        ("edges", star(), {"start": "configuration"}),
        ("edges", KARATE, {"budget": 1}),
    ],
)
def test_search_that_cannot_leave_the_reference_says_so(kind, graph, options):
    m = find(kind, gnn(), graph=graph, **options)
    assert m.status == "unmoved" and m.loss == 0
    assert "began at the reference itself" in m.settings["unmoved"] and "give start=" in m.settings["unmoved"]


@pytest.mark.parametrize("kind", ["edges", "weighted", "both"])
def test_full_graphs_have_no_other_edges(kind):
    full = Data(x=features(rows=6), edge_index=(1 - torch.eye(6)).nonzero().T.contiguous())
    with pytest.raises(ValueError, match="15 of 15 possible edges"):
        find(kind, gnn(), graph=full)


def test_reference_that_was_asked_for_is_returned():
    m = find("features", gnn(), start="reference")
    assert m.status == "converged" and torch.equal(m.graph.x, KARATE.x)
    assert find("both", gnn(), graph=CONSTANT).loss > 0


MODES = {
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize("kind", [*KINDS, "many"])
@pytest.mark.parametrize("mode", MODES)
def test_modes_of_the_caller_do_not_reach_the_search(kind, mode):
    plain = find(kind, gnn(), max_steps=8)
    with MODES[mode]():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
        graph = copy.copy(BITS if kind.startswith("bits") else KARATE)
        graph.x = graph.x.clone()  # made in the caller's mode
        m = find(kind, gnn(), max_steps=8, graph=graph)
        assert before == (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
        )
    assert (m.loss, m.status, m.steps) == (plain.loss, plain.status, plain.steps)
    assert torch.equal(m.graph.x, plain.graph.x) and torch.equal(m.graph.edge_index, plain.graph.edge_index)
