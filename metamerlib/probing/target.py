"""The activations to be matched, and the residual of a candidate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.checks import check_graph, check_target
from metamerlib.probing.probe import Probe, Recording


@dataclass(frozen=True)
class Target:
    """Activations to be matched.

    Attributes:
        activation: ``[|S|, d_k]``.
        active: Where a rectified target is positive ``[|S|, d_k]``; None for other activations.
        nodes: S, or None for all rows.
    """

    activation: Tensor
    active: Tensor | None
    nodes: Tensor | None

    @classmethod
    def of(cls, recording: Recording, nodes: Tensor | None, *, compared: bool = True) -> Target:
        """Take the target from a recording of the reference; one that is not ``compared`` may be zero.

        Raises:
            ValueError: If all activations of S are zero, where no relative loss is defined.
        """
        h = rows_at(recording.activation, nodes).detach().clone()
        if not torch.isfinite(h).all():
            raise ValueError("the target activation holds NaN or infinite entries; check the model's weights")
        if compared and not h.any():
            raise ValueError("the target activation is zero on all matched nodes; the relative loss is undefined")
        if compared:
            _check_range(h)
        active = rows_at(recording.pre_activation, nodes) > 0 if recording.rectified else None
        return cls(h, active, nodes)

    @classmethod
    def given(cls, wanted: object, own: Target, recording: Recording, probe: Probe, graph: Data) -> Target:
        """Take the target from activations ``[|S|, d_k]``, or from those of another graph of as many nodes.

        Args:
            wanted: Activations, or a graph.
            own: The reference's own target, which a tensor must be like.
            recording: The layer on the reference.
            probe: Records the layer.
            graph: The reference.

        Raises:
            TypeError: If it is neither a tensor nor a graph, or has another dtype.
            ValueError: If its shape differs, or it is zero or not finite.
        """
        if isinstance(wanted, Data):
            return _target_of_graph(wanted, own, probe, graph)
        check_target(wanted, own.activation)
        assert isinstance(wanted, Tensor)
        _check_range(wanted)
        h, z = wanted.detach().to(own.activation.device).clone(), recording.pre_activation
        plain = own.active is not None and z is not None and torch.equal(recording.activation, z.clamp(min=0))
        return cls(h, h > 0 if plain else None, own.nodes)

    def residual(self, recording: Recording, copies: int) -> tuple[Tensor, Tensor]:
        r"""Return the residual that is minimised and the plain one, both ``[B, |S|, d_k]``.

        For a rectified layer, with :math:`z'` the pre-activation of the candidate,

        .. math:: r = h' - h + [z > 0] \min(z', 0),

        which is :math:`z' - h` on active units and :math:`\max(z', 0)` on the others where there is no
        residual connection. It vanishes exactly when the activations are equal there, and unlike
        :math:`h' - h` it has a gradient on dead units.
        """
        plain = rows_at(by_copy(recording.activation, copies), self.nodes) - self.activation
        if self.active is None or recording.pre_activation is None:
            return plain, plain.detach()
        z = rows_at(by_copy(recording.pre_activation, copies), self.nodes)
        return plain + self.active * z.clamp(max=0), plain.detach()

    def at_nodes(self, rows: Tensor, num_nodes: int) -> Tensor | None:
        """Return numbers of the matched rows ``[|S|]`` at their nodes ``[N]``; None if rows are not nodes."""
        if self.nodes is not None:
            return rows.new_zeros(num_nodes).index_copy_(0, self.nodes, rows)
        return rows if rows.numel() == num_nodes else None

    def dead_units(self, recording: Recording) -> int | None:
        """Count units that are active in the target and dead in a recording; None if z is out of reach."""
        if self.active is None or recording.pre_activation is None:
            return None
        z = rows_at(recording.pre_activation, self.nodes)
        return int(((self.activation > 0) & (z <= 0)).sum())


def _check_range(h: Tensor) -> None:
    """Raise unless squared residuals of a target can be computed in its dtype, from rounding to 1 / rounding."""
    if h.dtype in (torch.float16, torch.bfloat16):
        raise TypeError(
            f"the layer computes in {h.dtype}, whose rounding hides what a search follows; search with model.float() "
            "and graph.x.float(), then convert"
        )
    limit, largest = torch.finfo(h.dtype), float(h.abs().max())
    norm = largest * float((h / largest).double().norm())
    if not (limit.tiny / limit.eps) ** 0.5 <= norm <= (limit.max * limit.eps) ** 0.5:
        raise ValueError(
            f"the target has norm {norm:.1e}, and squares of {h.dtype} tell nothing there; scale the features or the "
            "weights towards 1" + (", or use float64" if h.dtype == torch.float32 else "")
        )


def _target_of_graph(wanted: Data, own: Target, probe: Probe, graph: Data) -> Target:
    check_graph(wanted)
    if wanted.x.shape != graph.x.shape or wanted.x.dtype != graph.x.dtype:
        raise ValueError(
            f"target is a graph with features {wanted.x.dtype} {list(wanted.x.shape)}; expected {graph.x.dtype} "
            f"{list(graph.x.shape)} as in the reference, so choose one of as many nodes"
        )
    with torch.no_grad():
        found = Target.of(probe(wanted.clone().to(graph.x.device), complete=False), own.nodes)
    check_target(found.activation, own.activation)
    return found


def by_copy(rows: Tensor, copies: int) -> Tensor:
    """Divide the rows of a union of equal copies ``[B * n, d]`` by copy ``[B, n, d]``."""
    return rows.reshape(copies, -1, rows.size(-1))


def rows_at(values: Tensor | None, nodes: Tensor | None) -> Tensor:
    """Return the rows of some nodes ``[..., |S|, d]``; all of them for None."""
    assert values is not None
    return values if nodes is None else values.index_select(-2, nodes)
