"""Report: the only road from computing to published tables and figures.

Nouns: a point (one row, keyed by its parameters and a recipe), a table, a claim, a figure with its four files.
Order of data: ``records`` computes points and merges them, ``trained_models`` keeps models on disk, ``files`` writes
whole or not at all; ``columns`` describes, ``findings`` words checks and claims, ``claims`` gathers them;
``figures`` and ``drawing`` publish; ``evaluation`` makes the row that a benchmark shows of a model, ``explorer`` packs
the page to play with.
What every notebook repeats belongs here. Nothing else in the library knows of notebooks or of the book.
Loads no torch when it is imported.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["claims", "columns", "drawing", "figures", "files", "findings", "parameters", "prose", "records"],
    submod_attrs={"evaluation": ["evaluate"]},
)
