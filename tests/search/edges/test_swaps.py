import pytest
import torch

from metamerlib.graphs.edges import both_directions, pair_keys
from metamerlib.search.discrete_loop import solve_discrete
from metamerlib.search.edges.moves import admissible, disjoint, influence, score_rewirings, score_switches
from metamerlib.search.edges.swaps import EdgeSwaps, metrics_of
from tests.helpers.edges import random_graph
from tests.search.edges.test_messages import problem_of
from tests.search.edges.test_relaxation import CONVOLUTIONS


def influences(problem, shift):
    look = problem.look_closely(problem.start, 8, torch.Generator().manual_seed(0))
    degree = torch.bincount(problem.start.reshape(-1), minlength=14).double()
    edges = both_directions(problem.start)
    metrics = metrics_of(look, degree, 64)
    return influence(look.calls, metrics, degree, edges, shift=shift), look


def true_change(problem, look, moves):
    return (
        torch.tensor(
            [problem.look(moves.take(torch.tensor([k])).apply(problem.start)).objective for k in range(len(moves))],
            dtype=torch.float64,
        )
        - look.objective
    )


@pytest.mark.parametrize("conv", ["gcn", "gin", "sage", "cheb"])
@pytest.mark.parametrize("shift", [False, True])
def test_scores_foretell_the_change_of_the_objective(conv, shift):
    """Exact but for the curvature, which is estimated, and units that are switched on."""
    problem = problem_of(conv, layer=1)
    _, look = influences(problem, shift)
    generator, solver = torch.Generator().manual_seed(3), EdgeSwaps(rank=64)
    degree = torch.bincount(problem.start.reshape(-1), minlength=14).double()
    metrics = metrics_of(problem.look_closely(problem.start, 8, torch.Generator().manual_seed(0)), degree, 64)
    foretold, truth = [], []
    for _ in range(12):
        moves = solver._propose(problem, problem.start, look, metrics, degree, shift, 1e3, generator)
        foretold.append(moves.score)
        truth.append(true_change(problem, look, moves))
    foretold, truth = torch.cat(foretold), torch.cat(truth)
    assert torch.corrcoef(torch.stack([foretold, truth]))[0, 1] > 0.8


def test_block_scores_equal_the_formula():
    problem = problem_of("gcn", layer=1)
    seen, _ = influences(problem, False)
    rows, columns = problem.start[:, :3], problem.start[:, 5:9]
    scores = score_switches(seen, rows, columns)
    for i in range(3):
        for j in range(4):
            a, b, c, d = *rows[:, i].tolist(), *columns[:, j].tolist()
            by_hand = 0.0
            for x, z, y in ((a, d, b), (b, c, a), (c, b, d), (d, a, c)):
                step = seen.message[z] - seen.message[y]
                by_hand += seen.pull[x] @ step + seen.weight[x, 0] * step.square().sum()
            assert scores[i, j].item() == pytest.approx(by_hand.item())


def test_rewirings_are_scored_in_one_product():
    problem = problem_of("gcn", layer=1)
    seen, _ = influences(problem, True)
    rows = problem.start[:, :3]
    whole = score_rewirings(seen, rows, torch.arange(14))
    alone = torch.cat([score_rewirings(seen, rows[:, [i]], torch.arange(14)) for i in range(3)])
    torch.testing.assert_close(whole, alone)


@pytest.mark.parametrize("conv", CONVOLUTIONS)
def test_descends_for_every_convolution(conv):
    solution = solve_discrete(problem_of(conv), EdgeSwaps(steps=40), max_steps=40, rtol=1e-9)
    assert solution.loss < 0.7 * solution.history.loss[0]


def test_exact_attribution_adds_up():
    """With one propagation and degrees kept, the changes of moves add up to the change of all together."""
    from metamerlib.search.edges.swaps import _attribute

    problem = problem_of("sage", layer=1)
    look = problem.look_closely(problem.start, 4, torch.Generator().manual_seed(0))
    degree = torch.bincount(problem.start.reshape(-1), minlength=14).double()
    metrics = metrics_of(look, degree, 8)
    solver, generator = EdgeSwaps(), torch.Generator().manual_seed(1)
    moves = solver._propose(problem, problem.start, look, metrics, degree, False, 1e3, generator)
    together = problem.look(moves.apply(problem.start))
    change = _attribute(problem, problem.start, together, look, moves)
    torch.testing.assert_close(change, true_change(problem, look, moves))
    assert change.sum().item() == pytest.approx(together.objective - look.objective)


def test_moves_are_admissible_and_apart():
    problem = problem_of("gcn")
    look = problem.look_closely(problem.start, 4, torch.Generator().manual_seed(0))
    degree = torch.bincount(problem.start.reshape(-1), minlength=14).double()
    moves = EdgeSwaps()._propose(
        problem, problem.start, look, metrics_of(look, degree, 8), degree, False, 1e3, torch.Generator().manual_seed(0)
    )
    present = pair_keys(problem.start, 14).sort().values
    assert admissible(moves, 14, present, present[:0]).all()
    assert moves.ends.reshape(-1).unique().numel() == 4 * len(moves)
    assert len(disjoint(moves, 14)) == len(moves) > 0


def test_temperature_falls_to_zero():
    solver = EdgeSwaps(steps=100, hot=0.1, cold=0.001, quench=0.5)
    assert solver.temperature(0) == 0.1
    assert solver.temperature(25) == pytest.approx(0.01)
    assert solver.temperature(50) == 0.0


def test_graph_for_tests_is_simple():
    assert random_graph().is_undirected()
