import pytest
import torch
from torch_geometric.nn import ARMAConv, EdgeConv, GCNConv, ResGatedGraphConv, SAGEConv, TransformerConv

import metamerlib as ml


class Pair(torch.nn.Module):
    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)


class Doubled(GCNConv):
    """Sends everything twice, once rounded down, in a propagation of its own."""

    def propagate(self, *args, **kwargs):
        return 3 * super().propagate(*args, **kwargs).tanh()


def model_of(first, second):
    torch.manual_seed(0)
    return Pair(first(34, 12), second(12, 6)).eval()


def search(model, **options):
    return ml.find_metamer(
        model, ml.load_graph("karate"), layer="second", vary="structure", max_steps=15, **options
    )  # fmt: skip


def check_loss(found):
    assert float(found.history["loss"].min()) == pytest.approx(found.loss, rel=1e-3)


@pytest.mark.parametrize("conv", [TransformerConv, ResGatedGraphConv, ARMAConv, GCNConv, Doubled])
def test_messages_of_any_name_guide(conv):
    found = search(model_of(conv, conv))
    check_loss(found)
    assert found.settings["guided"] is True


def edge_conv(width, channels):
    return EdgeConv(torch.nn.Linear(2 * width, channels))


def several(width, channels):
    return SAGEConv(width, channels, aggr=["mean", "max"])


@pytest.mark.parametrize("conv", [edge_conv, several])
def test_convolutions_that_do_not_fit_are_left_alone(conv):
    found = search(model_of(conv, conv))
    check_loss(found)
    assert found.settings["guided"] is False
    assert search(model_of(conv, GCNConv)).settings["guided"] is True


def test_hooks_inside_a_convolution_are_heard():
    model = model_of(GCNConv, GCNConv)
    for conv in (model.first, model.second):
        conv.register_propagate_forward_hook(lambda module, inputs, out: out.cos() * 2)
    found = search(model)
    check_loss(found)
    assert found.settings["guided"] is False


def test_dense_descent_needs_messages():
    with pytest.raises(ValueError, match="none of this model's could be listened to; use solver='swaps'"):
        search(model_of(edge_conv, edge_conv), solver="ste")
