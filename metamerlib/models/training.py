"""Train a model on the labels of a graph, or of many."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import as_tensor, check_choice, check_graph, check_model, check_module, check_positive
from metamerlib.graphs.edit import with_features
from metamerlib.graphs.sampling import MASKS
from metamerlib.models.adversarial import Attack, attack_of
from metamerlib.models.calling import answer, forget_cached
from metamerlib.models.gnn import GNN
from metamerlib.models.propagation import fix_structure
from metamerlib.models.training_data import Lesson, check_apart, graph_lesson
from metamerlib.plain import as_real, as_seed, shown

SPARSE_BELOW = 0.1


@dataclass(frozen=True)
class Fit:
    """A trained model and how well it does.

    Attributes:
        model: A trained copy in evaluation mode, at the epoch of least validation loss.
        train_accuracy: Share of training nodes (or graphs) classified rightly.
        val_accuracy: The same for validation; NaN without a validation mask.
        test_accuracy: The same for testing; NaN without a test mask.
        best_epoch: Epoch whose parameters were kept, from 1.
        history: Columns epoch, train_loss, val_loss, val_accuracy.
    """

    model: nn.Module
    train_accuracy: float
    val_accuracy: float
    test_accuracy: float
    best_epoch: int
    history: pd.DataFrame


def train(
    model: nn.Module,
    graph: Data | Sequence[Data],
    *,
    epochs: int = 200,
    seed: int = 0,
    adversarial: str | Attack | None = None,
    init: str = "fresh",
    learning_rate: float = 0.01,
    weight_decay: float = 5e-4,
    patience: int | None = 100,
    batch_size: int | None = None,
) -> Fit:
    """Train a copy of a model by Adam on the cross-entropy of the training nodes, or training graphs.

    The parameters of least validation loss are kept, and training stops when that loss has not fallen for
    ``patience`` epochs. The global random state is left as it was.

    Args:
        model: Node-level model, or graph-level model for a list of graphs; it is not changed.
        graph: x ``[N, F]``, y ``[N]``, train_mask ``[N]``, optional val_mask and test_mask; or a list of
            graphs with y and masks ``[1]`` each, which without masks are split 60/20/20 under ``seed``, class
            by class (as :func:`metamerlib.graphs.collection.split_graphs` does).
        epochs: Largest number of epochs.
        seed: Seed of the parameters, of dropout, of mini-batches and of the split.
        adversarial: None; features or edges, for :class:`metamerlib.models.FeatureAttack` or
            :class:`metamerlib.models.EdgeAttack`; or such an attack with its parameters. Every epoch learns from
            the attacked input. Of the epochs after the attack's ramp, the parameters of least validation loss on
            the input itself are kept. How robust they are says :func:`metamerlib.models.robust_accuracy`.
        init: fresh (parameters are drawn anew under ``seed``) or keep.
        learning_rate: Of Adam.
        weight_decay: L2 penalty on all parameters.
        patience: Epochs without progress before stopping; None runs all epochs.
        batch_size: Training graphs in one step; None for all. For lists of graphs only.

    Raises:
        TypeError: If labels, features or an argument have the wrong type.
        ValueError: If there are no labels, nothing to train on, or an argument is out of range.

    Example:
        >>> import metamerlib as ml
        >>> graph = ml.load_graph("bow-sbm")
        >>> model = ml.GNN(conv="gcn", in_channels=600, hidden_channels=16, out_channels=4, num_layers=2)
        >>> ml.train(model, graph, epochs=50).test_accuracy > 0.5
        True
    """
    check_module(model)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"{type(model).__name__} has no parameter that can be trained; nothing would be learnt")
    many = isinstance(graph, list | tuple)
    if not many:
        check_graph(graph)
        check_model(model, graph)
    seed = as_seed(seed)
    check_choice("init", init, ["fresh", "keep"])
    weighted = isinstance(graph, Data) and graph.get("edge_weight") is not None
    attack = attack_of(adversarial, many=many, weighted=weighted)
    _check_schedule(learning_rate, weight_decay, epochs=epochs, patience=patience, batch_size=batch_size)
    lesson = graph_lesson(model, graph, seed=seed, batch_size=batch_size) if many else _node_lesson(graph, batch_size)
    whole = lesson.whole
    devices = [whole.x.device] if whole.x.is_cuda else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        trained = forget_cached(copy.deepcopy(model))
        trained.zero_grad()
        if init == "fresh":
            reset_parameters(trained)
        fixed = attack is None or attack.fixes_edges
        twin, lesson = (copy.deepcopy(trained), lesson) if many else _prepare(trained, lesson, fixed)
        optimiser = torch.optim.Adam(twin.parameters(), lr=learning_rate, weight_decay=weight_decay)
        history, best_epoch = _descend(twin, lesson, optimiser, epochs, patience, attack)
    trained.load_state_dict(twin.state_dict())
    trained.eval()
    with torch.no_grad():
        logits = class_scores(trained, whole)
    train_share, val_share, test_share = (accuracy(logits, whole, f"{part}_mask") for part in ("train", "val", "test"))
    return Fit(trained, train_share, val_share, test_share, best_epoch, history)


def _check_schedule(learning_rate: float, weight_decay: float, *, epochs: int, **counts: int | None) -> None:
    check_positive("epochs", epochs, integer=True)
    check_positive("learning_rate", learning_rate)
    if as_real("weight_decay", weight_decay) < 0:
        raise ValueError(f"weight_decay must be 0 or more, got {weight_decay!r}; 0 leaves the penalty out")
    for name, count in counts.items():
        if count is not None:
            check_positive(name, count, integer=True)


def class_scores(model: nn.Module, graph: Data) -> Tensor:
    """Call a model, and return its scores ``[N, C]``, one row for each label of the graph.

    Raises:
        ValueError: If the model fails, or returns something else.
    """
    found = answer(model, graph)
    if not isinstance(found, Tensor) or found.dim() != 2 or found.size(0) != graph.y.numel():
        raise ValueError(
            f"the model returns {shown(found)} for {graph.y.numel()} labels; expected one row of class scores for each "
            "(a graph-level model, with pooling, learns from a list of graphs)"
        )
    highest = int(graph.y.max()) if graph.y.device.type == "cpu" else 0
    if highest >= found.size(1):
        raise ValueError(f"labels run up to {highest}, but the model has {found.size(1)} classes; give it as many")
    return found


def accuracy(logits: Tensor, graph: Data, mask: str) -> float:
    """Return the share of masked nodes (or graphs) whose largest logit ``[N, C]`` is their label; NaN without any."""
    as_tensor("logits", logits, "N", "C")
    if not isinstance(graph, Data) or not isinstance(graph.y, Tensor) or graph.y.shape != logits.shape[:1]:
        raise ValueError(f"graph must hold one class y for each of {len(logits)} rows, got {shown(graph)}")
    check_choice("mask", mask, MASKS)
    chosen = graph.get(mask)
    if chosen is None or not chosen.any():
        return float("nan")
    return float((logits.argmax(1) == graph.y)[chosen].double().mean())


def reset_parameters(model: nn.Module) -> None:
    """Draw the parameters of a model anew, by its own method or those of its modules."""
    own = getattr(model, "reset_parameters", None)
    if own is not None:
        own()
        return
    owners = [m for m in model.modules() if next(m.parameters(recurse=False), None) is not None]
    resettable = [m for m in model.modules() if m is not model and hasattr(m, "reset_parameters")]
    covered = {id(inner) for m in resettable for inner in m.modules()}
    missed = [type(m).__name__ for m in owners if id(m) not in covered]
    if missed:
        raise ValueError(f"no way to draw {missed} anew; give the model a reset_parameters(), or use init='keep'")
    for module in resettable:
        module.reset_parameters()  # type: ignore[operator]


def _check_labels(graph: Data) -> None:
    if graph.y is None or graph.get("train_mask") is None:
        raise ValueError(f"training needs y and a train_mask with a True entry, got {graph}")
    for name in ("y", "train_mask", "val_mask", "test_mask"):
        if graph.get(name) is not None and not isinstance(graph[name], Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {shown(graph[name])}; convert with torch.as_tensor")
    if not graph.train_mask.any():
        raise ValueError(f"training needs y and a train_mask with a True entry, got {graph}")
    if graph.y.dim() != 1 or graph.y.numel() != graph.x.size(0):
        raise ValueError(f"y must hold one class per node, [{graph.x.size(0)}], got {list(graph.y.shape)}")
    if graph.y.dtype != torch.long:
        raise TypeError(f"y must be torch.long, got {graph.y.dtype}")
    for name in ("train_mask", "val_mask", "test_mask"):
        mask = graph.get(name)
        if mask is not None and (mask.dtype != torch.bool or mask.shape != graph.y.shape):
            raise ValueError(f"{name} must be bool {list(graph.y.shape)}, got {mask.dtype} {list(mask.shape)}")
    if int(graph.y[graph.train_mask].min()) < 0:
        raise ValueError(
            f"labels run from {int(graph.y.min())}; count classes from 0, and leave others out of the masks"
        )
    check_apart(graph)


def _node_lesson(graph: Data, batch_size: int | None) -> Lesson:
    _check_labels(graph)
    if batch_size is not None:
        raise ValueError(f"batch_size={batch_size} divides a list of graphs; a single graph is one batch, drop it")
    return _lesson_of(graph)


def _lesson_of(graph: Data) -> Lesson:
    validated = graph.get("val_mask") is not None and bool(graph.val_mask.any())
    return Lesson(graph, lambda: [graph], graph if validated else None)


def _prepare(model: nn.Module, lesson: Lesson, fixed: bool) -> tuple[nn.Module, Lesson]:
    """Return a copy to be trained and its lesson; ours run on sparse features and a fixed structure."""
    twin, graph = copy.deepcopy(model), lesson.whole
    if not isinstance(twin, GNN):
        return twin, lesson
    few = graph.x.count_nonzero() < SPARSE_BELOW * graph.x.numel()
    twin = fix_structure(twin) if fixed else twin
    return twin, _lesson_of(with_features(graph, graph.x.to_sparse_coo())) if few else lesson


def _descend(
    model: nn.Module,
    lesson: Lesson,
    optimiser: torch.optim.Optimizer,
    epochs: int,
    patience: int | None,
    attack: Attack | None,
) -> tuple[pd.DataFrame, int]:
    rows: list[tuple[int, float, float, float]] = []
    least, best_epoch, best = float("inf"), 0, copy.deepcopy(model.state_dict())
    first = 1 if attack is None else min(max(1, attack.ramp), epochs)
    for epoch in range(1, epochs + 1):
        train_loss = _learn(model, lesson, optimiser, None if attack is None else attack.at(epoch))
        val_loss, val_accuracy = (
            (train_loss, float("nan")) if lesson.held_out is None else _validate(model, lesson.held_out)
        )
        rows.append((epoch, train_loss, val_loss, val_accuracy))
        if epoch >= first and val_loss < least:
            least, best_epoch, best = val_loss, epoch, copy.deepcopy(model.state_dict())
        if patience is not None and epoch - max(best_epoch, first - 1) >= patience:
            break
    if best_epoch == 0:
        raise ValueError("the training loss was never finite; lower learning_rate or check the features")
    model.load_state_dict(best)
    return pd.DataFrame(rows, columns=["epoch", "train_loss", "val_loss", "val_accuracy"]), best_epoch


def _learn(model: nn.Module, lesson: Lesson, optimiser: torch.optim.Optimizer, attack: Attack | None) -> float:
    """Take one step for each batch of an epoch, attacked where there is an attack, and return the mean loss."""
    total, count = 0.0, 0
    for graph in lesson.batches():
        if attack is not None:
            graph = attack.perturb(model.eval(), graph, graph.train_mask)
        model.train()
        optimiser.zero_grad()
        y = graph.y[graph.train_mask]
        loss = F.cross_entropy(class_scores(model, graph)[graph.train_mask], y)
        loss.backward()
        optimiser.step()
        total, count = total + loss.item() * len(y), count + len(y)
    return total / count


def _validate(model: nn.Module, graph: Data) -> tuple[float, float]:
    model.eval()
    with torch.no_grad():
        logits = class_scores(model, graph)
        loss = F.cross_entropy(logits[graph.val_mask], graph.y[graph.val_mask])
    return loss.item(), accuracy(logits, graph, "val_mask")
