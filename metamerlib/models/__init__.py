"""Models: how ours are built and trained, and how anybody's are called.

Nouns: ``GNN`` (equal layers of one convolution), ``Convolution`` (one row of what is known of it), ``Fit``.
Order of data: ``convolutions`` feeds ``gnn``; ``calling`` copies and calls any model by the names of its parameters;
``propagation`` makes message passing fast where the edges are fixed; ``training_data`` and ``training`` learn,
against the attacks of ``adversarial`` where that is asked for; ``flips`` attacks one node;
``ensemble`` puts several models side by side, and ``hetero`` shows one node type as a graph.
A new convolution is one row in ``convolutions``.
Imports ``graphs`` and ``checks``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["hetero"],
    submod_attrs={
        "gnn": ["GNN", "build_model"],
        "adversarial": ["EdgeAttack", "FeatureAttack", "robust_accuracy"],
        "ensemble": ["Ensemble"],
        "flips": ["Flips", "fewest_flips"],
        "training": ["Fit", "accuracy", "train"],
        "convolutions": ["CONVOLUTIONS", "Convolution"],
    },
)
