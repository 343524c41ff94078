"""Counting estimate: how well the best of all admissible inputs can be expected to match a given target.

A heuristic, not a bound. There are :math:`2^R` admissible inputs; if their activations were independent draws
of one Gaussian, the best of them would miss the target by a distance that the theory of random codes gives
exactly in the limit of many dimensions. The target is taken as it is: real graphs are no typical draws, and lie
farther from the mean of random inputs than these do. The estimate can excuse a search; what exists, it cannot say.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_choice, check_graph, check_module
from metamerlib.graphs.edit import with_features
from metamerlib.graphs.sampling import gaussian
from metamerlib.models.calling import Forward
from metamerlib.plain import as_count, as_real, as_seed, shown
from metamerlib.probing.probe import Probe
from metamerlib.probing.reduce import reduced, to_float64
from metamerlib.typing import Layer

_HALVINGS = 200


class Spectrum(NamedTuple):
    """How the activations of random admissible inputs scatter, and how far from their mean the target lies.

    Attributes:
        values: Variances along principal axes ``[m]``.
        weights: Number of axes that each stands for ``[m]``; 0 where an entry holds a deviation only.
        deviations: Squared deviation of the target from the mean, summed over these axes ``[m]``.
        norm: Squared norm of the target activation.
    """

    values: Tensor
    weights: Tensor
    deviations: Tensor
    norm: float


def expected_loss(bits: float, spectrum: Spectrum) -> float:
    r"""Estimate the least :math:`L_{act}` among :math:`2^R` random inputs.

    The code is :math:`N(0, \mathrm{diag}(\lambda))`, the target a point with squared deviations :math:`\delta_j^2`.
    By Cramér's theorem with the multiplier s,

    .. math::
        R = \sum_j \tfrac12 \ln(1 + 2 s \lambda_j) - \frac{s \lambda_j}{1 + 2 s \lambda_j}
            + \frac{2 s^2 \lambda_j \delta_j^2}{(1 + 2 s \lambda_j)^2}, \quad
        D = \sum_j \frac{\lambda_j}{1 + 2 s \lambda_j} + \frac{\delta_j^2}{(1 + 2 s \lambda_j)^2}

    (in nats). Where :math:`\delta_j^2 = \lambda_j`, the target is a typical draw, and this is the random-coding
    exponent of a Gaussian codebook (Dembo and Kontoyiannis, IEEE Trans. Inf. Theory 48, 2002). No bits give the mean
    loss of one random input, :math:`D = \sum_j \lambda_j + \delta_j^2`. With many bits every axis whose variance is far
    above :math:`\theta = 1 / 2 s` is left with :math:`\theta`, where equal :math:`\lambda` fall as
    :math:`2^{-2 R / d}`; one far below is left with :math:`\lambda_j + \delta_j^2`, since a random code does not keep
    silent there.

    Args:
        bits: R, in bits.
        spectrum: Variances of the activations, and deviations of the target.

    Returns:
        D over the squared norm of the target.

    Example:
        >>> flat = Spectrum(torch.ones(1), torch.tensor([100.0]), torch.tensor([100.0]), norm=100.0)
        >>> [round(expected_loss(bits, flat), 3) for bits in (0, 100, 200)]
        [2.0, 0.256, 0.063]
    """
    if not isinstance(spectrum, Spectrum):
        raise TypeError(f"spectrum must be a Spectrum, got {shown(spectrum)}; see activation_spectrum, edge_spectrum")
    bits = float(bits) if isinstance(bits, Real) and not isinstance(bits, bool) else bits
    if isinstance(bits, bool) or not isinstance(bits, Real):
        raise TypeError(f"bits must be a number of at least 0, got {shown(bits)}")
    if not bits >= 0 or bits == math.inf:
        raise ValueError(f"bits must be at least 0, got {bits!r}")
    values, weights, deviations = (part.double() for part in (spectrum.values, spectrum.weights, spectrum.deviations))
    largest = float(values.max()) if len(values) else 0.0
    multiplier = 0.0
    if bits and largest > 0:
        low, high = math.log(1e-12 / largest), math.log(1e30 / largest)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            one = 2 * math.exp(middle) * values
            exponent = weights * (one.log1p() - one / (1 + one)) / 2
            exponent = exponent + math.exp(middle) * deviations * one / (1 + one).square()
            low, high = (middle, high) if float(exponent.sum()) / math.log(2) < bits else (low, middle)
        multiplier = math.exp(low)
    one = 2 * multiplier * values
    distortion = weights * values / (1 + one) + deviations / (1 + one).square()
    return float(distortion.sum()) / spectrum.norm


def log2_binomial(n: float, k: float) -> float:
    """Return the base-2 logarithm of n over k.

    >>> round(log2_binomial(5, 2), 6) == round(math.log2(10), 6)
    True
    """
    if not 0 <= as_real("k", k) <= as_real("n", n):
        raise ValueError(f"expected 0 <= k <= n, got n = {n!r} and k = {k!r}")
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)


def feature_bits(graph: Data, ones: str = "graph") -> float:
    r"""Count the bits that binary features with the graph's number of ones carry.

    Args:
        graph: Features of zeros and ones ``[N, F]``.
        ones: graph: :math:`\log_2 \binom{N F}{\#ones}`; node: :math:`\sum_v \log_2 \binom{F}{\#ones_v}`;
            column: :math:`\sum_f \log_2 \binom{N}{\#ones_f}`, where each feature also keeps its frequency.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("karate")  # one-hot: every node one of 34 features
        >>> round(feature_bits(graph, "node") / math.log2(34), 6)
        34.0
    """
    check_graph(graph)
    check_choice("ones", ones, ["graph", "node", "column"])
    x = graph.x
    if bool(((x != 0) & (x != 1)).any()):
        raise ValueError("bits are counted for features of zeros and ones; pass (x > 0).float()")
    if ones == "graph":
        return log2_binomial(x.numel(), int(x.sum()))
    axis = 1 if ones == "node" else 0
    return sum(log2_binomial(x.size(axis), count) for count in x.sum(axis).tolist())


def activation_spectrum(
    model: nn.Module,
    graph: Data,
    *,
    layer: Layer,
    steps: int = 40,
    probes: int = 2,
    seed: int = 0,
    forward: Forward | None = None,
) -> Spectrum:
    r"""Estimate how the activations scatter when every bit is drawn with its column's frequency.

    The model is linearised at the reference, J its Jacobian: the covariance is :math:`J \Sigma J^T` with
    :math:`\Sigma = diag(p_f (1 - p_f))` in every row, and the target deviates by :math:`J (x - p)`. Units that are off
    at the reference drop out. Both measures over the spectrum, of the axes and of the deviation, come by Lanczos
    quadrature (Ubaru, Chen and Saad, 2017), one product with the covariance a step.

    Args:
        model: Any torch model of graphs.
        graph: The reference, bits ``[N, F]``.
        layer: The matched layer, as in :func:`metamerlib.find_metamer`.
        steps: Lanczos steps of each probe.
        probes: Random starts, over which the quadrature is averaged.
        seed: Seed of the starts.
        forward: Replaces the default call, as in :func:`metamerlib.find_metamer`.
    """
    steps, probes, seed = as_count("steps", steps), as_count("probes", probes), as_seed(seed)
    check_module(model)
    check_graph(graph)
    probe = Probe(model, layer, forward=forward)
    wide = to_float64(graph)
    probe.model.double()
    h = probe.check(wide).activation
    covariance, deviation = _linearised(probe, wide)
    values, weights, deviations = [], [], []
    for number in range(probes):
        start = gaussian((h.numel(),), seed + number, h)
        nodes, shares = _lanczos(covariance, start, steps)
        values.append(nodes)
        weights.append(shares * h.numel() / probes)
        deviations.append(torch.zeros_like(nodes))
    if float(deviation.norm()) > 0:
        nodes, shares = _lanczos(covariance, deviation, steps)
        values.append(nodes)
        weights.append(torch.zeros_like(nodes))
        deviations.append(shares * deviation.square().sum())
    return Spectrum(torch.cat(values).clamp(min=0), torch.cat(weights), torch.cat(deviations), float(h.square().sum()))


def _linearised(probe: Probe, graph: Data) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Return the product of the activations' covariance with a vector ``[rows * d_k]``, and the target's deviation."""
    share = graph.x.mean(0)
    variance = share * (1 - share)
    small = reduced(probe, [graph])
    probe, x = small.probe, small.graphs[0].x
    spread: Tensor | None = None
    if small.space is not None:
        table = small.space.basis * small.space.scale
        spread = table.T @ (variance[:, None] * table)
    apart = x - x.mean(0)
    x = x.requires_grad_()
    h = probe(with_features(graph, x), complete=False).activation
    # The gradient of J^T u by u, at any u, is J.
    u = torch.zeros_like(h, requires_grad=True)
    (pulled,) = torch.autograd.grad(h, x, u, create_graph=True)

    def pushed(vector: Tensor) -> Tensor:
        (seen,) = torch.autograd.grad(pulled, u, vector, retain_graph=True)
        return seen.reshape(-1)

    def product(vector: Tensor) -> Tensor:
        (back,) = torch.autograd.grad(h, x, vector.view_as(h), retain_graph=True)
        return pushed(back * variance if spread is None else back @ spread)

    return product, pushed(apart)


def _lanczos(product: Callable[[Tensor], Tensor], vector: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return nodes and weights, which add up to 1, of the Gauss quadrature of the spectrum that a vector sees."""
    basis = (vector / vector.norm())[None]
    diagonal, beside = [], []
    for step in range(min(steps, vector.numel())):
        following = product(basis[step])
        diagonal.append(following @ basis[step])
        for _ in range(2):
            following = following - basis.T @ (basis @ following)
        length = following.norm()
        if step + 1 == min(steps, vector.numel()) or length <= 1e-12 * max(diagonal).abs():
            break
        beside.append(length)
        basis = torch.cat([basis, (following / length)[None]])
    matrix = torch.diag(torch.stack(diagonal))
    if beside:
        matrix = matrix + torch.diag(torch.stack(beside), 1) + torch.diag(torch.stack(beside), -1)
    values, vectors = torch.linalg.eigh(matrix)
    return values, vectors[0].square()
