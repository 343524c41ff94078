"""Edges on fixed features: problem, limits, starts, and the solvers swaps, straight-through, PRBCD and weights."""
