from dataclasses import replace

import pytest
import torch

from metamerlib.search.discrete_loop import solve_discrete
from metamerlib.search.edges import ste as edge_ste
from metamerlib.search.edges.ste import EdgeSTE, best_pairs
from tests.search.edges.test_messages import problem_of


def test_descends():
    solution = solve_discrete(problem_of("gcn"), EdgeSTE(steps=150), max_steps=150, rtol=1e-9)
    assert solution.loss < 0.8 * solution.history.loss[0]


def test_best_pairs_keep_to_the_overlap():
    problem = problem_of("gcn")
    scores, known = torch.arange(91.0), torch.zeros(91, dtype=torch.bool)
    known[-20:] = True
    found = best_pairs(scores, known, replace(problem.limits, highest=4))
    assert found.numel() == 20
    assert known[found].sum() == 4


def test_large_graphs_are_refused(monkeypatch):
    monkeypatch.setattr(edge_ste, "MOST_NODES", 10)
    with pytest.raises(ValueError, match="use solver='swaps'"):
        next(EdgeSTE().iterate(problem_of("gcn")))
