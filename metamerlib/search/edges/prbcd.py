"""Projected randomised block coordinate descent, as PyTorch Geometric has it, for comparison."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from metamerlib.graphs.edges import EdgeSet, pair_keys
from metamerlib.graphs.rewiring import draw_pairs
from metamerlib.search.edges.problem import StructureProblem
from metamerlib.search.edges.relaxation import Relaxed

COEFFICIENTS = {
    "max_final_samples": 20,
    "max_trials_sampling": 20,
    "with_early_stopping": True,
    "eps": 1e-7,
}


class _Residual(nn.Module):
    def __init__(self, problem: StructureProblem, relaxed: Relaxed) -> None:
        super().__init__()
        self.relaxed, self.problem = relaxed, problem

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        recording = self.relaxed.record(x, edge_index, edge_weight.to(x))
        return self.problem.target.residual(recording, 1)[0][0]


@dataclass(frozen=True)
class PRBCD:
    """PRBCD (Geisler et al., NeurIPS 2021): real weights on a random block of pairs, then the best sampled graph.

    The attack starts from no edge at all and may add |E|; its loss is minus the objective. What the limits forbid is
    replaced by random pairs.

    Attributes:
        steps: Number of epochs.
        block: Number of pairs in the block.
        learning_rate: As in PyTorch Geometric.
        resample: Share of the epochs after which the block is no longer drawn anew.
        seed: Seed of the blocks and samples.
    """

    moves: ClassVar[str] = "edges"

    steps: int = 400
    block: int = 200_000
    learning_rate: float = 1000.0
    resample: float = 0.75
    seed: int = 0

    def iterate(self, problem: StructureProblem) -> Iterator[tuple[Callable[[], Tensor], float]]:
        """Yield the start and the result, each a set of edges ``[2, |E|]`` with its loss."""
        yield problem.start.clone, problem.look(problem.start).loss
        found = self._attack(problem)
        yield found.clone, problem.look(found).loss

    def _attack(self, problem: StructureProblem) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'torch_geometric.contrib' contains experimental code")
            from torch_geometric.contrib.nn import PRBCDAttack

        limits, x = problem.limits, problem.graph.x
        size = len(limits.reference)
        base = problem.start[:, limits.reference.holds(problem.start)][:, : limits.lowest]
        missing = size - base.size(1)
        if not missing:
            return problem.start
        norm = problem.target.activation.square().sum()

        def gain(prediction: Tensor, labels: Tensor, index: Any = None) -> Tensor:
            return -prediction.square().sum() / norm

        model = _Residual(problem, problem.relaxed())
        with torch.random.fork_rng([]):
            torch.manual_seed(self.seed)
            attack = PRBCDAttack(
                model, block_size=min(max(self.block, 2 * missing), 4 * limits.reference.most), epochs=self.steps,
                epochs_resampling=int(self.resample * self.steps), loss=gain, lr=self.learning_rate, log=False,
                **COEFFICIENTS,
            )  # fmt: skip
            edges = torch.cat([base, base.flip(0)], dim=1)
            found, _ = attack.attack(x, edges, x.new_zeros(0), budget=missing)
        pairs = found[:, found[0] < found[1]].to(x.device)
        return _repaired(problem, base, pairs, torch.Generator().manual_seed(self.seed))


def _repaired(problem: StructureProblem, base: Tensor, pairs: Tensor, generator: torch.Generator) -> Tensor:
    """Keep the base, what fits of the rest, and fill up with random pairs that are no edges of the reference."""
    limits, num_nodes = problem.limits, problem.num_nodes
    reference, size = limits.reference, len(limits.reference)
    fresh = pairs[:, ~EdgeSet(base, num_nodes).holds(pairs)]
    back = reference.holds(fresh)
    allowed = (base.size(1) + back.cumsum(0) <= limits.highest) | ~back
    chosen = torch.cat([base, fresh[:, allowed]], dim=1)[:, :size]
    avoid = torch.cat([reference.keys, pair_keys(chosen, num_nodes)]).unique()
    spare = reference.most - avoid.numel()
    missing = size - chosen.size(1)
    drawn = draw_pairs(min(missing, spare), num_nodes, avoid, generator)
    chosen = torch.cat([chosen, drawn], dim=1)
    if chosen.size(1) < size:
        left = ~EdgeSet(chosen, num_nodes).holds(reference.pairs)
        chosen = torch.cat([chosen, reference.pairs[:, left][:, : size - chosen.size(1)]], dim=1)
    return chosen
