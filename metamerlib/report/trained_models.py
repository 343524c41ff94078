"""Trained models kept on disk, so that no notebook trains one twice."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metamerlib.plain import as_callable, as_count, as_mapping, as_seed, as_text, check_choice, shown
from metamerlib.report.arguments import as_folder
from metamerlib.report.files import project_root, settings_hash, write_atomic
from metamerlib.report.progress import to_terminal
from metamerlib.writing import check_archive, first_line

# Raised whenever training computes something else.
TRAINING_RECIPE = 2


@dataclass(frozen=True)
class Trained:
    """A model of an experiment and what its rows say of it.

    Attributes:
        model: In evaluation mode.
        test_accuracy: Share of test nodes (or graphs) classified rightly; NaN without any.
        val_accuracy: The same for validation; what tells a training that failed.
        weights: See `weights_hash`.
    """

    model: Any
    test_accuracy: float
    val_accuracy: float
    weights: str

    def row(self) -> dict[str, Any]:
        """Return the columns test_accuracy, val_accuracy and weights of a result row."""
        return {"test_accuracy": self.test_accuracy, "val_accuracy": self.val_accuracy, "weights": self.weights}


def weights_hash(model: Any) -> str:
    """Return 12 hex digits that stand for a model's parameters and buffers, to the last bit.

    Rows of one hash rest on the same network. The same training gives another hash on a machine that rounds
    otherwise, and then a row need not come out the same.

    >>> import torch
    >>> weights_hash(torch.nn.Identity())
    'e3b0c44298fc'
    """
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        array = np.ascontiguousarray(value.detach().cpu().numpy())
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:12]


def graph_hash(graph: Any) -> str:
    """Return 16 hex digits that stand for what a model is trained on: a graph, or a list of graphs."""
    for data in graph if isinstance(graph, list | tuple) and graph else [graph]:
        if not hasattr(data, "edge_index"):
            raise TypeError(f"graph must be a torch_geometric.data.Data or a list of them, got {shown(data)}")
    names = ("x", "edge_index", "edge_weight", "edge_attr", "y", "train_mask", "val_mask", "test_mask")
    digest = hashlib.sha256()
    for data in graph if isinstance(graph, list | tuple) else [graph]:
        for name in names:
            value = getattr(data, name, None)
            if value is not None and not hasattr(value, "detach"):
                raise TypeError(f"{name} must be a torch.Tensor, got {shown(value)}; convert with torch.as_tensor")
            if value is not None:
                array = np.ascontiguousarray(value.detach().cpu().numpy())
                digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        if all(getattr(data, name, None) is None for name in names):
            raise ValueError(
                f"graph holds nothing that a model could be trained on, got {data}; give it x and edge_index"
            )
        digest.update(b"end")
    return digest.hexdigest()[:16]


def source_hash(factory: str) -> str:
    """Return 16 hex digits that stand for the file behind `package.module:factory`."""
    spec = importlib.util.find_spec(factory.partition(":")[0])
    content = Path(spec.origin).read_bytes() if spec and spec.origin else b""
    return hashlib.sha256(content).hexdigest()[:16]


def cached_state(
    recipe: int,
    graph_hash: str,
    settings: Mapping[str, Any],
    build: Callable[[], Mapping[str, Any]],
    directory: str | Path | None = None,
) -> dict[str, Any]:
    """Return a trained state (tensors and numbers by name), calling `build` only if no file holds it.

    Args:
        recipe: integer to raise whenever training changes.
        graph_hash: see `graph_hash`.
        settings: JSON values that fix the model and its training, the seed among them.
        build: trains and returns for instance `{**model.state_dict(), "test_accuracy": 0.8}`.
        directory: folder of the files, by default `_build/models` of the project.

    Returns:
        The state on the CPU, as loaded from the file.
    """
    import torch

    recipe = as_count("recipe", recipe, least=0)
    as_text("graph_hash", graph_hash)
    as_callable("build", build, "build() that trains and returns a state by name")
    if directory is not None:
        directory = as_folder("directory", directory)
    key = settings_hash(settings, graph=graph_hash, recipe=recipe)
    path = Path(directory or project_root() / "_build" / "models") / f"{key}.pt"
    if path.exists():
        # A file that a kill, a full disk or a bad disk left unreadable counts as missing.
        try:
            check_archive(path)
            return torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
            to_terminal(f"{path} is made again: {first_line(error)}")
    buffer = io.BytesIO()
    torch.save(dict(as_mapping("what build returns", build(), "tensors and numbers by name")), buffer)
    write_atomic(path, buffer.getvalue())
    return torch.load(path, map_location="cpu", weights_only=True)


def _untrained(model: Any, graph: Any, seed: int) -> Trained:
    """Return a model with the seed's fresh parameters."""
    import torch

    from metamerlib.models.training import accuracy, class_scores, reset_parameters
    from metamerlib.models.training_data import labelled_union

    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        reset_parameters(model)
    whole = labelled_union(graph, seed) if isinstance(graph, list | tuple) else graph
    with torch.no_grad():
        logits = class_scores(model.eval(), whole)
    tested, validated = (accuracy(logits, whole, mask) for mask in ("test_mask", "val_mask"))
    return Trained(model, tested, validated, weights_hash(model))


