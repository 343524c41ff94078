"""How closely a metamer's activations and predictions match those of its reference."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from metamerlib.checks import as_tensor, check_nodes


class NodeErrors(NamedTuple):
    """Relative errors of single nodes: two quantiles, and how many nodes have no activation."""

    median: float
    p95: float
    silent: int


def activation_loss(activation: Tensor, target: Tensor) -> float:
    r"""Measure the squared distance of two activations, relative to the target.

    .. math:: L_{act} = \frac{\sum_{v \in S} \|h'_v - h_v\|^2}{\sum_{v \in S} \|h_v\|^2}

    One ratio of two sums over all of S, not a mean of per-node ratios. Against a
    target of zeros it is 0 for zeros and infinite for all else.

    Args:
        activation: activations of the metamer [|S|, d].
        target: activations of the reference [|S|, d].

    Returns:
        The loss, in float64.

    Raises:
        ValueError: if the two shapes differ or hold no entry.

    >>> activation_loss(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 3.0]])) == 1 / 18
    True
    """
    activation, target = _in_double(activation, target)
    distance, norm = (activation - target).square().sum().item(), target.square().sum().item()
    if norm == 0:
        return 0.0 if distance == 0 else float("inf")
    return distance / norm


def relative_error(activation: Tensor, target: Tensor) -> float:
    r"""Measure the distance of two activations, relative to the target.

    .. math:: \|h' - h\| / \|h\| = \sqrt{L_{act}}

    Args:
        activation: activations of the metamer [|S|, d].
        target: activations of the reference [|S|, d].

    Returns:
        The square root of :func:`activation_loss`.

    >>> relative_error(torch.tensor([[2.0, 1.0]]), torch.tensor([[2.0, 0.0]]))
    0.5
    """
    return activation_loss(activation, target) ** 0.5


def node_relative_errors(activation: Tensor, target: Tensor) -> NodeErrors:
    r"""Summarise the relative errors of single nodes.

    .. math:: e_v = \|h'_v - h_v\| / \|h_v\| \quad \text{for } \|h_v\| > 0

    Args:
        activation: activations of the metamer [|S|, d].
        target: activations of the reference [|S|, d].

    Returns:
        Median and 95th percentile of e_v (NaN if every node is silent), and the
        number of silent nodes, those with a target of norm zero.

    >>> node_relative_errors(torch.tensor([[2.0], [3.0], [1.0]]), torch.tensor([[1.0], [3.0], [0.0]]))
    NodeErrors(median=0.5, p95=0.95, silent=1)
    """
    activation, target = _in_double(activation, target)
    norm = target.flatten(1).norm(dim=1)
    heard = norm > 0
    if not heard.any():
        return NodeErrors(float("nan"), float("nan"), len(norm))
    errors = (activation - target)[heard].flatten(1).norm(dim=1) / norm[heard]
    median, p95 = np.quantile(errors.cpu().numpy(), [0.5, 0.95])
    return NodeErrors(float(median), float(p95), int((~heard).sum()))


def snr_db(activation: Tensor, target: Tensor) -> float:
    r"""Measure the ratio of signal to noise in decibels of power.

    .. math:: 10 \log_{10} \frac{\|h\|^2}{\|h' - h\|^2}

    Ten per cent of noise are 20 dB; the code of Feather et al. (2023) prints half of that.

    Args:
        activation: activations of the metamer [|S|, d].
        target: activations of the reference [|S|, d].

    Returns:
        The ratio in dB; infinite where the two are equal.

    >>> snr_db(torch.tensor([[11.0]]), torch.tensor([[10.0]]))
    20.0
    """
    loss = activation_loss(activation, target)
    return float("inf") if loss == 0 else float(-10 * np.log10(loss))


def pearson(activation: Tensor, target: Tensor) -> float:
    """Correlate the entries of two tensors linearly.

    Args:
        activation: activations of the metamer [|S|, d].
        target: activations of the reference [|S|, d].

    Returns:
        Pearson's r over all entries; NaN if either is constant.

    >>> pearson(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[8.0, 6.0], [4.0, 2.0]]))
    -1.0
    """
    a, b = (h.flatten() for h in _in_double(activation, target))
    for low, high in (a.aminmax(), b.aminmax()):
        if not 0 < high - low < float("inf"):
            return float("nan")
    a, b = a - a.mean(), b - b.mean()
    # One root of the product, so that equal tensors give exactly one.
    return ((a @ b) / (a.square().sum() * b.square().sum()).sqrt()).clamp(-1, 1).item()


def ranks(values: Tensor) -> Tensor:
    """Rank the entries of a tensor, 1 being the smallest.

    Args:
        values: any tensor.

    Returns:
        The ranks in the same shape, in float64, on the same device. Equal entries
        share their mean rank; if an entry is not a number, every rank is NaN.

    >>> ranks(torch.tensor([[5.0, 1.0], [5.0, 7.0]])).tolist()
    [[2.5, 1.0], [2.5, 4.0]]
    """
    as_tensor("values", values, dtype="number", empty=True, finite=False)
    if values.isnan().any():
        return torch.full_like(values, float("nan"), dtype=torch.float64)
    # numpy's unique takes half the time of scipy's rankdata and of torch's unique: a quarter of a null distribution.
    flat = values.detach().cpu().numpy().ravel()
    _, place, count = np.unique(flat, return_inverse=True, return_counts=True)
    ranked = (np.cumsum(count) - (count - 1) / 2)[place]
    return torch.from_numpy(ranked).reshape(values.shape).to(values.device)


def spearman(activation: Tensor, target: Tensor) -> float:
    """Correlate the ranks of the entries of two tensors.

    Args:
        activation: activations of the metamer [|S|, d].
        target: activations of the reference [|S|, d].

    Returns:
        Spearman's rho over all entries, ties sharing their mean rank; NaN if either
        is constant.

    >>> spearman(torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[0.1, 0.2, 0.3]]))
    1.0
    """
    _check_shapes(activation, target)
    return pearson(ranks(activation), ranks(target))


def has_classes(output: Tensor | None) -> bool:
    """Tell whether a model's output is a table of class scores.

    Args:
        output: the model's output, or None where it is not known.

    Returns:
        True for a floating tensor [N, C] with C of at least two.

    >>> has_classes(torch.zeros(5, 3)), has_classes(torch.zeros(5, 1)), has_classes(None)
    (True, False, False)
    """
    if output is None:
        return False
    as_tensor("output", output, dtype="number", empty=True, finite=False)
    return output.dim() == 2 and output.size(1) > 1


def prediction_match(output: Tensor | None, reference: Tensor | None, nodes: Tensor | None = None) -> float:
    r"""Count how many nodes keep the class that the model predicts.

    .. math:: S_{match} = \frac{1}{|S|} \sum_{v \in S} [\arg\max y'_v = \arg\max y_v]

    For numbers in place of classes, as in regression, there is :func:`output_agreement`.

    Args:
        output: scores for the metamer [N, C].
        reference: scores for the reference [N, C].
        nodes: the matched nodes S [|S|]; None for all.

    Returns:
        A share between 0 and 1; NaN for a model without classes.

    Raises:
        ValueError: if the two shapes differ, or an entry is not finite.

    >>> prediction_match(torch.tensor([[2.0, 1.0], [0.0, 1.0]]), torch.tensor([[9.0, 0.0], [1.0, 0.0]]))
    0.5
    """
    if output is None or reference is None:
        return float("nan")
    _check_shapes(output, reference)
    if not has_classes(output):
        return float("nan")
    kept = output.argmax(dim=1) == reference.argmax(dim=1)
    return _select(kept, nodes).double().mean().item()


def output_agreement(output: Tensor, reference: Tensor, nodes: Tensor | None = None) -> float:
    r"""Measure how well predicted numbers agree, whatever their unit.

    .. math:: \frac{2 \, \mathrm{cov}(y', y)}{\mathrm{var}(y') + \mathrm{var}(y) + (\bar y' - \bar y)^2}

    the concordance correlation (Lin, Biometrics 45, 1989), for regression in place of the share of classes that stay:
    1 only for equal numbers, lower for noise, another mean or another spread, and the same in any unit. Of several
    outputs the mean is taken.

    Args:
        output: predicted numbers for the metamer [N, C].
        reference: predicted numbers for the reference [N, C].
        nodes: the matched nodes S [|S|]; None for all.

    Returns:
        A number between -1 and 1; NaN where all numbers are one.

    Raises:
        ValueError: if the two shapes differ, or an entry is not finite.

    >>> output_agreement(torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [3.0]]))
    0.6666666666666666
    """
    found, wanted = (_select(each, nodes).reshape(-1, each.size(-1)) for each in _in_double(output, reference))
    apart, other = found - found.mean(0), wanted - wanted.mean(0)
    spread = apart.square().mean(0) + other.square().mean(0) + (found.mean(0) - wanted.mean(0)).square()
    return (2 * (apart * other).mean(0) / spread).mean().item()


def chance_agreement(output: Tensor | None, nodes: Tensor | None = None) -> float:
    r"""Compute the agreement of two predictions drawn independently of the input.

    .. math:: \sum_c p_c^2

    with p_c the share of nodes for which the model predicts class c.

    Args:
        output: scores for the reference [N, C].
        nodes: the matched nodes S [|S|]; None for all.

    Returns:
        A share between 1 / C and 1; NaN for a model without classes.

    >>> chance_agreement(torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    0.625
    """
    if output is None or not has_classes(as_tensor("output", output)):
        return float("nan")
    predicted = _select(output.argmax(dim=1), nodes)
    shares = predicted.bincount(minlength=output.size(1)).double() / len(predicted)
    return shares.square().sum().item()


def prediction_auc(output: Tensor | None, reference: Tensor | None, nodes: Tensor | None = None) -> float:
    """Compute how well the metamer's scores rank the reference's two predicted classes.

    The area under the ROC curve does not fall with the imbalance of the classes as
    the chance agreement does.

    Args:
        output: scores for the metamer [N, 2].
        reference: scores for the reference [N, 2].
        nodes: the matched nodes S [|S|]; None for all.

    Returns:
        The area; NaN unless there are two classes and both are predicted on S.

    Raises:
        ValueError: if the two shapes differ.

    >>> prediction_auc(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[3.0, 1.0], [1.0, 3.0]]))
    1.0
    """
    if output is None or reference is None:
        return float("nan")
    _check_shapes(output, reference)
    if output.dim() != 2 or output.size(1) != 2:
        return float("nan")
    score = _select(output[:, 1] - output[:, 0], nodes).cpu().numpy()
    label = _select(reference.argmax(dim=1), nodes).cpu().numpy()
    if label.min() == label.max() or not np.isfinite(score).all():
        return float("nan")
    return float(roc_auc_score(label, score))


def dead_units(pre_activation: Tensor, target: Tensor) -> int:
    """Count the units that are active in the target and receive no gradient in the metamer.

    Args:
        pre_activation: what enters the metamer's ReLU, z' [|S|, d].
        target: activations of the reference, h [|S|, d].

    Returns:
        The number of entries with h > 0 and z' <= 0.

    Raises:
        ValueError: if the two shapes differ or hold no entry.

    >>> dead_units(torch.tensor([[-1.0, 2.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]]))
    1
    """
    _check_shapes(pre_activation, target)
    return int(((target > 0) & (pre_activation <= 0)).sum())


def _check_shapes(found: Tensor, expected: Tensor) -> None:
    for name, each in (("the first tensor", found), ("the second tensor", expected)):
        as_tensor(name, each, dtype="number", empty=True)
    if found.shape != expected.shape:
        raise ValueError(f"got shape {list(found.shape)} beside {list(expected.shape)}; pass two tensors of one shape")
    if found.numel() == 0:
        raise ValueError(f"got shape {list(found.shape)}, which holds no entry; match at least one node")


def _in_double(activation: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    _check_shapes(activation, target)
    return activation.detach().double(), target.detach().double()


def _select(values: Tensor, nodes: Tensor | None) -> Tensor:
    chosen = check_nodes("nodes", nodes, len(values))
    return values if chosen is None else values[chosen.to(values.device)]
