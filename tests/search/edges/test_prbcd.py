import pytest
import torch

from metamerlib.search.discrete_loop import solve_discrete
from metamerlib.search.edges.prbcd import PRBCD
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