def trained(
    architecture: str,
    graph: Any,
    *,
    seed: int,
    hidden_channels: int = 64,
    num_layers: int = 2,
    epochs: int = 200,
    pool: str | None = None,
    **options: Any,
) -> Trained:
    """Train a model on a graph or a list of graphs, or fetch it if that was done before.

    Args:
        architecture: convolution, or `package.module:factory`; see `models.build_model`.
        graph: Data with labels and a training mask, or a list of labelled graphs.
        seed: seed of the training, and of the split of a list of graphs without masks.
        hidden_channels: shape of a model of ours.
        num_layers: shape of a model of ours.
        epochs: 0 gives the model untrained, with the seed's fresh parameters.
        pool: pooling of a model of ours that classifies graphs: sum (the default for lists) or mean.
        **options: further keywords of `GNN` for a model of ours, such as act, residual or norm.
    """
    from metamerlib.graphs.collection import check_graphs
    from metamerlib.models.gnn import build_model
    from metamerlib.models.training import train

    many = isinstance(graph, list | tuple)
    if many:
        check_graphs(graph)
    seed, epochs = as_seed(seed), as_count("epochs", epochs, least=0)
    if pool is None and many:
        pool = "sum"
    check_choice("pool", pool, [None, "sum", "mean"])
    first = graph[0] if many else graph
    shape = {"hidden_channels": hidden_channels, "num_layers": num_layers}
    model = build_model(architecture, first, pool=pool, **shape, **options)
    if epochs == 0:
        return _untrained(model, graph, seed)

    def build() -> dict[str, Any]:
        fit = train(model, graph, epochs=epochs, seed=seed)
        return {"test_accuracy": fit.test_accuracy, "val_accuracy": fit.val_accuracy, **fit.model.state_dict()}

    settings = {"architecture": architecture, "shape": [hidden_channels, num_layers], "seed": seed, "epochs": epochs}
    if pool is not None:
        settings["pool"] = pool
    settings |= options
    if ":" in architecture:  # an edited factory is another model
        settings["source"] = source_hash(architecture)
    state = cached_state(TRAINING_RECIPE, graph_hash(graph), settings, build)
    tested, validated = (float(state.pop(name)) for name in ("test_accuracy", "val_accuracy"))
    model.load_state_dict(state)
    return Trained(model.eval(), tested, validated, weights_hash(model))


def trained_model(architecture: str, graph: Any, *, seed: int, **settings: Any) -> tuple[Any, float]:
    """Return the model of `trained`, which takes the same arguments, and its test accuracy."""
    made = trained(architecture, graph, seed=seed, **settings)
    return made.model, made.test_accuracy
