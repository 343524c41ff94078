r"""The part of the features that the first linear maps of a model can see.

If X enters a model only through linear maps :math:`W_1 \ldots W_m`, the model depends on X only through
:math:`X Q`, where Q ``[F, r]`` is an orthonormal basis of the joint column space of
:math:`[W_1 \ldots W_m]`. Whatever is added in the orthogonal complement is invisible at every layer, and a
search for a metamer needs only the r coordinates of each row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from metamerlib.checks import check_module
from metamerlib.graphs.edit import with_features
from metamerlib.models.first_maps import first_linear_maps as first_linear_maps
from metamerlib.plain import as_count
from metamerlib.probing.agreement import agree
from metamerlib.probing.probe import Probe

_SMALLEST_SCALE = 1e-2


@dataclass(frozen=True)
class RowSpace:
    """Orthonormal basis of what the first linear maps see, with one scale per direction.

    Attributes:
        basis: Q ``[F, r]``, orthonormal columns.
        scale: ``[r]``; dividing the projected weights by it makes their directions equally strong.
    """

    basis: Tensor
    scale: Tensor

    @property
    def rank(self) -> int:
        """Number r of directions of the features that the model can see."""
        return self.basis.size(1)

    def coordinates(self, x: Tensor) -> Tensor:
        """Map features ``[..., F]`` to scaled coordinates ``[..., r]``."""
        return x @ self.basis * self.scale

    def features(self, coordinates: Tensor, base: Tensor) -> Tensor:
        """Return the features ``[..., F]`` nearest to ``base`` that have the given coordinates ``[..., r]``."""
        return base + ((coordinates - self.coordinates(base)) / self.scale) @ self.basis.T

    def invisible(self, noise: Tensor) -> Tensor:
        """Project ``noise [..., F]`` on to the directions that the model cannot see."""
        once = noise - (noise @ self.basis) @ self.basis.T
        return once - (once @ self.basis) @ self.basis.T

    def project(self, model: nn.Module) -> None:
        """Change a private copy in place so that it takes coordinates ``[N, r]`` instead of features."""
        for linear in first_linear_maps(model, self.basis.size(0)):
            linear.weight = nn.Parameter(linear.weight @ self.basis / self.scale, requires_grad=False)
            setattr(linear, "in_features" if isinstance(linear, nn.Linear) else "in_channels", self.rank)


def row_space(model: nn.Module, num_features: int) -> RowSpace | None:
    """Compute the joint row space of a model's first linear maps; None if there is no such map.

    The rank is cut at LAPACK's tolerance, ``max(shape) * eps`` times the largest singular value, and the
    decomposition runs in float64.

    Args:
        model: Any torch model.
        num_features: F.
    """
    check_module(model)
    num_features = as_count("num_features", num_features)
    weights = [linear.weight.detach() for linear in first_linear_maps(model, num_features)]
    if not weights:
        return None
    stacked = torch.cat(weights)
    _, strength, rows = torch.linalg.svd(stacked.double(), full_matrices=False)
    tolerance = max(stacked.shape) * torch.finfo(stacked.dtype).eps * strength[0]
    rank = int((strength > tolerance).sum())
    if rank == 0:
        return None
    scale = strength[:rank].clamp(min=_SMALLEST_SCALE * strength[0])
    return RowSpace(rows[:rank].T.contiguous().to(stacked.dtype), scale.to(stacked.dtype))


def sees_only(probe: Probe, space: RowSpace, inputs: list[tuple[Data, Tensor]], *, complete: bool = False) -> bool:
    """Test whether the recorded layer depends on the features only through the row space.

    A projected copy must reproduce the activations of every graph given, one of them far from the reference.
    A model that uses X elsewhere, or not linearly, fails: its shapes or its values no longer fit.

    Args:
        probe: Records the layer of the full model.
        space: The row space to be tested.
        inputs: Graphs for the full model, each with its coordinates ``[N, r]``.
        complete: Whether the model's output must depend on no more either.
    """
    try:
        twin = projected(probe, space)
        with torch.no_grad():
            for graph, coordinates in inputs:
                seen = twin(with_features(graph, coordinates), complete=complete)
                full = probe(graph, complete=complete)
                if not agree(seen.activation, full.activation):
                    return False
                if seen.output is not None and full.output is not None and not agree(seen.output, full.output):
                    return False
    except Exception:  # a foreign model may refuse the other width in any way
        return False
    return True


def projected(probe: Probe, space: RowSpace) -> Probe:
    """Return a probe of the same layer whose model takes coordinates ``[N, r]``."""
    twin = probe.copy()
    space.project(twin.model)
    return twin
