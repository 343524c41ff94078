"""Search: find graphs that a model cannot tell from a reference.

Nouns: ``Metamer`` (the result), ``Request`` (what the caller asked), ``Target``, a solver (hyper-parameters and a
generator of positions).
Order of data: ``find`` checks a request and asks ``spaces`` for the kind that may vary; a space is a folder
(``features``, ``bits``, ``edges``) with ``problem`` (objective and gradient), ``starts``, ``limits``, solvers and
``search``, which puts them together; ``loop`` and ``discrete_loop`` keep the best iterate and the status for all;
``replaceable`` climbs a ladder of searches.
A solver is a file in its space and one line in the ``SOLVERS`` of its ``search``.
Imports ``probing`` and what lies left of it; knows no metric, manifold or file of results.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "find": ["find_metamer"],
        "find_many": ["find_metamers"],
        "metamer": ["Metamer"],
        "replaceable": ["Replaceable", "replaceable_share"],
    },
)
