"""What the tests of metamers share: a small model, random features, and the loss by its definition."""

import math

import pytest
import torch
from torch import nn

import metamerlib as ml
from metamerlib.probing.probe import Probe

WIDTH = 40


def features(seed=0, rows=34, width=WIDTH):
    return torch.randn(rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gnn(**changes):
    torch.manual_seed(0)
    sizes = dict(conv="gcn", in_channels=WIDTH, hidden_channels=8, out_channels=3, num_layers=2)
    return ml.GNN(**{**sizes, **changes}).double()


def loss_of(model, m, layer):
    """Return the loss by its definition, with nothing but the model and the graphs."""
    found, wanted = (Probe(model, layer)(g).activation for g in (m.graph, m.reference))
    if m.nodes is not None:
        found, wanted = found[m.nodes], wanted[m.nodes]
    return ((found - wanted).square().sum() / wanted.square().sum()).item()


def check_honest(model, m, layer, rtol=1e-4):
    assert m.loss == pytest.approx(loss_of(model, m, layer), rel=1e-6, abs=1e-28)
    assert m.relative_error == math.sqrt(m.loss)
    assert (m.status == "converged") == (m.loss <= rtol)
    assert m.status in ("converged", "stalled", "max_steps")
    difference = (m.activation - m.target).square().sum() / m.target.square().sum()
    assert difference.item() == pytest.approx(m.loss, rel=1e-6, abs=1e-28)
    assert m.loss <= m.history.loss.min() * (1 + 1e-6) + 1e-28
    assert torch.equal(m.graph.edge_index, m.reference.edge_index)


class Narrow(nn.Module):
    """Not a number where the features are far from the reference."""

    def __init__(self, limit):
        super().__init__()
        self.lin, self.limit = nn.Linear(WIDTH, 8), limit

    def forward(self, x, edge_index):
        return torch.where(x.norm() > self.limit, torch.nan, self.lin(x))
