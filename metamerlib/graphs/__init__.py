"""Graphs: where they come from, and what can be done to them without a model.

Nouns: ``Data`` of PyTorch Geometric, a set of undirected edges as pairs ``[2, |E|]``, a colouring of nodes.
Order of data: ``catalogue`` and ``embedded`` say what there is, ``files`` finds and checks it on disk, ``load`` opens
it, ``tabular`` and ``saved`` read one of your own; ``edges`` and ``edit`` read and replace parts of a graph,
``rewiring`` draws random ones, ``collection`` joins many to one union, ``refinement`` colours nodes (Weisfeiler and
Leman), ``bridges`` finds the edges on no cycle, ``csbm`` samples the model with a known judge.
A new graph is one row in ``catalogue`` (an embedded one: a builder in ``embedded``).
Imports only ``checks``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["csbm", "edges"],
    submod_attrs={
        "load": ["load_graph", "load_graphs"],
        "catalogue": ["available_graphs"],
        "bridges": ["bridges"],
        "collection": ["check_graphs", "split_graphs", "union_of"],
        "edges": ["both_directions", "nodes_by_degree", "undirected_pairs"],
        "edit": ["with_edges", "with_features"],
        "refinement": ["refine"],
        "tabular": ["graph_from_csv", "graph_from_folder"],
        "saved": ["open_graph", "read_graph"],
        "rewiring": ["random_edges", "switched_edges", "swap_edges"],
    },
)
