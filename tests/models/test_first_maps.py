import pytest
import torch
from torch import nn
from torch_geometric.nn import Linear

import metamerlib as ml
from metamerlib.models.first_maps import first_linear_maps


@pytest.mark.parametrize(
    ("conv", "count"), [("gcn", 1), ("sage", 2), ("gatv2", 2), ("cheb", 2), ("gin", 1), ("mlp", 1)]
)
def test_every_branch_counts(conv, count):
    model = ml.GNN(conv=conv, in_channels=7, hidden_channels=5, out_channels=3, num_layers=3)
    assert [linear.weight.size(1) for linear in first_linear_maps(model, 7)] == [7] * count


def test_a_map_without_a_width_yet_is_left_out():
    model = nn.Sequential(Linear(-1, 4), nn.Linear(7, 2))
    assert first_linear_maps(model, 7) == [model[1]]
    assert first_linear_maps(nn.Sequential(nn.Linear(2, 7)), 7) == []
    assert torch.equal(first_linear_maps(model, 7)[0].weight, model[1].weight)
