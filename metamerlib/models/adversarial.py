"""Attacks on what a classifier reads: to train against, and to measure robust accuracy with.

Both move the whole input at once, and only as far as a budget allows: the features of every node within a ball of
its own size, or a share of the edges. In the transductive setting that is training on the fields of the labelled nodes.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_choice, check_graph, check_model, check_module, check_positive
from metamerlib.graphs.edit import with_features
from metamerlib.graphs.sampling import gaussian
from metamerlib.models.calling import call, private_copy
from metamerlib.models.first_maps import first_linear_maps
from metamerlib.models.propagation import fix_structure
from metamerlib.models.training_data import labelled_union
from metamerlib.plain import as_count, as_seed, as_text

Loss = Callable[[Tensor], Tensor]


class Attack(Protocol):
    """What training and measuring need of an attack."""

    @property
    def fixes_edges(self) -> bool:
        """Whether the edges stay as they are."""

    @property
    def ramp(self) -> int:
        """Epochs of training in which the budget grows to its full size."""

    def at(self, epoch: int) -> Attack:
        """Return the attack of an epoch, from 1."""

    def perturb(self, model: nn.Module, graph: Data, mask: Tensor, *, restart: int = 0) -> Data:
        """Return an input on which the model does worse at the masked rows, within the budget."""


@dataclass(frozen=True)
class FeatureAttack:
    r"""Projected gradient ascent on all rows of the features, in a ball about each.

    .. math:: \max_\delta \sum_v \ell(f(X + \delta)_v, y_v) \quad \text{subject to} \quad
        \|\delta_v\|_2 \le radius \cdot \|x_v\|_2

    (Madry et al., ICLR 2018), each step along the row's normalised gradient. Where X enters through linear maps alone
    the ascent runs in their coordinates, which hold every perturbation that the model can see at its full radius.

    Attributes:
        radius: Of the ball, as a share of the row's norm.
        steps: Gradient steps; with 0 each row moves by its radius in a random direction that the model sees, the
            control for the gradient's.
        step_size: As a share of the radius; None for 2.5 / steps.
        ramp: Epochs of training in which the radius grows from 0, linearly. Without one, four layers do not learn at
            all on Cora at a radius of 0.2.
    """

    radius: float = 0.2
    steps: int = 3
    step_size: float | None = None
    ramp: int = 50

    @property
    def fixes_edges(self) -> bool:
        """Whether the edges stay as they are."""
        return True

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        check_positive("radius", self.radius)
        as_count("steps", self.steps, least=0)
        as_count("ramp", self.ramp, least=0)
        if self.step_size is not None:
            check_positive("step_size", self.step_size)

    def at(self, epoch: int) -> FeatureAttack:
        """Return the attack of an epoch, from 1."""
        return replace(self, radius=self.radius * min(1.0, epoch / max(1, self.ramp)))

    def perturb(self, model: nn.Module, graph: Data, mask: Tensor, *, restart: int = 0) -> Data:
        """Return the graph with other features, dense, on which the model does worse at the masked rows.

        Args:
            model: A classifier in evaluation mode; it is left as it was.
            graph: x ``[N, F]``, dense or sparse, and y.
            mask: Rows of the output whose loss is to rise.
            restart: 0 begins at the reference; others begin at random in the ball, those that are odd with the
                margin as loss in place of the cross-entropy.
        """
        x, loss = graph.x, _losses(graph, mask)[restart % 2]
        dense = x.to_dense() if x.is_sparse else x
        radius = self.radius * dense.norm(dim=1, keepdim=True)
        with _coordinates(model, graph) as basis:
            u = x if basis is None else x @ basis
            u = u.to_dense() if u.is_sparse else u
            shift = torch.zeros_like(u)
            if restart or self.steps == 0:
                shift = _within(gaussian(u.shape, restart or None, u), radius, fill=True)
            length = (self.step_size or 2.5 / max(1, self.steps)) * radius
            for _ in range(self.steps):
                gradient = _gradient(model, graph, u + shift, loss)
                shift = _within(shift + length * F.normalize(gradient, dim=1, eps=1e-30), radius)
        moved = shift if basis is None else shift @ basis.T
        return with_features(graph, dense + moved)


@dataclass(frozen=True)
class EdgeAttack:
    """Projected randomised block coordinate descent on the edges (Geisler et al., NeurIPS 2021), of PyG.

    Attributes:
        budget: Edges that may be flipped, as a share of the undirected edges.
        steps: Gradient steps, each with a new block for the first three quarters.
        block: Pairs of nodes in a block.
        learning_rate: As in PyG.
        ramp: Epochs of training in which the budget grows from 0, linearly.
    """

    budget: float = 0.05
    steps: int = 4
    block: int = 50_000
    learning_rate: float = 1000.0
    ramp: int = 0

    @property
    def fixes_edges(self) -> bool:
        """Whether the edges stay as they are."""
        return False

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        check_positive("budget", self.budget)
        for name in ("steps", "block", "learning_rate"):
            check_positive(name, getattr(self, name), integer=name != "learning_rate")
        as_count("ramp", self.ramp, least=0)

    def at(self, epoch: int) -> EdgeAttack:
        """Return the attack of an epoch, from 1."""
        return replace(self, budget=self.budget * min(1.0, epoch / max(1, self.ramp)))

    def perturb(self, model: nn.Module, graph: Data, mask: Tensor, *, restart: int = 0) -> Data:
        """Return the graph with other edges on which the model does worse at the masked rows.

        Args:
            model: A classifier in evaluation mode whose ``forward`` reads edge_weight; it is left as it was.
            graph: An undirected graph without weights, and y.
            mask: Rows of the output whose loss is to rise.
            restart: Seed of the blocks; those that are odd have the margin as loss.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'torch_geometric.contrib' contains experimental code")
            from torch_geometric.contrib.nn import PRBCDAttack

        budget = round(self.budget * graph.edge_index.size(1) / 2)
        if budget < 1:
            return graph
        loss, pairs = _losses(graph, mask)[restart % 2], graph.num_nodes * (graph.num_nodes - 1) // 2
        with torch.random.fork_rng([graph.x.device] if graph.x.is_cuda else []):
            torch.manual_seed(torch.randint(2**31, (), device="cpu").item() if restart == 0 else restart)
            attack = PRBCDAttack(
                _Weighted(model, graph), block_size=min(max(self.block, 2 * budget), 4 * pairs), epochs=self.steps,
                epochs_resampling=max(1, 3 * self.steps // 4), loss=lambda out, labels, rows: loss(out),
                lr=self.learning_rate, log=False, max_final_samples=20, max_trials_sampling=20,
                with_early_stopping=True, eps=1e-7,
            )  # fmt: skip
            found, _ = attack.attack(graph.x, graph.edge_index, graph.y, budget=budget)
        moved = copy.copy(graph)
        moved.edge_index = found.to(graph.edge_index.device)
        return moved


ATTACKS: dict[str, Callable[[], Attack]] = {"features": FeatureAttack, "edges": EdgeAttack}


def attack_of(adversarial: str | Attack | None, *, many: bool, weighted: bool = False) -> Attack | None:
    """Return the attack that a name stands for, or the one given.

    Args:
        adversarial: None, features, edges or an attack.
        many: Whether the data are many graphs, between which no edge may run.
        weighted: Whether the edges have weights, which an attack on edges would drop.

    Raises:
        TypeError: If it is no attack.
        ValueError: If the name is unknown, or edges are to be attacked where they cannot be.
    """
    if adversarial is None:
        return None
    if isinstance(adversarial, str):
        check_choice("adversarial", adversarial, [None, *ATTACKS])
        adversarial = ATTACKS[adversarial]()
    if not hasattr(adversarial, "perturb"):
        raise TypeError(f"adversarial must be None, one of {list(ATTACKS)} or an attack, got {adversarial!r}")
    if not adversarial.fixes_edges and many:
        raise ValueError("an attack on edges would join the graphs of a collection; attack their features")
    if not adversarial.fixes_edges and weighted:
        raise ValueError("an attack on edges knows no edge weights; set graph.edge_weight = None, or attack features")
    return adversarial


def robust_accuracy(
    model: nn.Module,
    graph: Data | Sequence[Data],
    *,
    attack: str | Attack = "features",
    mask: str = "test_mask",
    restarts: int = 3,
    seed: int = 0,
) -> float:
    """Return the share of nodes (or graphs) that a model classifies rightly on the input and on every attack.

    An upper bound of the accuracy under the worst input in the budget; more steps and restarts bring it down.

    Args:
        model: A trained classifier; it is left as it was.
        graph: x, y and the mask; or a list of labelled graphs, split as :func:`metamerlib.train` splits them.
        attack: features (a radius of 0.1, 20 steps), edges (5 % of them, 40 steps) or an attack.
        mask: Name of the mask of the rows that are counted.
        restarts: Attacks: the first from the input itself, others from random places, every second with the margin
            as loss.
        seed: Seed of the attacks, and of the split of a list of graphs without masks.

    Raises:
        ValueError: If the mask is missing or empty.

    Example:
        >>> import metamerlib as ml
        >>> from metamerlib.models.adversarial import FeatureAttack, robust_accuracy
        >>> graph = ml.load_graph("bow-sbm")
        >>> model = ml.GNN(conv="gcn", in_channels=600, hidden_channels=16, out_channels=4, num_layers=2)
        >>> fit = ml.train(model, graph, epochs=30)
        >>> robust_accuracy(fit.model, graph, attack=FeatureAttack(0.3, 5), restarts=1) < fit.test_accuracy
        True
    """
    many = not isinstance(graph, Data)
    check_module(model)
    check_positive("restarts", restarts, integer=True)
    mask, seed = as_text("mask", mask, "test_mask"), as_seed(seed)
    whole = graph if isinstance(graph, Data) else labelled_union(graph, seed)
    if not many:
        check_graph(whole)
        check_model(model, whole)
    chosen = whole.get(mask)
    if chosen is None or not chosen.any():
        raise ValueError(f"the graph has no {mask} with a True entry; name another mask")
    if isinstance(attack, str) and attack in ATTACKS:
        attack = FeatureAttack(0.1, 20) if attack == "features" else EdgeAttack(steps=40, block=200_000)
    strong = attack_of(attack, many=many, weighted=whole.get("edge_weight") is not None)
    if strong is None:
        raise TypeError(f"attack must be one of {list(ATTACKS)} or an attack, got None")
    twin = private_copy(model)
    twin = fix_structure(twin) if strong.fixes_edges else twin
    right = _right(twin, whole, chosen)
    with torch.random.fork_rng([whole.x.device] if whole.x.is_cuda else []):
        torch.manual_seed(seed)
        for restart in range(restarts):
            right &= _right(twin, strong.perturb(twin, whole, chosen, restart=restart), chosen)
    return float(right.double().mean())


class _Weighted(nn.Module):
    """A model as PRBCD calls it."""

    def __init__(self, model: nn.Module, graph: Data) -> None:
        super().__init__()
        self.model, self.graph = model, graph

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Any:
        graph = copy.copy(self.graph)
        graph.edge_index, graph.edge_weight = edge_index, edge_weight
        return call(self.model, graph)


def _right(model: nn.Module, graph: Data, chosen: Tensor) -> Tensor:
    with torch.no_grad():
        return (call(model, graph).argmax(1) == graph.y)[chosen]


def _losses(graph: Data, mask: Tensor) -> tuple[Loss, Loss]:
    """Return the cross-entropy and the bounded margin of the masked rows, both to be raised."""
    y = graph.y[mask]

    def margin(logits: Tensor) -> Tensor:
        own = logits[mask].gather(1, y[:, None]).squeeze(1)
        other = logits[mask].scatter(1, y[:, None], -torch.inf).amax(1)
        return torch.tanh(other - own).mean()

    return lambda logits: F.cross_entropy(logits[mask], y), margin


def _gradient(model: nn.Module, graph: Data, x: Tensor, loss: Loss) -> Tensor:
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(loss(call(model, with_features(graph, x))), x)[0]


def _within(shift: Tensor, radius: Tensor, *, fill: bool = False) -> Tensor:
    """Bring each row into its ball; with ``fill`` on to its surface."""
    scale = radius / shift.norm(dim=1, keepdim=True).clamp(min=1e-30)
    return shift * (scale if fill else scale.clamp(max=1))


@contextmanager
def _coordinates(model: nn.Module, graph: Data) -> Iterator[Tensor | None]:
    """Let a model take coordinates for a while, and yield their basis ``[F, r]``; None where it must take features."""
    maps = first_linear_maps(model, graph.x.size(1))
    weights = [linear.weight for linear in maps]
    if not 0 < sum(weight.size(0) for weight in weights) < graph.x.size(1):
        yield None
        return
    basis = torch.linalg.qr(torch.cat([weight.detach() for weight in weights]).T)[0]
    wanted = _answer(model, graph, graph.x)
    try:
        for linear, weight in zip(maps, weights, strict=True):
            linear.weight = nn.Parameter(weight.detach() @ basis, requires_grad=False)
        got = _answer(model, graph, graph.x @ basis)
        if got is not None and wanted is not None and _close(got, wanted):
            yield basis
            return
    finally:
        for linear, weight in zip(maps, weights, strict=True):
            linear.weight = weight
    yield None


def _answer(model: nn.Module, graph: Data, x: Tensor) -> Tensor | None:
    """Return the logits at other features; None where a foreign model refuses their width in any way."""
    try:
        with torch.no_grad():
            return call(model, with_features(graph, x))
    except Exception:
        return None


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).norm() <= 1e-3 * b.norm())
