import math

import pytest
import torch

import metamerlib as ml
from metamerlib.certificates.rate_distortion import (
    Spectrum,
    activation_spectrum,
    expected_loss,
    feature_bits,
    log2_binomial,
)
from tests.helpers.bits import WIDTH, bit_graph
from tests.helpers.metamers import gnn


def typical(values, weights, norm):
    """The spectrum of a code whose target is one more draw of it."""
    return Spectrum(values, weights, values * weights, norm)


def test_no_bits_are_the_mean_loss_of_a_random_input():
    values, weights = torch.tensor([3.0, 0.5]), torch.tensor([2.0, 4.0])
    assert expected_loss(0, typical(values, weights, 10.0)) == pytest.approx(2 * (6 + 2) / 10)
    assert expected_loss(0, Spectrum(values, weights, torch.tensor([7.0, 1.0]), 10.0)) == pytest.approx(16 / 10)


def test_many_bits_are_shannons_water_filling():
    # Far above all variances 2^(-2R/d) is exact: D / norm = geometric mean * 2^(-2R/d) * d / norm.
    values = torch.tensor([4.0, 1.0, 0.25])
    spectrum = typical(values, torch.full((3,), 50.0), norm=1.0)
    bits = 150 * 12.0
    assert expected_loss(bits, spectrum) == pytest.approx(150 * 2 ** (-2 * 12.0), rel=1e-3)


@pytest.mark.parametrize("far", [0.3, 1.0, 5.0])
def test_a_flat_spectrum_against_a_code_that_is_searched(far):
    """The least distance from a point to 2^12 Gaussian vectors, by brute force: for points near, typical and far."""
    generator = torch.Generator().manual_seed(0)
    code = torch.randn(2**12, 40, generator=generator)
    source = torch.randn(300, 40, generator=generator)
    source = source / source.norm(dim=1, keepdim=True) * (40 * far) ** 0.5
    least = torch.cdist(source, code).square().min(1).values.mean().item() / 40
    spectrum = Spectrum(torch.ones(1), torch.tensor([40.0]), torch.tensor([40.0 * far]), 40.0)
    assert expected_loss(12, spectrum) == pytest.approx(least, rel=0.1)


def test_loss_falls_with_bits_and_dead_axes_cost_nothing():
    spectrum = typical(torch.tensor([2.0, 0.0]), torch.tensor([30.0, 1000.0]), norm=60.0)
    losses = [expected_loss(bits, spectrum) for bits in (0, 10, 100, 1000)]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 1e-15
    assert expected_loss(5, typical(torch.zeros(2), torch.ones(2), 1.0)) == 0.0


def test_what_no_input_can_reach_stays():
    unreached = Spectrum(torch.tensor([1.0, 0.0]), torch.tensor([10.0, 5.0]), torch.tensor([10.0, 3.0]), norm=1.0)
    assert expected_loss(10_000, unreached) == pytest.approx(3.0)
    # Far below the water a random code is not silent, and adds its own variance to the target's.
    values = torch.tensor([100.0, 1e-6])
    alone, both = typical(values[:1], torch.ones(1), 1.0), typical(values, torch.ones(2), 1.0)
    assert expected_loss(0.1, both) - expected_loss(0.1, alone) == pytest.approx(2e-6, rel=1e-3)


def test_bits_by_hand():
    graph = bit_graph()
    graph.x = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]] + [[0.0, 0, 0]] * 30).double()
    assert feature_bits(graph) == pytest.approx(math.log2(math.comb(102, 3)))
    assert feature_bits(graph, "node") == pytest.approx(2 * math.log2(3))
    assert feature_bits(graph, "column") == pytest.approx(math.log2(math.comb(34, 2) * 34))
    assert log2_binomial(10, 0) == log2_binomial(10, 10) == 0


@pytest.mark.parametrize("conv", ["gcn", "gat", "sage"])
@pytest.mark.parametrize("layer", [1, 2])
def test_spectrum_is_that_of_the_dense_jacobian(conv, layer):
    graph, model = bit_graph(), gnn(conv=conv)
    share = graph.x.mean(0)

    def activation(x):
        for block in list(model.eval().layers)[:layer]:
            x = block(x, graph.edge_index, None, None, None)
        return x.flatten()

    jacobian = torch.autograd.functional.jacobian(activation, graph.x).flatten(1)
    exact = torch.linalg.eigvalsh(jacobian * (share * (1 - share)).repeat(34) @ jacobian.T).clamp(min=0)
    found = activation_spectrum(model, graph, layer=layer, steps=60, probes=20)
    assert found.weights.sum().item() == pytest.approx(len(exact))
    assert (found.weights @ found.values).item() == pytest.approx(exact.sum().item(), rel=0.15)
    spread = jacobian * (share * (1 - share)).repeat(34) @ jacobian.T
    exact, axes = torch.linalg.eigh(spread)
    deviations = (axes.T @ jacobian @ (graph.x - share).flatten()).square()
    dense = Spectrum(exact.clamp(min=0), torch.ones(len(exact)), deviations, activation(graph.x).square().sum().item())
    assert found.deviations.sum().item() == pytest.approx(deviations.sum().item(), rel=1e-6)
    for bits in (0, 100, 500):
        assert expected_loss(bits, found) == pytest.approx(expected_loss(bits, dense), rel=0.25)


def test_bad_input():
    with pytest.raises(ValueError, match="at least 0"):
        expected_loss(-1, typical(torch.ones(1), torch.ones(1), 1.0))
    graph = bit_graph()
    graph.x = torch.full((34, WIDTH), 0.5)
    with pytest.raises(ValueError, match="zeros and ones"):
        feature_bits(graph)
    with pytest.raises(ValueError, match="unknown ones"):
        feature_bits(ml.load_graph("karate"), "edge")
