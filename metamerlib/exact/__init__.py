"""Exact metamers: those known in closed form, without a search.

Nouns: a null-space metamer (features), a switch metamer (edges), a lift (a graph of twice the size).
Order of data: ``nullspace`` asks the row space of the model; ``switching`` asks the colour refinement of the graph;
``lifts`` needs neither.
Every result is compared with the model that it is exact for.
Imports ``search`` (for the noun Metamer) and what lies left of it, not ``manifold`` or ``metrics``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "nullspace": ["nullspace_metamer"],
        "switching": ["Switchability", "each_switch", "switch_metamer", "switchable"],
        "lifts": ["double", "two_lift"],
    },
)
