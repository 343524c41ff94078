"""Activations of one's own in place of the reference's."""

import pytest
import torch

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.probing.probe import Probe
from tests.helpers.metamers import WIDTH, check_honest, features, gnn


def model_of(**changes):
    return gnn(**changes)


def test_the_activation_of_another_graph_is_reached(graph):
    model, other = model_of(), with_features(graph, features(7, graph.num_nodes))
    wanted = Probe(model, 1)(other).activation.detach()
    for target in (wanted, other):
        m = ml.find_metamer(model, graph, layer=1, target=target)
        assert m.status == "converged" and m.loss <= 1e-4
        torch.testing.assert_close(m.target, wanted)
        found = Probe(model, 1)(m.graph).activation
        assert float((found - wanted).square().sum() / wanted.square().sum()) == pytest.approx(m.loss, rel=1e-6)
    assert m.settings["target"] == "graph" and "target" not in ml.find_metamer(model, graph, layer=1).settings


def test_a_mean_of_two_rows_at_chosen_nodes(graph):
    model = model_of()
    h = Probe(model, 2)(graph).activation.detach()
    m = ml.find_metamer(model, graph, layer=2, nodes=[0, 3], target=h[[0, 3]].mean(0).expand(2, -1))
    assert m.status == "converged" and m.target.shape == (2, h.size(1))


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_unreachable_targets_end_honestly(solver, graph):
    model = model_of()
    wanted = -Probe(model, 1)(graph).activation.detach() - 1
    m = ml.find_metamer(model, graph, layer=1, target=wanted, solver=solver, max_steps=200, stall_rtol=1e-3)
    assert m.status in ("stalled", "max_steps") and m.loss > 0.9
    assert m.loss == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    "options",
    [
        {"values": "binary"},
        {"vary": "structure"},
        {"vary": "structure", "values": "weighted"},
        {"vary": "both"},
    ],
)
def test_every_kind_of_search_takes_a_target(options):
    graph = ml.load_graph("karate").clone()
    torch.manual_seed(0)
    model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
    generator = torch.Generator().manual_seed(1)
    x = graph.x[torch.randperm(34, generator=generator)]
    wanted = Probe(model, 1)(with_features(graph, x)).activation.detach()
    m = ml.find_metamer(model, graph, layer=1, target=wanted, max_steps=60, **options)
    assert torch.equal(m.target, wanted) and m.status in ("converged", "stalled", "max_steps")
    found = Probe(model, 1)(m.graph).activation
    assert float((found - wanted).square().sum() / wanted.square().sum()) == pytest.approx(m.loss, rel=1e-3)


def test_targets_that_do_not_fit(graph):
    model, h = model_of(), Probe(model_of(), 1)(graph).activation.detach()
    bad = h.clone()
    bad[0, 0] = torch.nan
    small = ml.load_graph("karate")
    for target, error, text in [
        (h[:2], ValueError, r"target has shape \[2, .*expected \["),
        (h.float(), TypeError, r"target is torch.float32 but the layer is torch.float64"),
        (bad, ValueError, "target holds NaN"),
        (torch.zeros_like(h), ValueError, "target is zero"),
        ("mean", TypeError, "target must be a tensor .* or a graph, got str"),
        (small, ValueError, "target is a graph with features"),
    ]:
        with pytest.raises(error, match=text):
            ml.find_metamer(model, graph, layer=1, target=target)


def test_the_reference_may_be_silent_where_a_target_is_given(graph):
    model = model_of(num_layers=1)
    silent = with_features(graph, torch.zeros_like(graph.x))
    h = Probe(model, 1)(graph).activation.detach()
    m = ml.find_metamer(model, silent, layer=1, target=h, start=features(3, graph.num_nodes))
    assert m.target.shape == h.shape and m.loss < 1
    check_honest(model, ml.find_metamer(model, graph, layer=1), 1)
    assert graph.x.size(1) == WIDTH
