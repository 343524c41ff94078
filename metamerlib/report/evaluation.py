"""One row for a model: how well it classifies, what it forgets, what it can exchange, and how sure that is."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from torch import nn
from torch_geometric.data import Data

from metamerlib.certificates.appraisal import COLUMNS, MEASURES, Layers, Setting, appraise
from metamerlib.checks import check_graph, check_module, check_positive
from metamerlib.models.calling import Forward, unwrapped
from metamerlib.models.gnn import GNN, build_model
from metamerlib.models.training import train
from metamerlib.plain import as_count, as_list, as_mapping, as_seed, check_choice, check_forward, made_by, shown
from metamerlib.report.findings import mean_interval

USUAL = ("features", "exact", "dimension", "volume")
WITH_INTERVAL = (
    "test_accuracy", "excess_features", "excess_structure", "kept_hidden", "kept_logits", "visible_cosine_hidden",
    "visible_cosine_logits", "dimension_share", "volume_per_unit", "transfer",
)  # fmt: skip
ABOUT: Mapping[str, str] = {
    "model": "name of the factory, or class of the model",
    "graph": "name of the graph",
    "verdict": "of the metamers of the logits: matched and different, or what was missed, with counts over seeds",
    "seeds": "number of training runs, or of searches where a trained model was handed in",
    "parameters": "number of parameters of the model",
    **COLUMNS,
    **{f"{name}_low": f"lower end of the 95 % interval of {name} over seeds" for name in WITH_INTERVAL},
    **{f"{name}_high": f"upper end of the 95 % interval of {name} over seeds" for name in WITH_INTERVAL},
    "seconds": "wall-clock seconds of a run, training included, mean over seeds",
    "peak_memory_mb": "largest resident memory of the process so far, MiB",
}
FORM = "factory(graph) -> torch.nn.Module, or (model, (hidden layer, logits layer))"
Candidate = nn.Module | str | Callable[[Data], Any]


def evaluate(
    model_or_factory: Candidate,
    graph: Data,
    *,
    seeds: Iterable[int] = (0,),
    layers: Layers | None = None,
    measures: Iterable[str] = USUAL,
    epochs: int = 200,
    nodes: int = 8,
    rtol: float = 1e-6,
    max_steps: int | None = None,
    judges: Mapping[str, nn.Module] | None = None,
    forward: Forward | None = None,
) -> pd.Series:
    """Measure one model on one graph: a row of the benchmark.

    A factory is called and trained anew for each seed, so that a replicate is a training run; a model is measured as
    it stands, and seeds change the starts of the searches only.

    Args:
        model_or_factory: A model; the name of a convolution of :class:`metamerlib.GNN`; or
            ``factory(graph) -> model`` (or ``(model, (hidden, logits))``), itself or as ``package.module:factory``.
        graph: x ``[N, F]``, edge_index ``[2, E]``; y and masks ``[N]`` where a factory's model is to be trained.
        seeds: One for each run.
        layers: The last hidden layer (or None) and that of the logits (or None for the model's output), as
            :func:`metamerlib.find_metamer` takes layers; default: what the factory says, else those of a
            :class:`metamerlib.GNN`, else the output alone.
        measures: features (kept, visible likeness, excess invariance, verdict), structure (the same by edges; slow),
            exact, dimension, volume, transfer.
        epochs: Of training.
        nodes: Number of nodes, drawn at random, whose dimension and volume are averaged.
        rtol: A search has converged at this loss.
        max_steps: Largest number of evaluations of a search.
        judges: Trained models by name, for transfer.
        forward: Replaces the default call, ``forward(model, graph) -> Tensor``.

    Returns:
        One value for each name of ``ABOUT``: means over seeds, the ends of their 95 % intervals (NaN for one seed),
        the verdict first. A measure that does not apply is NaN, and ``reasons`` says why.

    Raises:
        TypeError: If an argument has the wrong type, or the factory makes no model.
        ValueError: If an argument is out of range or unknown, or the factory fails.

    Example:
        >>> import metamerlib as ml
        >>> row = ml.evaluate("gcn", ml.load_graph("karate"), epochs=20, measures=["features"])
        >>> row["model"], row["seeds"], bool(row["kept_logits"] < 1)
        ('gcn', 1, True)
    """
    check_graph(graph)
    seeds = [as_seed(seed) for seed in as_list("seeds", seeds, "seeds", least=1)]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds are {shown(seeds)}; each stands for one run, so name none twice")
    measures = as_list("measures", measures, "names")
    for name in measures:
        check_choice("measure", name, MEASURES)
    if layers is not None:
        _check_layers(layers)
    epochs, nodes = as_count("epochs", epochs), as_count("nodes", nodes)
    check_positive("rtol", rtol, below=1)
    max_steps = None if max_steps is None else as_count("max_steps", max_steps)
    if judges is not None:
        for name, judge in as_mapping("judges", judges, "models by name").items():
            check_module(judge, f"judge {name!r}")
    check_forward(forward)
    rows = []
    for seed in seeds:
        began = time.perf_counter()
        model, places = candidate(model_or_factory, graph)
        if model is not model_or_factory:
            model = train(model, graph, epochs=epochs, seed=seed).model
        setting = Setting(layers or places, seed, nodes, rtol, max_steps, judges, forward)
        row = appraise(model, graph, measures, setting)
        rows.append(row | {"seconds": time.perf_counter() - began, "parameters": _size(model)})
    return _over_seeds(pd.DataFrame(rows), name_of(model_or_factory), graph)


def candidate(model_or_factory: Candidate, graph: Data) -> tuple[nn.Module, Layers]:
    """Return a model, made where it must be, and the names of its last hidden layer and of its logits.

    Args:
        model_or_factory: As for :func:`evaluate`.
        graph: What a factory is called with.
    """
    if isinstance(model_or_factory, nn.Module):
        return model_or_factory, usual_layers(model_or_factory)
    if isinstance(model_or_factory, str):
        name = model_or_factory
        made = made_by("model", name, FORM, graph) if ":" in name else build_model(name, graph)
    elif (
        isinstance(model_or_factory, type) or not callable(model_or_factory) or hasattr(model_or_factory, "edge_index")
    ):
        raise TypeError(f"model_or_factory must be a model, a name or {FORM}, got {shown(model_or_factory)}")
    else:
        made = model_or_factory(graph)
    model, layers = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module):
        raise TypeError(f"the factory {name_of(model_or_factory)} makes {shown(made)}; expected {FORM}")
    check_module(model)
    if layers is not None:
        _check_layers(layers)
    return model, layers or usual_layers(model)


def usual_layers(model: nn.Module) -> Layers:
    """Return the last hidden layer and that of the logits of a GNN of ours; (None, None) for others."""
    inner = unwrapped(model)
    if not isinstance(inner, GNN):
        return None, None
    count = len(inner.layers)
    return (count, "head") if inner.head is not None else (count - 1 or None, count)


def name_of(model_or_factory: Candidate) -> str:
    """Return the name that stands in the row."""
    if isinstance(model_or_factory, str):
        return model_or_factory
    own = getattr(model_or_factory, "__name__", None)
    return own if isinstance(own, str) else type(model_or_factory).__name__


def _check_layers(layers: object) -> None:
    if not isinstance(layers, tuple | list) or len(layers) != 2:
        raise TypeError(
            f"layers must be a pair (last hidden layer, logits layer), either of them None, got {shown(layers)}"
        )


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _over_seeds(rows: pd.DataFrame, name: str, graph: Data) -> pd.Series:
    found: dict[str, Any] = {
        "model": name, "graph": str(graph.get("name") or ""), "verdict": _verdict(rows), "seeds": len(rows),
        "parameters": int(rows["parameters"].iloc[0]),
    }  # fmt: skip
    for column in COLUMNS:
        values = rows[column]
        if values.dtype.kind in "if":
            finite = values.dropna()
            found[column] = float(finite.mean()) if len(finite) else math.nan
        else:
            found[column] = "; ".join(dict.fromkeys(text for text in values if text))
    for column in WITH_INTERVAL:
        finite = rows[column].dropna()
        ends = mean_interval(finite)[1:] if len(finite) else (math.nan, math.nan)
        found |= {f"{column}_low": ends[0], f"{column}_high": ends[1]}
    found |= {"seconds": float(rows["seconds"].mean()), "peak_memory_mb": _peak_memory()}
    return pd.Series({column: found[column] for column in ABOUT}, dtype=object)


def _verdict(rows: pd.DataFrame) -> str:
    """Say what the metamers of the logits are, with a count where runs differ."""
    if rows["matched"].isna().any():
        return "not measured"
    words = np.where(rows["matched"] == 1, np.where(rows["different"] == 1, "metamer", "matched only"), "not matched")
    names, counts = np.unique(words, return_counts=True)
    if len(names) == 1:
        return str(names[0])
    return ", ".join(f"{name} {count} of {len(rows)}" for name, count in zip(names, counts, strict=True))


def _peak_memory() -> float:
    try:
        import resource
    except ImportError:  # not on Windows
        return math.nan
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
