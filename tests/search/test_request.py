from types import SimpleNamespace

from metamerlib.search.request import best_restart, restart_seeds


def test_near_seeds_have_no_restart_in_common():
    seeds = [seed for first in range(100) for seed in restart_seeds(first, 10)]
    assert len(set(seeds)) == 1000
    assert restart_seeds(7, 1) == [7]


def run(*ends):
    tried = []

    def attempt(seed):
        tried.append(seed)
        loss, status = ends[len(tried) - 1]
        return seed, SimpleNamespace(loss=loss, status=status, steps=10)

    return tried, best_restart(SimpleNamespace(seed=3, num_restarts=len(ends)), attempt)


def test_restarts_end_at_the_first_that_is_converged():
    tried, (began, end, steps) = run((0.5, "stalled"), (0.1, "converged"), (0.0, "converged"))
    assert tried == restart_seeds(3, 2)
    assert (began, end.status, steps) == (tried[1], "converged", 20)


def test_the_best_of_all_restarts_is_kept_and_all_steps_are_counted():
    tried, (began, end, steps) = run((0.5, "stalled"), (0.2, "max_steps"), (float("inf"), "non_finite"))
    assert (began, end.loss, steps) == (tried[1], 0.2, 30)
