import pytest
import torch
from torch import nn

import metamerlib as ml
from metamerlib.metrics.matching import activation_loss
from metamerlib.models import Ensemble
from tests.helpers.metamers import gnn


class Flat(nn.Module):
    def forward(self, x, edge_index):
        return x.sum(1)


def members():
    return [gnn(conv=conv) for conv in ("gcn", "sage", "cheb")]


def test_its_loss_is_the_mean_of_the_models_losses(graph):
    models, other = members(), graph.clone()
    other.x = graph.x.roll(1, 0)
    whole = Ensemble(models, graph)
    each = [activation_loss(m(other.x, other.edge_index), m(graph.x, graph.edge_index)) for m in models]
    assert activation_loss(whole(other), whole(graph)) == pytest.approx(sum(each) / 3)


def test_a_search_lowers_the_loss_of_each(graph):
    models = members()
    whole = Ensemble(models, graph)
    metamer = ml.find_metamer(whole, graph, layer=whole, max_steps=60)
    losses = [
        [activation_loss(model(each.x, each.edge_index), model(graph.x, graph.edge_index)) for model in models]
        for each in (metamer.graph, metamer.start)
    ]
    assert sum(losses[0]) / 3 == pytest.approx(metamer.loss)
    assert all(found < 0.5 * begun for found, begun in zip(*losses, strict=True))


def test_its_null_space_is_the_one_they_share(graph):
    models = [gnn(), gnn(conv="sage", hidden_channels=4)]
    whole = Ensemble(models, graph)
    trivial = ml.nullspace_metamer(whole, graph)
    assert trivial.settings["row_space"] == 8 + 2 * 4
    for model in models:
        assert torch.allclose(model(trivial.graph.x, graph.edge_index), model(graph.x, graph.edge_index))


@pytest.mark.parametrize(
    "models, message",
    [([], "holds 0 models; give 1"), ([Flat()], "gives no table of scores")],
)
def test_what_cannot_be_put_together_is_refused(graph, models, message):
    with pytest.raises(ValueError, match=message):
        Ensemble(models, graph)


def test_a_model_of_zeros_is_refused(graph):
    silent = gnn()
    for parameter in silent.parameters():
        nn.init.zeros_(parameter)
    with pytest.raises(ValueError, match="norms of the models' scores"):
        Ensemble([gnn(), silent], graph)
