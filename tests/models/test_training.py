import math
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.nn.models import GCN

import metamerlib as ml
from metamerlib.models.convolutions import CONVOLUTIONS
from metamerlib.models.training import accuracy, reset_parameters

CORA = Path(os.environ.get("METAMERLIB_DATA", "no-such-folder")) / "Cora" / "raw"


def gnn(graph, **changes):
    sizes = dict(conv="gcn", in_channels=graph.num_features, hidden_channels=16, out_channels=4, num_layers=2)
    return ml.GNN(**{**sizes, **changes})


@pytest.fixture(scope="module")
def graph():
    return ml.load_graph("bow-sbm")


def same(a, b):
    return all(torch.equal(p, b.state_dict()[name]) for name, p in a.state_dict().items())


@pytest.mark.skipif(not CORA.is_dir(), reason="METAMERLIB_DATA has no Cora/raw")
@pytest.mark.slow
def test_cora_gcn_reaches_the_known_accuracy():
    cora = ml.load_graph("Cora")
    model = gnn(cora, hidden_channels=64, out_channels=7)
    shares = [ml.train(model, cora, seed=seed).test_accuracy for seed in range(5)]
    assert sum(shares) / 5 >= 0.80


def test_same_seed_same_weights_and_nothing_else_touched(graph):
    model = gnn(graph, norm="batch").train()
    before = {name: p.clone() for name, p in model.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first, again, other = (ml.train(model, graph, epochs=5, seed=seed).model for seed in (0, 0, 1))
    assert same(first, again) and not same(first, other)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1]) and random.getstate() == states[2]
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())
    assert model.training and all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not first.training and all(p.grad is None and p.requires_grad for p in first.parameters())


def test_fresh_does_not_depend_on_the_weights_given_and_keep_does(graph):
    a, b = gnn(graph), gnn(graph)
    assert not same(a, b)
    fresh = [ml.train(m, graph, epochs=3).model for m in (a, b)]
    kept = [ml.train(m, graph, epochs=3, init="keep").model for m in (a, b)]
    assert same(*fresh) and not same(*kept)
    moved = (kept[0].layers[0].conv.lin.weight - a.layers[0].conv.lin.weight).abs().max()
    assert 0 < moved < 0.1


def test_kept_epoch_has_the_least_validation_loss(graph):
    fit = ml.train(gnn(graph), graph, epochs=40)
    assert list(fit.history.columns) == ["epoch", "train_loss", "val_loss", "val_accuracy"]
    best = fit.history.loc[fit.history.val_loss.idxmin()]
    assert best.epoch == fit.best_epoch and best.val_accuracy == fit.val_accuracy
    logits = fit.model(graph.x, graph.edge_index)
    loss = nn.functional.cross_entropy(logits[graph.val_mask], graph.y[graph.val_mask])
    assert loss.item() == pytest.approx(best.val_loss, rel=1e-5)


def test_training_stops_when_validation_stops_improving(graph):
    fit = ml.train(gnn(graph), graph, epochs=500, patience=5, learning_rate=0.1)
    assert len(fit.history) == fit.best_epoch + 5
    assert len(ml.train(gnn(graph), graph, epochs=60, patience=None, learning_rate=0.1).history) == 60


def test_without_validation_the_training_loss_decides(graph):
    bare = graph.clone()
    del bare.val_mask
    bare.test_mask = torch.zeros(400, dtype=torch.bool)
    fit = ml.train(gnn(graph), bare, epochs=5)
    assert math.isnan(fit.val_accuracy) and math.isnan(fit.test_accuracy) and fit.train_accuracy > 0
    assert fit.best_epoch == fit.history.train_loss.argmin() + 1


def test_accuracy_by_hand():
    graph = ml.load_graph("davis").clone()
    graph.y = torch.zeros(32, dtype=torch.long)
    logits = torch.tensor([[1.0, 0.0]] * 24 + [[0.0, 1.0]] * 8)
    graph.test_mask = torch.arange(32) >= 16
    assert accuracy(logits, graph, "test_mask") == 0.5


@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_every_convolution_learns(conv, graph):
    fit = ml.train(gnn(graph, conv=conv), graph, epochs=30)
    assert fit.train_accuracy > 0.8
    dense = fit.model(graph.x, graph.edge_index)
    sparse = fit.model(graph.x.to_sparse_coo(), graph.edge_index)
    torch.testing.assert_close(sparse, dense, rtol=1e-4, atol=1e-4)


def test_foreign_models_are_trained(graph):
    fit = ml.train(GCN(600, 16, 2, 4), graph, epochs=30)
    assert isinstance(fit.model, GCN) and fit.test_accuracy > 0.4


def test_trained_copy_forgets_the_adjacency_of_another_graph(graph):
    model = GCN(600, 16, 2, 4, cached=True).eval()
    model(torch.zeros(3, 600), torch.tensor([[0, 1], [1, 0]]))
    assert ml.train(model, graph, epochs=30).test_accuracy > 0.4


def test_models_that_cannot_be_drawn_anew_are_refused_unless_kept(graph):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(600, 4))

        def forward(self, x, edge_index):
            return x @ self.weight

    with pytest.raises(ValueError, match=r"no way to draw \['Scaled'\] anew.*init='keep'"):
        ml.train(Scaled(), graph, epochs=1)
    assert ml.train(Scaled(), graph, epochs=2, init="keep").best_epoch == 2


def test_reset_parameters_of_a_plain_sequence():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    before = model[2].weight.clone()
    reset_parameters(model)
    assert not torch.equal(before, model[2].weight)


def drop_labels(g):
    g.y = None


def drop_mask(g):
    del g.train_mask


def empty_mask(g):
    g.train_mask = torch.zeros(400, dtype=torch.bool)


def short_labels(g):
    g.y = g.y[:10]


def float_labels(g):
    g.y = g.y.float()


def matrix_mask(g):
    g.train_mask = g.train_mask[:, None].expand(-1, 10)


@pytest.mark.parametrize(
    "spoil, error, text",
    [
        (drop_labels, ValueError, "needs y and a train_mask"),
        (drop_mask, ValueError, "needs y and a train_mask"),
        (empty_mask, ValueError, "train_mask with a True entry"),
        (short_labels, ValueError, r"\[400\], got \[10\]"),
        (float_labels, TypeError, "y must be torch.long, got torch.float32"),
        (matrix_mask, ValueError, r"train_mask must be bool \[400\], got torch.bool \[400, 10\]"),
    ],
)
def test_graphs_that_cannot_be_learnt_from(spoil, error, text, graph):
    bad = graph.clone()
    spoil(bad)
    with pytest.raises(error, match=text):
        ml.train(gnn(graph), bad, epochs=1)


@pytest.mark.parametrize(
    "options, error, text",
    [
        ({"epochs": 0}, ValueError, "epochs must be positive"),
        ({"epochs": 2.5}, TypeError, "epochs must be a positive integer, got 2.5"),
        ({"patience": -1}, ValueError, "patience must be positive and finite, got -1"),
        ({"learning_rate": -0.1}, ValueError, "learning_rate must be positive and finite, got -0.1"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay"),
        ({"init": "warm"}, ValueError, "unknown init 'warm'.*fresh.*keep"),
        ({"adversarial": "prbcd"}, ValueError, "unknown adversarial 'prbcd'"),
    ],
)
def test_options_out_of_range(options, error, text, graph):
    with pytest.raises(error, match=text):
        ml.train(gnn(graph), graph, **options)
