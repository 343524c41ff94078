from dataclasses import replace

import pytest
import torch

from metamerlib.graphs.edges import EdgeSet
from metamerlib.graphs.rewiring import draw_pairs
from metamerlib.search.discrete_loop import solve_discrete
from metamerlib.search.edges.prbcd import PRBCD, _repaired
from tests.search.edges.test_messages import problem_of


@pytest.mark.parametrize("conv", ["gcn", "sage"])
def test_finds_a_better_graph_of_the_same_size(conv):
    problem = problem_of(conv)
    solution = solve_discrete(problem, PRBCD(steps=30), max_steps=10, rtol=1e-9)
    assert solution.state.size(1) == 20
    assert solution.loss < solution.history.loss[0]


def test_same_seed_same_result_and_no_trace_in_the_global_generator():
    problem = problem_of("gcn")
    before = torch.random.get_rng_state()
    first, second = (list(PRBCD(steps=5, seed=3).iterate(problem))[1] for _ in range(2))
    assert torch.random.get_rng_state().equal(before)
    assert first[0]().equal(second[0]())


def test_what_comes_back_stays_within_the_overlap():
    problem = problem_of("gcn")
    reference, size = problem.limits.reference, len(problem.limits.reference)
    problem = replace(problem, limits=replace(problem.limits, highest=5))
    generator = torch.Generator().manual_seed(0)
    others = draw_pairs(3, problem.num_nodes, reference.keys, generator)
    proposed = torch.cat([reference.pairs, others], dim=1)
    for base, most in ((reference.pairs[:, :0], 5), (reference.pairs[:, :2], 5)):
        found = EdgeSet(_repaired(problem, base, proposed, generator), problem.num_nodes)
        assert len(found) == size and int(found.holds(base).sum()) == base.size(1)
        assert int(reference.holds(found.pairs).sum()) == most and bool(found.holds(others).all())
