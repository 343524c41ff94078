import pytest
import torch

from metamerlib.search.each import solve_each, solve_each_graduated
from metamerlib.search.features.graduated import solve_graduated
from metamerlib.search.features.lbfgs import LBFGS
from metamerlib.search.loop import Evaluation


class Ramps:
    """Objectives ``(leaky_relu(x) - 1)^2``: no gradient at a start below zero unless the unit leaks."""

    relaxable = True

    def __init__(self, start, leak=0.0, seen=None):
        self.start, self.leak, self.seen = start, leak, [] if seen is None else seen
        self.seen.append((leak, start.flatten().tolist()))

    def relaxed(self, leak, start):
        return Ramps(start, leak, self.seen)

    def subset(self, kept, start):
        assert len(kept) == len(start)
        return Ramps(start, self.leak, self.seen)

    def evaluate(self, position):
        x = position.detach().requires_grad_()
        loss = (torch.nn.functional.leaky_relu(x, self.leak) - 1).square().sum((1, 2))
        (gradient,) = torch.autograd.grad(loss.sum(), x)
        return Evaluation(loss.detach(), gradient, loss.detach())


class Scripted:
    """A solver that visits given positions."""

    def __init__(self, *steps):
        self.steps = steps

    def iterate(self, problem):
        for step in self.steps:
            position = torch.tensor(step, dtype=torch.float64).reshape(problem.start.shape)
            yield position, problem.evaluate(position)


def starts(*values):
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1)


def test_each_ends_at_its_own_step_and_keeps_what_it_had():
    script = Scripted([3, 4], [1.1, 5], [1.0, 2], [4.0, 1.2])
    one, other = solve_each(Ramps(starts(9, 9)), script, max_steps=[9, 9], rtol=0.05)
    assert (one.status, one.steps, one.position.item()) == ("converged", 2, 1.1)
    assert one.losses.tolist() == pytest.approx([4.0, 0.01]) and len(one.seconds) == 2
    assert (other.status, other.steps, other.position.item()) == ("converged", 4, 1.2)


@pytest.mark.parametrize(
    "steps, options, endings",
    [
        ([[3, 3], [2, 2], [2, 2]], {"max_steps": [2, 3]}, [("max_steps", 2), ("max_steps", 3)]),
        ([[3, 3], [2, 2]], {}, [("stalled", 2), ("stalled", 2)]),
        ([[3, torch.nan]] * 60, {}, [("stalled", 51), ("non_finite", 8)]),
        ([[3, 1.0]] + [[2, 2]] * 99, {"stall_rtol": 0.01}, [("stalled", 52), ("converged", 1)]),
        ([[10 - k / 20, 10 - k / 10] for k in range(90)], {"stall_rtol": 0.75}, [("stalled", 51), ("converged", 90)]),
        ([[3, 3]], {"max_steps": [0, 9]}, [("non_finite", 0), ("stalled", 1)]),
    ],
)
def test_status_is_of_each_search(steps, options, endings):
    options = {"max_steps": [999, 999], "rtol": 0.01, **options}
    found = solve_each(Ramps(starts(9, 9)), Scripted(*steps), **options)
    assert [(one.status, one.steps) for one in found] == endings


def test_searches_end_as_they_do_alone():
    values = (-3.0, 3.0, -1.0, 1.0)
    together = solve_each_graduated(Ramps(starts(*values)), LBFGS(), max_steps=900, rtol=1e-8)
    for value, ending in zip(values, together, strict=True):
        alone = solve_graduated(Ramps(starts(value)), LBFGS(), max_steps=900, rtol=1e-8)
        assert (ending.status, ending.position.item()) == (alone.status, alone.position.item())
        assert ending.relaxed.any() == alone.relaxed.any() and len(ending.losses) == ending.steps


def test_only_stalled_searches_are_relaxed_from_their_own_starts():
    searches = Ramps(starts(3.0, -3.0))
    solve_each_graduated(searches, LBFGS(), max_steps=900, rtol=1e-8)
    assert [leak for leak, _ in searches.seen] == [0.0, 0.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.0]
    assert all(len(position) == 1 for _, position in searches.seen[1:]) and searches.seen[1][1] == [-3.0]


@pytest.mark.parametrize("limit", [60, 200, 400])
def test_number_of_steps_is_never_exceeded(limit):
    for ending in solve_each_graduated(Ramps(starts(-3.0, -2.0)), LBFGS(), max_steps=limit, rtol=1e-30):
        assert ending.steps <= limit
