"""Models without a slope, with steps, cliffs and saturated units: every search ends in time with its best graph."""

import math

import pytest
import torch
from torch import nn
from torch_geometric.nn import GCNConv

import metamerlib as ml
from metamerlib.graphs.edit import with_features

GRAPH = ml.load_graph("davis")
GRAPH = with_features(GRAPH, (GRAPH.x > 0).double())
STATUSES = ("converged", "stalled", "max_steps", "non_finite", "unmoved")
SHAPES = {
    "steps": torch.round,
    "fine steps": lambda z: torch.round(100 * z) / 100,
    "signs": torch.sign,
    "saturated": lambda z: torch.tanh(1000 * z),
    "dead": lambda z: torch.relu(z - 0.5),
    "cliff": lambda z: torch.where(z > 0, z + 1000, z),
    "exponential": lambda z: torch.exp(5 * z),
    "reciprocal": lambda z: 1 / (z - 0.1),
    "root": lambda z: z.abs().sqrt(),
    "logarithm": lambda z: z.abs().log(),
    "flat": lambda z: 0 * z + 1 + 1e-9 * z,
    "huge": lambda z: 1e100 * z,
    "tiny": lambda z: 1e-100 * z,
    "noise": lambda z: z + 1e-3 * torch.sin(1e6 * z),
}
SEARCHES = {
    "features": {},
    "adam": dict(solver="adam"),
    "bits": dict(values="binary"),
    "ste": dict(values="binary", solver="ste"),
    "edges": dict(vary="structure"),
    "dense edges": dict(vary="structure", solver="ste"),
    "weighted": dict(vary="structure", values="weighted"),
    "both": dict(vary="both"),
    "restarts": dict(num_restarts=3),
}


class Shaped(nn.Module):
    def __init__(self, shape):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.shape = GCNConv(GRAPH.num_features, 6).double(), SHAPES[shape]

    def forward(self, x, edge_index, edge_weight=None):
        return self.shape(self.conv(x, edge_index, edge_weight))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SEARCHES)
def test_every_search_ends_with_its_best_graph(name, shape):
    model = Shaped(shape)
    try:
        found = ml.find_metamer(model, GRAPH, layer=model, max_steps=60, **SEARCHES[name])
    except ValueError as error:
        assert len(str(error)) > 40  # refused in words: no slope anywhere, a target out of range
        return
    assert found.status in STATUSES and found.steps <= 60 * 3 + 3
    with torch.no_grad():
        h, wanted = model(found.graph.x, found.graph.edge_index, found.graph.get("edge_weight")), found.target
    loss = float((h - wanted).square().sum() / wanted.square().sum())
    assert (math.isnan(found.loss) and found.status == "non_finite") or found.loss == pytest.approx(loss, rel=1e-6)
    finite = found.history.loss[found.history.loss.map(math.isfinite)]
    assert len(finite) == 0 or found.loss <= finite.iloc[0] * (1 + 1e-9)
