"""Real features on fixed edges: the problem, its starts, and the solvers L-BFGS, Adam and graduated leak."""
