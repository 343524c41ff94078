"""Manifold: the metamers near a graph, their dimension, volume and tangent space, and walks among them.

Nouns: ``NodeJacobian`` (of one node's activation), ``Constraint`` (the match as an equation), ``Walk``, ``Path``.
Order of data: ``reach`` finds receptive fields, ``subgraphs`` cuts them out, ``jacobians`` differentiate;
``dimension``, ``volume`` and ``whole_graph`` count, ``relevance`` weighs a direction. ``matching`` makes a
``constraint``, whose ``linearisation`` gives ``tangent`` and ``prediction``; ``correction`` brings a point back;
``walking``, ``path``, ``farthest`` (a search of ``repulsion``) and ``plane`` move.
A quantity of the local geometry is a file that asks ``jacobians`` or takes what ``match`` takes.
All of it in float64. Imports ``search`` and what lies left of it, not ``exact`` or ``metrics``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "dimension": ["metamer_dimension", "singular_values"],
        "farthest": ["farthest_metamer", "several_metamers"],
        "path": ["join"],
        "monte_carlo": ["sample_log_volume"],
        "plane": ["plane_slice"],
        "reach": ["receptive_field"],
        "relevance": ["bayes_relevant_share", "tangent_share"],
        "prediction": ["linear_prediction"],
        "tangent": ["project_to_tangent", "tangent_basis"],
        "volume": ["log_volume_change", "split_linear"],
        "walking": ["walk"],
        "whole_graph": ["whole_graph_dimension"],
        "constraint": ["Constraint"],
        "matching": ["match"],
    },
)
