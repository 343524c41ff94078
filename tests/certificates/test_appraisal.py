import pytest
import torch
from torch import nn
from torch_geometric.nn import GCNConv

import metamerlib as ml
from metamerlib.certificates.appraisal import COLUMNS, Setting, appraise, exact_share


def setting(layers=(None, None), **changed):
    plain = {"layers": layers, "seed": 0, "nodes": 3, "rtol": 1e-8, "max_steps": 300, "judges": None, "forward": None}
    return Setting(**plain | changed)


class Identity(nn.Module):
    """Gives the features as class scores."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Identity(), nn.Identity()

    def forward(self, x):
        return self.out(self.hidden(x))


def test_a_model_that_forgets_nothing_has_no_room():
    graph = ml.load_graph("csbm")
    row = appraise(Identity(), graph, ["features", "exact", "dimension", "volume"], setting(("hidden", None)))
    assert row["prediction_match"] == 1 and row["different"] == 0 and row["metamer"] == 0
    assert row["excess_features"] == pytest.approx(0, abs=1e-3)
    assert row["dimension_share"] == 0 and row["volume_per_unit"] == pytest.approx(0)
    assert row["exact_share"] == 1  # it does not read the edges
    assert set(COLUMNS) | {"seconds"} == set(row)


@pytest.mark.parametrize("classes", [2, 5])
def test_a_linear_map_has_the_dimension_and_the_volume_of_its_weights(classes):
    graph = ml.load_graph("csbm")
    model = nn.Linear(graph.num_features, classes)
    row = appraise(model, graph, ["features", "dimension", "volume"], setting())
    strength = torch.linalg.svdvals(model.weight.detach().double())
    assert row["dimension_share"] == pytest.approx(1 - classes / graph.num_features)
    assert row["volume_per_unit"] == pytest.approx(-float(strength.log().mean()))
    assert row["visible_share"] == pytest.approx(classes / graph.num_features)
    assert row["kept_logits"] == pytest.approx(1, abs=0.01)  # all that it sees is in the logits


def test_what_does_not_apply_is_missing_with_its_reason():
    graph = ml.load_graph("karate")
    row = appraise(nn.Linear(34, 4), graph, ["features", "transfer"], setting())
    assert row["kept_hidden"] != row["kept_hidden"] and "hidden layer: no hidden layer is named" in row["reasons"]
    assert row["transfer"] != row["transfer"] and "judges=" in row["reasons"]


class Passing(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = GCNConv(channels, 3)

    def forward(self, x, edge_index):
        return self.conv(x, edge_index)


def test_exact_shares_are_those_of_refinement():
    decalin, karate = ml.load_graph("decalin"), ml.load_graph("karate")
    assert exact_share(Passing(decalin.num_features), decalin) == pytest.approx(10 / 11)
    assert exact_share(Passing(34), karate) == 0  # one-hot features tell all nodes apart
