"""Models that raise in mid-call, and interrupted calls: no hook, mode, gradient or number is left changed."""

import copy

import pytest
import torch
from torch import nn
from torch_geometric.nn import GCNConv

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from tests.helpers.calls import calls

GRAPH = ml.load_graph("davis")
GRAPH = with_features(GRAPH, (GRAPH.x > 0).float())
CALLS = (0, 1, 2, 3, 5, 8, 13, 21, 34)


class Fuse(nn.Module):
    """Raises at a certain call, counted over all copies."""

    left = 10**9

    def __init__(self, error):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.act, self.drop = GCNConv(GRAPH.num_features, 8), nn.ReLU(), nn.Dropout(0.5)
        self.last, self.error = GCNConv(8, 2), error
        self.register_buffer("count", torch.zeros(3))

    def forward(self, x, edge_index, edge_weight=None):
        Fuse.left -= 1
        h = self.act(self.conv(x, edge_index, edge_weight))
        if Fuse.left < 0:
            raise self.error("fuse")
        return self.last(self.drop(h), edge_index, edge_weight)


def compare(model):
    left, Fuse.left = Fuse.left, 10**9
    found = ml.find_metamer(model, GRAPH, layer="conv", max_steps=3)
    Fuse.left = left
    return ml.compare(model, found, null_draws=4)


CALLED = {**calls(GRAPH, layer="conv", epochs=5, max_steps=30, rtol=1e-12), "compare": compare}


def state(model):
    """Return all that a call is to leave as it was."""
    hooks = [
        len(getattr(part, name))
        for part in model.modules()
        for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_state_dict_hooks")
    ]
    modes = [part.training for part in model.modules()]
    values = [value.clone() for value in model.state_dict().values()]
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    asks = [p.requires_grad for p in model.parameters()]
    world = [torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_rng_state(), torch.get_num_threads()]
    held = [GRAPH.x.clone(), GRAPH.edge_index.clone(), sorted(GRAPH.keys())]
    return hooks, modes, values, grads, asks, world, held


def same(one, two):
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError], ids=lambda error: error.__name__)
@pytest.mark.parametrize("name", CALLED)
def test_nothing_is_left_after_an_exception(name, error, record_property):
    model = Fuse(error)
    model.train(), model.act.eval()
    handle = model.conv.register_forward_hook(lambda *_: None)
    model.conv.bias.grad = torch.ones(8)
    before, raised = copy.deepcopy(state(model)), 0
    for left in CALLS:
        Fuse.left = left
        try:
            CALLED[name](model)
        except (error, ValueError) as found:  # a model that fails on the reference is refused in words
            assert str(found)
            raised += 1
        finally:
            Fuse.left = 10**9
        assert same(state(model), before), left
    handle.remove()
    record_property("cases", len(CALLS))
    assert raised
