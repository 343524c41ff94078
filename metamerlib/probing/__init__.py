"""Probing: one layer of a private copy of any model, as a function of the graph.

Nouns: ``Probe`` (runs the model, returns a ``Recording``), ``Target`` (what is matched), ``RowSpace`` (what the first
linear maps see).
Order of data: ``probe`` records with the help of ``relu``; ``target`` turns a recording into a residual; ``row_space``
and ``reduce`` restrict the features to visible coordinates, in float64 or on a fixed structure; ``agreement`` says
when two activations are equal, which is how every shortcut is checked.
A layer of a new kind is taught to ``probe``.
Imports ``models``, ``graphs`` and ``checks``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "probe": ["Probe", "Recording"],
        "target": ["Target"],
        "row_space": ["RowSpace", "row_space"],
    },
)
