"""Metamers of graph neural networks: different graphs that a model cannot tell apart.

Every public name is imported on first use, so that reading a published table does not load torch. The names stand
in ``__init__.pyi``; the plan of the library is its folders, left to right:
``checks <- graphs <- models <- probing <- search <- exact | manifold | metrics <- certificates <- report``.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
