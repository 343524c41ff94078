"""The model is examined once on the reference before a search."""

import pytest
import torch
import torch_geometric.nn as gnn
from torch import nn
from torch.nn.functional import dropout

import metamerlib as ml
from metamerlib.probing.examination import examine
from metamerlib.probing.probe import Probe
from metamerlib.search.features.problem import Coupled
from tests.helpers.metamers import WIDTH


class Base(nn.Module):
    def __init__(self, between=None):
        super().__init__()
        torch.manual_seed(2)
        self.first, self.between, self.second = gnn.GCNConv(WIDTH, 6), between or nn.Identity(), gnn.GCNConv(6, 3)
        self.double()

    def forward(self, x, edge_index):
        return self.second(self.between(self.first(x, edge_index)).tanh(), edge_index)


class Random(Base):
    def forward(self, x, edge_index):
        return self.second(dropout(self.first(x, edge_index), 0.4), edge_index)


class Switched(Base):
    @torch.no_grad()
    def forward(self, x, edge_index):
        return super().forward(x, edge_index)


class Detached(Base):
    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).detach(), edge_index)


class Constant(Base):
    def forward(self, x, edge_index):
        return self.second(x.new_ones(len(x), 6), edge_index)


class Counts(Base):
    """Changes its own buffer with every pass, in evaluation mode too."""

    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x, edge_index):
        self.passes += 1
        return super().forward(x * self.passes, edge_index)


REFUSED = {
    "random": (Random, r"differ by .* of layer 'second': it draws random numbers"),
    "counts": (Counts, "random numbers or changes its own state"),
    "no_grad": (Switched, "follows the features, but .*gradients are switched off"),
    "detach": (Detached, "gradients are switched off"),
    "constant": (Constant, "'second' does not depend on the features"),
}


@pytest.mark.parametrize("kind, text", REFUSED.values(), ids=REFUSED)
def test_models_that_are_no_function_to_search_are_refused(kind, text, graph):
    with pytest.raises(ValueError, match=text):
        ml.find_metamer(kind(), graph, layer="second")
    if kind not in (Constant, Switched):
        with pytest.raises(ValueError, match=text):
            ml.find_metamers(kind(), [graph, graph], layer="second")


def test_a_constant_layer_is_good_enough_where_only_edges_vary(graph):
    probe = Probe(Constant(), "second")
    probe.check(graph)
    examine(probe, graph, features=False)


def test_a_copy_that_differs_from_the_model_is_refused(graph):
    model = Base()
    scale = {"model": model}
    model.factor = 2.0
    model.between.register_forward_hook(lambda module, args, output: output * scale["model"].factor)
    model.train()
    probe = Probe(model, "second")
    probe.check(graph)
    examine(probe, graph)
    probe.model.first.lin.weight.mul_(1.5)
    with pytest.raises(ValueError, match=r"copy of the model differs from the model itself by .*hooks"):
        examine(probe, graph)


class Remembers(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))
        self.first.cached, self.history = True, [1]

    def forward(self, x, edge_index):
        self.seen += 1
        self.last = self.first(x, edge_index)
        self.history.append(2)
        return self.second(self.last.tanh(), edge_index)


def test_the_model_and_the_random_numbers_are_left_as_they_were(graph):
    model, numbers = Remembers().train(), torch.get_rng_state()
    probe = Probe(model, "second")
    probe.check(graph)
    examine(probe, graph)
    assert model.training and model.seen == 0 and model.history == [1] and not hasattr(model, "last")
    assert model.first._cached_edge_index is None and model.first.cached
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), numbers)


COUPLED = {
    "pair norm": lambda: Base(gnn.PairNorm()),
    "graph norm": lambda: Base(gnn.GraphNorm(6)),
    "layer norm of a graph": lambda: Base(gnn.LayerNorm(6, mode="graph")),
    "batch statistics": lambda: Base(nn.BatchNorm1d(6, track_running_stats=False)),
}


@pytest.mark.parametrize("make", COUPLED.values(), ids=COUPLED)
def test_coupled_starts_run_one_after_the_other(make, graph):
    model = make()
    options = {"layer": "second", "seed": 4, "max_steps": 150}
    one, several = (ml.find_metamer(model, graph, num_restarts=n, **options) for n in (1, 3))
    assert several.loss <= one.loss * 1.001 and several.status in (one.status, "converged")
    assert several.history["loss"].min() == pytest.approx(several.loss, rel=0.1)
    with pytest.raises(ValueError, match="couples the graphs"):
        ml.find_metamers(model, [graph, graph], layer="second")


def test_models_tied_to_the_number_of_nodes_take_several_starts(graph):
    torch.manual_seed(0)
    model = gnn.LINKX(graph.num_nodes, WIDTH, 8, 3, num_layers=2).double().eval()
    m = ml.find_metamer(model, graph, layer="final_mlp", num_restarts=2, max_steps=80)
    assert m.status in ("converged", "stalled", "max_steps") and issubclass(Coupled, ValueError)
