"""Features of zeros and ones: the problem, its limits and starts, and the solvers swaps and straight-through."""
