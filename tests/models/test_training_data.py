import copy
import math

import pytest
import torch
from torch import nn

import metamerlib as ml
from metamerlib.graphs.collection import split_graphs, union_of
from metamerlib.models.training_data import graph_lesson
from tests.helpers.graphs import gnn, rings_and_stars


def same(a, b):
    return all(torch.equal(p, b.state_dict()[name]) for name, p in a.state_dict().items())


def degree_graphs(count=40):
    """Return rings and stars whose first feature is the degree."""
    graphs = rings_and_stars(count)
    for graph in graphs:
        graph.x[:, 0] = graph.edge_index[0].bincount()
    return graphs


@pytest.mark.parametrize("conv", ["gcn", "gin", "sage"])
def test_stars_are_told_from_rings(conv):
    fit = ml.train(gnn(conv=conv, pool="mean", dropout=0.0), degree_graphs(30), epochs=30)
    assert fit.train_accuracy > 0.9 and fit.test_accuracy > 0.6


@pytest.mark.parametrize("batch_size", [None, 8])
def test_same_seed_same_weights_and_nothing_else_touched(batch_size):
    model, graphs = gnn(norm="batch").train(), degree_graphs(20)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    runs = [ml.train(model, graphs, epochs=4, seed=seed, batch_size=batch_size).model for seed in (0, 0, 1)]
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2])
    assert torch.equal(torch.get_rng_state(), state) and "train_mask" not in graphs[0] and model.training
    assert all(torch.equal(p, before[name]) for name, p in model.state_dict().items())


def test_fresh_does_not_depend_on_the_weights_given_and_keep_does():
    a, b, graphs = gnn(), gnn(), degree_graphs(20)
    b.reset_parameters()
    assert same(*(ml.train(m, graphs, epochs=3).model for m in (a, b)))
    assert not same(*(ml.train(m, graphs, epochs=3, init="keep").model for m in (a, b)))


def test_kept_epoch_has_the_least_validation_loss():
    graphs = split_graphs(degree_graphs(), seed=0)
    fit = ml.train(gnn(), graphs, epochs=12)
    best = fit.history.loc[fit.history.val_loss.idxmin()]
    assert best.epoch == fit.best_epoch and best.val_accuracy == fit.val_accuracy
    held_out = [g for g in graphs if g.val_mask]
    union = union_of(held_out)
    logits = fit.model(union.x, union.edge_index, batch=union.batch)
    assert nn.functional.cross_entropy(logits, union.y).item() == pytest.approx(best.val_loss, rel=1e-9)
    hits = [int(fit.model(g.x, g.edge_index).argmax()) == int(g.y) for g in graphs if g.test_mask]
    assert fit.test_accuracy == sum(hits) / len(hits)


def test_split_is_stratified_seeded_and_the_default():
    graphs = degree_graphs()
    parts = split_graphs(graphs, seed=3)
    for name, count in (("train_mask", 12), ("val_mask", 4), ("test_mask", 4)):
        labels = [int(g.y) for g in parts if g[name]]
        assert labels.count(0) == labels.count(1) == count
    assert all(int(g.train_mask) + int(g.val_mask) + int(g.test_mask) == 1 for g in parts)
    assert same(*(ml.train(gnn(), given, epochs=2, seed=3).model for given in (graphs, parts)))
    assert [bool(g.train_mask) for g in split_graphs(graphs, seed=4)] != [bool(g.train_mask) for g in parts]


def test_batches_hold_every_training_graph_once():
    lesson = graph_lesson(gnn(), degree_graphs(), seed=0, batch_size=7)
    sizes = [len(batch.y) for batch in lesson.batches()]
    assert sizes == [7, 7, 7, 3] and sum(int(batch.train_mask.sum()) for batch in lesson.batches()) == 24
    (whole,) = graph_lesson(gnn(), degree_graphs(), seed=0, batch_size=None).batches()
    assert len(whole.y) == 24 and whole.train_mask.all()


def test_only_training_graphs_move_the_statistics_of_a_norm():
    graphs, shifted = (split_graphs(degree_graphs(), seed=0) for _ in range(2))
    for graph in shifted:
        if not graph.train_mask:
            graph.x = graph.x + 100
    one, other = (ml.train(gnn(norm="batch"), given, epochs=1) for given in (graphs, shifted))
    assert same(one.model, other.model) and one.history.val_loss[0] != other.history.val_loss[0]


def test_without_validation_the_training_loss_decides():
    graphs = split_graphs(degree_graphs(20), train=1.0, val=0.0)
    fit = ml.train(gnn(), graphs, epochs=5)
    assert math.isnan(fit.val_accuracy) and math.isnan(fit.test_accuracy)
    assert fit.best_epoch == fit.history.train_loss.argmin() + 1


class Nodewise(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(6, 2).double()

    def forward(self, x, edge_index):
        return self.lin(x)


def spoil(name, value, place=1):
    graphs = degree_graphs(4)
    graphs[place][name] = value
    return graphs


@pytest.mark.parametrize(
    "graphs, error, text",
    [
        ([], ValueError, "list of graphs is empty"),
        (spoil("y", None), ValueError, r"graphs\[1\]: training needs one label y per graph, got none"),
        (spoil("y", torch.tensor([0, 1])), ValueError, r"graphs\[1\]: .*got \[2\]"),
        (spoil("y", torch.tensor([0.0])), TypeError, r"graphs\[1\]: y must be torch.long, got torch.float32"),
        (spoil("y", torch.tensor([5])), ValueError, "labels run from 0 to 5, but the model has 2 classes"),
        (spoil("train_mask", torch.tensor([True])), ValueError, r"graphs\[0\] has no train_mask, others have"),
        (split_graphs(degree_graphs(4), train=0.0, val=0.5), ValueError, "a graph whose train_mask is True"),
        (spoil("x", torch.ones(5, 3).double()), ValueError, r"graphs\[1\] has 3 features"),
    ],
)
def test_collections_that_cannot_be_learnt_from(graphs, error, text):
    with pytest.raises(error, match=text):
        ml.train(gnn(), graphs, epochs=1)


def test_models_and_options_that_do_not_fit():
    with pytest.raises(ValueError, match=r"outputs \[9, 2\] for 2 graphs, expected one row for each: pool over nodes"):
        ml.train(Nodewise(), degree_graphs(4), epochs=1)
    with pytest.raises(ValueError, match="batch_size must be positive"):
        ml.train(gnn(), degree_graphs(4), epochs=1, batch_size=0)
    with pytest.raises(ValueError, match="batch_size=8 divides a list of graphs"):
        ml.train(gnn(pool=None, in_channels=34, out_channels=4).float(), ml.load_graph("karate"), batch_size=8)
