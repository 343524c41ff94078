"""Metamers of graph neural networks: different graphs that a model cannot tell apart.

Every public name is imported on first use, so that reading a published table
does not load torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metamerlib import csbm as csbm
    from metamerlib import figures as figures
    from metamerlib import records as records
    from metamerlib.exact import nullspace_metamer as nullspace_metamer
    from metamerlib.extremes import farthest_metamer as farthest_metamer
    from metamerlib.extremes import several_metamers as several_metamers
    from metamerlib.graphs import available_graphs as available_graphs
    from metamerlib.graphs import load_graph as load_graph
    from metamerlib.graphs import load_graphs as load_graphs
    from metamerlib.joining import join as join
    from metamerlib.manifold import log_volume_change as log_volume_change
    from metamerlib.manifold import metamer_dimension as metamer_dimension
    from metamerlib.many import find_metamers as find_metamers
    from metamerlib.metamer import Metamer as Metamer
    from metamerlib.metamer import find_metamer as find_metamer
    from metamerlib.metrics.compare import compare as compare
    from metamerlib.models import GNN as GNN
    from metamerlib.slicing import plane_slice as plane_slice
    from metamerlib.switching import switch_metamer as switch_metamer
    from metamerlib.tangent import project_to_tangent as project_to_tangent
    from metamerlib.tangent import tangent_basis as tangent_basis
    from metamerlib.training import train as train
    from metamerlib.walking import walk as walk

__version__ = "0.1.0"

_HOME = {
    "load_graph": "graphs",
    "load_graphs": "graphs",
    "available_graphs": "graphs",
    "GNN": "models",
    "train": "training",
    "find_metamer": "metamer",
    "find_metamers": "many",
    "Metamer": "metamer",
    "compare": "metrics.compare",
    "nullspace_metamer": "exact",
    "switch_metamer": "switching",
    "metamer_dimension": "manifold",
    "log_volume_change": "manifold",
    "tangent_basis": "tangent",
    "project_to_tangent": "tangent",
    "walk": "walking",
    "join": "joining",
    "farthest_metamer": "extremes",
    "several_metamers": "extremes",
    "plane_slice": "slicing",
}
_MODULES = (
    "capture",
    "csbm",
    "exact",
    "figures",
    "graphs",
    "lifts",
    "manifold",
    "metrics",
    "models",
    "records",
    "switching",
    "training",
)

__all__ = ["__version__", "csbm", "figures", "records", *_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})
