"""Every measure of a metamer's edges at once."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from metamerlib.graphs.refinement import row_classes
from metamerlib.metrics import structure
from metamerlib.metrics.cycles import count_ratio, cycle_counts
from metamerlib.metrics.isomorphism import are_isomorphic
from metamerlib.metrics.null import random_partners
from metamerlib.metrics.spectrum import clustering_distance, degree_distance, spectrum_distance
from metamerlib.search.metamer import Metamer

NAN = float("nan")
UNCHANGED = {
    "edge_flips": 0.0,
    "degree_distance": 0.0,
    "clustering_distance": 0.0,
    "spectrum_distance": 0.0,
    "triangle_ratio": 1.0,
    "four_cycle_ratio": 1.0,
    "isomorphic": 1.0,
}


def structure_scores(metamer: Metamer, seed: int) -> dict[str, float]:
    """Compute all measures of the edges, with their values at the start and by chance."""
    graph, reference, start = metamer.graph, metamer.reference, metamer.start
    partners = random_partners(reference.num_nodes or 0, np.random.default_rng([seed, 4]))
    shuffled = copy.copy(reference)
    shuffled.edge_index = partners.to(reference.edge_index.device)[reference.edge_index]
    return {
        "wl_kernel": structure.wl_kernel(graph, reference),
        "wl_kernel_start": structure.wl_kernel(start, reference),
        "edge_overlap": structure.edge_overlap(graph, reference),
        "edge_jaccard": structure.edge_jaccard(graph, reference),
        "edge_jaccard_start": structure.edge_jaccard(start, reference),
        "edge_jaccard_shuffled": structure.edge_jaccard(graph, shuffled),
        **_coloured_kernels(graph, reference),
        "edge_homophily": structure.edge_homophily(graph),
        "edge_homophily_reference": structure.edge_homophily(reference),
        "components": float(structure.num_components(graph)),
        "components_reference": float(structure.num_components(reference)),
        **(UNCHANGED if same_edges(graph, reference) else edge_distances(graph, reference)),
    }


def _coloured_kernels(graph: Data, reference: Data) -> dict[str, float]:
    """Compute the WL kernel from features and from true classes."""
    kernels = {"wl_features": NAN, "wl_classes": NAN}
    if graph.x is not None and reference.x is not None:
        rows, others = row_classes(graph.x, reference.x)
        kernels["wl_features"] = structure.wl_kernel(graph, reference, labels=(rows, others))
    classes = structure.node_labels(graph), structure.node_labels(reference)
    if classes[0] is not None and classes[1] is not None:
        kernels["wl_classes"] = structure.wl_kernel(graph, reference, labels=(classes[0], classes[1]))
    return kernels


def edge_distances(graph: Data, reference: Data) -> dict[str, float]:
    """Measure what costs time; of equal edges all of it is known beforehand."""
    cycles, others = cycle_counts(graph), cycle_counts(reference)
    same = are_isomorphic(graph, reference)
    return {
        "edge_flips": float(structure.edge_flips(graph, reference)),
        "degree_distance": degree_distance(graph, reference),
        "clustering_distance": clustering_distance(graph, reference),
        "spectrum_distance": spectrum_distance(graph, reference),
        "triangle_ratio": count_ratio(cycles.triangles, others.triangles),
        "four_cycle_ratio": count_ratio(cycles.four_cycles, others.four_cycles),
        "isomorphic": NAN if same is None else float(same),
    }


def same_edges(graph: Data, reference: Data) -> bool:
    """Tell whether two graphs have the same edges and weights."""
    return equal(graph.edge_index, reference.edge_index) and equal(graph.edge_weight, reference.edge_weight)


def equal(one: Tensor | None, other: Tensor | None) -> bool:
    """Tell whether two tensors are equal, or both missing."""
    if one is None or other is None:
        return one is other
    return torch.equal(one, other)
