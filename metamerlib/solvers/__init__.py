"""Solvers: each takes a problem and yields the positions that it evaluates; one loop serves them all."""

from metamerlib.solvers.adam import Adam
from metamerlib.solvers.graduated import solve_graduated
from metamerlib.solvers.lbfgs import LBFGS
from metamerlib.solvers.loop import Solution, Solver, solve

__all__ = ["LBFGS", "Adam", "Solution", "Solver", "solve", "solve_graduated"]
