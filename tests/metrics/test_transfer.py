import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import metamerlib as ml
from metamerlib.graphs.edit import with_features
from metamerlib.metrics.transfer import normalised_agreement
from tests.helpers.metamers import WIDTH, gnn


class Reads(nn.Module):
    """The scores of a node are its own features."""

    def forward(self, x, edge_index):
        return x


class Constant(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.classes = classes

    def forward(self, x, edge_index):
        return torch.arange(self.classes, dtype=x.dtype).repeat(len(x), 1)


@pytest.fixture(scope="module")
def reference():
    x = torch.randn(34, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(100))
    return with_features(ml.load_graph("karate").clone(), x)


@pytest.fixture(scope="module")
def metamer(reference):
    return ml.find_metamer(gnn(), reference, layer=2, rtol=1e-10)


@pytest.fixture
def by_hand(metamer, reference):
    """A result of which every share is known: 34 nodes of 34 classes, 17 kept by the metamer and 2 by the start."""
    eye = torch.eye(34, dtype=torch.float64)
    kept = [torch.cat([eye[:n], eye[n:].roll(1, 0)]) for n in (17, 2)]
    graph, start = (with_features(reference, x) for x in kept)
    return replace(metamer, reference=with_features(reference, eye), graph=graph, start=start, nodes=None)


def test_shares_and_the_normalised_one_by_hand(by_hand):
    row = ml.transfer(by_hand, Reads()).iloc[0]
    assert row["agreement"] == 17 / 34 and row["agreement_start"] == 2 / 34
    assert row["agreement_shuffled"] == 0  # every node has another's row
    assert row["transfer"] == pytest.approx((17 - 2) / (34 - 2))
    assert row["score_error"] == pytest.approx(math.sqrt(2 * 17 / 34))


def test_only_matched_nodes_are_counted(by_hand):
    some = replace(by_hand, nodes=torch.tensor([0, 1, 20, 21]))
    row = ml.transfer(some, Reads()).iloc[0]
    assert row["agreement"] == 0.5 and row["agreement_start"] == 0.5 and row["transfer"] == 0


def test_the_model_itself_takes_its_metamer(metamer):
    row = ml.transfer(metamer, gnn()).iloc[0]
    assert row["agreement"] == 1 and row["transfer"] == 1
    assert row["score_error"] == pytest.approx(metamer.relative_error, rel=1e-6)


def test_a_judge_that_always_says_the_same_has_no_normalised_agreement_and_a_reason(metamer):
    row = ml.transfer(metamer, Constant()).iloc[0]
    assert row["agreement"] == row["agreement_start"] == 1 and math.isnan(row["transfer"])
    assert "whatever it is shown" in row["note"]


def test_the_null_space_metamer_of_the_source_is_shown_beside(metamer, reference):
    trivial = ml.nullspace_metamer(gnn(), reference)
    row = ml.transfer(metamer, gnn(), nullspace=trivial).iloc[0]
    assert row["agreement_nullspace"] == row["transfer_nullspace"] == 1
    alone = ml.transfer(metamer, gnn()).iloc[0]
    assert math.isnan(alone["agreement_nullspace"]) and "nullspace: none was given" in alone["note"]


def test_accuracy_is_that_of_the_split_given(by_hand, reference):
    split = reference.clone()
    split.y, split.test_mask = torch.arange(34), torch.zeros(34, dtype=torch.bool)
    split.test_mask[15:19] = True
    row = ml.transfer(by_hand, Reads(), split).iloc[0]
    assert (row["accuracy"], row["accuracy_metamer"], row["accuracy_start"]) == (1.0, 0.5, 0.0)
    del split.test_mask
    row = ml.transfer(by_hand, Reads(), split).iloc[0]
    assert math.isnan(row["accuracy"]) and "test mask" in row["note"]


def test_judges_are_named_and_left_as_they_were(metamer):
    judge = gnn(conv="sage").train()
    table = ml.transfer(metamer, {"sage": judge, "same": gnn()})
    assert list(table["judge"]) == ["sage", "same"] and judge.training
    assert list(ml.transfer(metamer, [judge, gnn()])["judge"]) == ["judge 0", "judge 1"]
    again = ml.transfer(metamer, {"same": gnn(), "sage": judge}).set_index("judge")
    assert again.loc["sage"].equals(table.set_index("judge").loc["sage"])


def test_a_call_of_ones_own_reaches_the_judge(by_hand):
    row = ml.transfer(by_hand, nn.Identity(), forward=lambda model, graph: model(graph.x)).iloc[0]
    assert row["agreement"] == 0.5


@pytest.mark.parametrize(
    "judges, kind, message",
    [
        ([], ValueError, "pass one model at least"),
        (3, TypeError, "got int"),
        ({"f": len}, TypeError, "judge 'f' must be a torch.nn.Module"),
        (gnn(in_channels=WIDTH + 1), ValueError, "features"),
        (Constant(classes=1), ValueError, "with C of two or more"),
        (nn.Bilinear(2, 2, 2).double(), ValueError, "judge 'judge 0' fails on the reference"),
    ],
)
def test_what_cannot_judge_is_refused(metamer, judges, kind, message):
    with pytest.raises(kind, match=message):
        ml.transfer(metamer, judges)


def test_labels_of_another_graph_are_refused(metamer):
    with pytest.raises(ValueError, match="graph has 18 nodes"):
        ml.transfer(metamer, gnn(), ml.load_graph("davis").subgraph(torch.arange(18)))


@pytest.mark.parametrize("a, b, wanted", [(1.0, 0.2, 1.0), (0.2, 0.2, 0.0), (0.0, 0.5, -1.0)])
def test_the_normalised_agreement_by_hand(a, b, wanted):
    assert normalised_agreement(a, b) == pytest.approx(wanted)
    assert math.isnan(normalised_agreement(a, 0.96))
