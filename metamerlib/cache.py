"""Files that a kill cannot spoil, and trained models kept under a hash of what made them."""

import contextlib
import hashlib
import io
import json
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

# Raised whenever training computes something else.
TRAINING_RECIPE = 1


def project_root(start: str | Path | None = None) -> Path:
    """Return the nearest folder at or above `start` (default: here) that holds `_toc.yml`."""
    here = Path.cwd() if start is None else Path(start).resolve()
    for folder in (here, *here.parents):
        if (folder / "_toc.yml").is_file():
            return folder
    raise FileNotFoundError(f"no _toc.yml in {here} or above it; run inside a checkout of the project")


def store_folder(profile: str, store: str) -> Path:
    """Return the folder of a notebook's tables: `store` in the project, or one of its own for the quick profile.

    Args:
        profile: "published", "full" or "quick".
        store: folder relative to the project, or absolute.
    """
    profiles = ("published", "full", "quick")
    if profile not in profiles:
        raise ValueError(f"profile is {profile!r}; expected one of {', '.join(profiles)}")
    return project_root() / ("_build/quick/results" if profile == "quick" else store)


def write_atomic(path: str | Path, content: bytes) -> Path:
    """Write a file so that a reader finds the old content or the new, never a part of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted names, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def settings_hash(settings: Mapping[str, Any], **context: Any) -> str:
    """Return 16 hex digits that stand for JSON settings in a context, or name the value that is not JSON."""
    for name, value in settings.items():
        try:
            canonical_json(value)
        except (TypeError, ValueError) as error:
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            raise TypeError(
                f"parameter {name!r} is {value!r} ({kind}), not a JSON value; give a plain finite number, "
                "text, bool, None or a list of these"
            ) from error
    content = canonical_json({**context, "parameters": dict(settings)})
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def graph_hash(graph: Any) -> str:
    """Return 16 hex digits that stand for what a model is trained on: a graph, or a list of graphs."""
    names = ("x", "edge_index", "edge_weight", "edge_attr", "y", "train_mask", "val_mask", "test_mask")
    digest = hashlib.sha256()
    for data in graph if isinstance(graph, list | tuple) else [graph]:
        for name in names:
            value = getattr(data, name, None)
            if value is not None:
                array = np.ascontiguousarray(value.detach().cpu().numpy())
                digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
        digest.update(b"end")
    return digest.hexdigest()[:16]


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

    key = settings_hash(settings, graph=graph_hash, recipe=recipe)
    path = Path(directory or project_root() / "_build" / "models") / f"{key}.pt"
    # A file that a kill or a full disk left unreadable counts as missing.
    with contextlib.suppress(OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError):
        return torch.load(path, map_location="cpu", weights_only=True)
    buffer = io.BytesIO()
    torch.save(dict(build()), buffer)
    write_atomic(path, buffer.getvalue())
    return torch.load(path, map_location="cpu", weights_only=True)


def trained_model(
    architecture: str,
    graph: Any,
    *,
    seed: int,
    hidden_channels: int = 64,
    num_layers: int = 2,
    epochs: int = 200,
    pool: str | None = None,
) -> tuple[Any, float]:
    """Train a model on a graph or a list of graphs, or fetch it if that was done before.

    Args:
        architecture: convolution, or `package.module:factory`; see `models.build_model`.
        graph: Data with labels and a training mask, or a list of labelled graphs.
        seed: seed of the training, and of the split of a list of graphs without masks.
        hidden_channels, num_layers: shape of a model of ours.
        epochs: 0 gives the model untrained, with the seed's fresh parameters.
        pool: pooling of a model of ours that classifies graphs: sum (the default for lists) or mean.

    Returns:
        The model in evaluation mode, and its test accuracy.
    """
    import torch

    from metamerlib.capture import call
    from metamerlib.graph_training import labelled_union
    from metamerlib.models import build_model
    from metamerlib.training import accuracy, reset_parameters, train

    many = isinstance(graph, list | tuple)
    pool = pool or ("sum" if many else None)
    first = graph[0] if many else graph
    model = build_model(architecture, first, hidden_channels=hidden_channels, num_layers=num_layers, pool=pool)
    if epochs == 0:
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            reset_parameters(model)
        whole = labelled_union(graph, seed) if many else graph
        with torch.no_grad():
            return model.eval(), accuracy(call(model.eval(), whole), whole, "test_mask")

    def build() -> dict[str, Any]:
        fit = train(model, graph, epochs=epochs, seed=seed)
        return {"test_accuracy": fit.test_accuracy, **fit.model.state_dict()}

    settings = {"architecture": architecture, "shape": [hidden_channels, num_layers], "seed": seed, "epochs": epochs}
    if pool is not None:
        settings["pool"] = pool
    state = cached_state(TRAINING_RECIPE, graph_hash(graph), settings, build)
    test_accuracy = float(state.pop("test_accuracy"))
    model.load_state_dict(state)
    return model.eval(), test_accuracy
