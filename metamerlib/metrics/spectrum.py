"""How far apart the spectra of two graphs are."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.stats import wasserstein_distance
from torch_geometric.data import Data

from metamerlib.checks import check_structure
from metamerlib.metrics.cycles import clustering
from metamerlib.metrics.structure import adjacency
from metamerlib.plain import as_flag


def degree_distance(graph: Data, other: Data) -> float:
    """Compute the Wasserstein distance of the degrees, in neighbours per node.

    >>> import torch
    >>> path = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
    >>> triangle = Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 0]]), num_nodes=3)
    >>> round(degree_distance(path, triangle), 3)
    0.667
    """
    one, two = (np.diff(adjacency(each).indptr) for each in with_nodes(graph, other))
    return float(wasserstein_distance(one, two))


def clustering_distance(graph: Data, other: Data) -> float:
    """Compute the Wasserstein distance of the local clustering coefficients, 0 to 1.

    >>> import torch
    >>> path = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
    >>> triangle = Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 0]]), num_nodes=3)
    >>> clustering_distance(path, triangle)
    1.0
    """
    return float(wasserstein_distance(*map(clustering, with_nodes(graph, other))))


def with_nodes(*graphs: Data) -> tuple[Data, ...]:
    """Return the graphs, or raise where one has no node and hence no distribution."""
    for graph in graphs:
        check_structure(graph)
    return graphs


LARGEST_DENSE = 1500  # nodes
MOMENTS, PROBES = 200, 32
PLACES = 4000


def spectrum_distance(graph: Data, other: Data, *, exact: bool | None = None) -> float:
    r"""Compute the Wasserstein distance of the eigenvalues of :math:`I - D^{-1/2} A D^{-1/2}`, between 0 and 2.

    A node without neighbours has the eigenvalue 0, as in Chung (1997). For up to 1500 nodes all eigenvalues are
    computed. Beyond that their distribution functions come from the kernel polynomial method (Weisse et al., Rev.
    Mod. Phys. 78, 2006): 200 Chebyshev moments from 32 random signs per node, the same for both graphs, smoothed
    by Jackson's kernel. That blurs eigenvalues by about 0.016, and distances below 0.01 are not resolved; equal
    graphs are at distance 0 exactly.

    Args:
        graph: a graph with edge_index [2, E], read as simple and undirected.
        other: another one.
        exact: True for all eigenvalues, False for the approximation; by default by size.

    >>> import torch
    >>> edge = Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2)
    >>> apart = Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=2)
    >>> spectrum_distance(edge, apart)
    1.0
    """
    if exact is not None:
        exact = as_flag("exact", exact)
    matrices = [_normalised(each) for each in with_nodes(graph, other)]
    if exact or (exact is None and max(matrix.shape[0] for matrix in matrices) <= LARGEST_DENSE):
        return float(wasserstein_distance(*(1 - np.linalg.eigvalsh(matrix.toarray()) for matrix in matrices)))
    angles = (np.arange(PLACES) + 0.5) * np.pi / PLACES
    one, two = (_distribution(_moments(matrix), angles) for matrix in matrices)
    return float((np.abs(one - two) * np.sin(angles)).sum() * np.pi / PLACES)


def _normalised(graph: Data) -> sparse.csr_array:
    matrix = adjacency(graph)
    degrees = np.diff(matrix.indptr)
    scale = sparse.diags_array(1 / np.sqrt(np.maximum(degrees, 1)))
    return (scale @ matrix @ scale + sparse.diags_array((degrees == 0).astype(float))).tocsr()


def _moments(matrix: sparse.csr_array) -> np.ndarray:
    """Estimate mean Chebyshev polynomials of the eigenvalues; two orders for each product with the matrix."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(matrix.shape[0], PROBES))
    before, now = signs, matrix @ signs
    moments = np.empty(MOMENTS)
    moments[:2] = (signs * signs).mean(), (signs * now).mean()
    for order in range(1, MOMENTS // 2):
        before, now = now, 2 * (matrix @ now) - before
        moments[2 * order] = 2 * (before * before).mean() - moments[0]
        moments[2 * order + 1] = 2 * (now * before).mean() - moments[1]
    return moments


def _distribution(moments: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Evaluate the smoothed distribution function of 1 - cos(angle)."""
    order, width = np.arange(1, MOMENTS), MOMENTS + 1
    turn = np.pi * order / width
    kernel = ((width - order) * np.cos(turn) + np.sin(turn) / np.tan(np.pi / width)) / width
    return (angles + 2 * np.sin(np.outer(angles, order)) @ (kernel * moments[1:] / order)) / np.pi
