"""The activations to be matched, and the residual of a candidate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metamerlib.probing.probe import Recording


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
    def of(cls, recording: Recording, nodes: Tensor | None) -> Target:
        """Take the target from a recording of the reference.

        Raises:
            ValueError: If all activations of S are zero, where no relative loss is defined.
        """
        h = rows_at(recording.activation, nodes).detach().clone()
        if not torch.isfinite(h).all():
            raise ValueError("the target activation holds NaN or infinite entries; check the model's weights")
        if not h.any():
            raise ValueError("the target activation is zero on all matched nodes; the relative loss is undefined")
        active = rows_at(recording.pre_activation, nodes) > 0 if recording.rectified else None
        return cls(h, active, nodes)

    def residual(self, recording: Recording, copies: int) -> tuple[Tensor, Tensor]:
        """Return the residual that is minimised and the plain one, both ``[B, |S|, d_k]``.

        For a rectified layer, with :math:`z'` the pre-activation of the candidate,

        .. math:: r = h' - h + [z > 0] \\min(z', 0),

        which is :math:`z' - h` on active units and :math:`\\max(z', 0)` on the others where there is no
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


def by_copy(rows: Tensor, copies: int) -> Tensor:
    return rows.reshape(copies, -1, rows.size(-1))


def rows_at(values: Tensor | None, nodes: Tensor | None) -> Tensor:
    assert values is not None
    return values if nodes is None else values.index_select(-2, nodes)
