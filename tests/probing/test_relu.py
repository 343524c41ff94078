import pytest
import torch
import torch.nn.functional as F
from torch import nn

from metamerlib.probing.relu import WatchReLU

Z = torch.tensor([[-2.0, 3.0]], dtype=torch.float64)


@pytest.mark.parametrize("relu", [F.relu, torch.relu, torch.Tensor.relu, nn.ReLU(), lambda z: F.relu(input=z)])
def test_every_form_of_relu_is_seen_and_unchanged(relu):
    with WatchReLU() as watch:
        out = relu(Z)
    assert out.tolist() == [[0.0, 3.0]] and watch.count == 1
    assert watch.last[0] is Z and watch.last[1] is out


@pytest.mark.parametrize("relu", [torch.Tensor.relu_, lambda z: F.relu(z, inplace=True), lambda z: F.relu(z, True)])
def test_calls_in_place_are_left_alone(relu):
    z = Z.clone()
    with WatchReLU(leak=0.5) as watch:
        relu(z)
    assert z.tolist() == [[0.0, 3.0]] and watch.count == 0 and watch.last is None


def test_other_functions_are_left_alone():
    with WatchReLU(leak=0.5) as watch:
        assert F.elu(Z).tolist() == F.elu(Z).tolist() and Z.abs().tolist() == [[2.0, 3.0]]
    assert watch.count == 0


def test_leak_spares_the_exempt_call():
    with WatchReLU(leak=0.25, exempt=1):
        outputs = [F.relu(Z)[0, 0].item() for _ in range(3)]
    assert outputs == [-0.5, 0.0, -0.5]
    assert F.relu(Z)[0, 0].item() == 0.0


@pytest.mark.parametrize(
    "options, value, gradient",
    [({}, 0.0, [0.0, 1.0]), ({"slope": 0.1}, 0.0, [0.1, 1.0]), ({"leak": 0.25}, -0.5, [0.25, 1.0])],
)
def test_slope_changes_the_gradient_and_leak_the_function(options, value, gradient):
    z = Z.clone().requires_grad_()
    with WatchReLU(**options):
        out = F.relu(z)
    out.sum().backward()
    assert out[0, 0].item() == value and z.grad.tolist() == [gradient]
