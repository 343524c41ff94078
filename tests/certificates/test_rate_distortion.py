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


def test_no_bits_are_two_independent_draws():
    spectrum = Spectrum(torch.tensor([3.0, 0.5]), torch.tensor([2.0, 4.0]), norm=10.0)
    assert expected_loss(0, spectrum) == pytest.approx(2 * (6 + 2) / 10)


def test_many_bits_are_shannons_water_filling():
    # Far above all variances 2^(-2R/d) is exact: D / norm = geometric mean * 2^(-2R/d) * d / norm.
    values = torch.tensor([4.0, 1.0, 0.25])
    spectrum = Spectrum(values, torch.full((3,), 50.0), norm=1.0)
    bits = 150 * 12.0
    assert expected_loss(bits, spectrum) == pytest.approx(150 * 2 ** (-2 * 12.0), rel=1e-3)


def test_a_flat_spectrum_against_a_code_that_is_searched():
    # The least distance from a Gaussian vector to 2^12 others, by brute force.
    generator = torch.Generator().manual_seed(0)
    code = torch.randn(2**12, 40, generator=generator)
    source = torch.randn(300, 40, generator=generator)
    least = torch.cdist(source, code).square().min(1).values.mean().item() / 40
    assert expected_loss(12, Spectrum(torch.ones(1), torch.tensor([40.0]), 40.0)) == pytest.approx(least, rel=0.1)


def test_loss_falls_with_bits_and_dead_axes_cost_nothing():
    spectrum = Spectrum(torch.tensor([2.0, 0.0]), torch.tensor([30.0, 1000.0]), norm=60.0)
    losses = [expected_loss(bits, spectrum) for bits in (0, 10, 100, 1000)]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 1e-15
    assert expected_loss(5, Spectrum(torch.zeros(2), torch.ones(2), 1.0)) == 0.0


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
    dense = Spectrum(exact, torch.ones(len(exact)), activation(graph.x).square().sum().item())
    for bits in (0, 100, 500):
        assert expected_loss(bits, found) == pytest.approx(expected_loss(bits, dense), rel=0.25)


def test_bad_input():
    with pytest.raises(ValueError, match="at least 0"):
        expected_loss(-1, Spectrum(torch.ones(1), torch.ones(1), 1.0))
    graph = bit_graph()
    graph.x = torch.full((34, WIDTH), 0.5)
    with pytest.raises(ValueError, match="zeros and ones"):
        feature_bits(graph)
    with pytest.raises(ValueError, match="unknown ones"):
        feature_bits(ml.load_graph("karate"), "edge")
