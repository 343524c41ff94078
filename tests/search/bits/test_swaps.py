import pytest
import torch

from metamerlib.probing.probe import Probe
from metamerlib.probing.target import Target
from metamerlib.search.bits.problem import BitProblem, bits_of, columns_of
from metamerlib.search.bits.swaps import BitSwaps
from metamerlib.search.discrete_loop import solve_discrete
from metamerlib.search.features.problem import feature_problem
from tests.helpers.bits import WIDTH, bit_graph, flipped, flipped_within_rows
from tests.helpers.metamers import gnn


def problem_from(start, per_node=False, most_kept=None, seed=0, layer=2, **model):
    graph = bit_graph()
    probe = Probe(gnn(**model), layer)
    target = Target.of(probe.check(graph), None)
    problem = feature_problem(probe, graph, target, start[None], None, reduce=True)
    return BitProblem(problem, columns_of(start), columns_of(graph.x), WIDTH, per_node, most_kept, seed)


@pytest.mark.parametrize("per_node, move", [(False, flipped), (True, flipped_within_rows)])
@pytest.mark.parametrize("conv", ["mlp", "gcn", "sage"])
@pytest.mark.parametrize("seed", range(3))
def test_few_flips_away_the_reference_is_found_by_a_layer_that_sees_every_bit(conv, per_node, move, seed):
    x = bit_graph().x
    problem = problem_from(move(x, 3, seed), per_node, layer=1, conv=conv, hidden_channels=128, act="elu")
    solution = solve_discrete(problem, BitSwaps(steps=200), max_steps=400, rtol=1e-20)
    assert solution.status == "converged"
    assert torch.equal(bits_of(solution.state, WIDTH, x.dtype), x)


@pytest.mark.parametrize("per_node, move", [(False, flipped), (True, flipped_within_rows)])
def test_every_trial_keeps_the_ones_and_the_objective_falls(per_node, move):
    x = bit_graph().x
    start = move(x, 20)
    losses = []
    for trial, (state, loss) in enumerate(BitSwaps(steps=60).iterate(problem_from(start, per_node))):
        found = bits_of(state(), WIDTH, x.dtype)
        assert found.sum() == x.sum()
        if per_node:
            assert torch.equal(found.sum(1), x.sum(1))
        # No slot holds a one twice.
        assert (state() < WIDTH).sum() == x.sum()
        losses.append(loss)
        if trial == 60:
            break
    assert min(losses) < 0.2 * losses[0]


def test_it_ends_at_a_local_minimum():
    x = bit_graph().x
    solution = solve_discrete(problem_from(flipped(x, 100)), BitSwaps(steps=300), max_steps=5000, rtol=1e-30)
    assert solution.status in ("stalled", "converged") and solution.steps < 5000


@pytest.mark.parametrize("most_kept", [0, 10])
def test_ones_of_the_reference_never_exceed_the_limit(most_kept):
    x = bit_graph().x
    free = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) * (1 - x)
    ones = free.flatten().topk(int(x.sum())).indices
    start = torch.zeros(x.numel(), dtype=x.dtype).index_fill(0, ones, 1.0).view_as(x)
    kept = []
    for trial, (state, _) in enumerate(BitSwaps().iterate(problem_from(start, most_kept=most_kept))):
        kept.append(int((bits_of(state(), WIDTH, x.dtype) * x).sum()))
        if trial == 100:
            break
    assert max(kept) == most_kept


def test_same_seed_same_path():
    start = flipped(bit_graph().x, 50)
    one, again, other = (
        solve_discrete(problem_from(start, seed=seed), BitSwaps(), max_steps=30, rtol=1e-30).history.loss.tolist()
        for seed in (0, 0, 1)
    )
    assert one == again != other
