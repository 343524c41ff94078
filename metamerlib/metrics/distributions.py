"""How far apart two graphs are in what their nodes are like, whichever node is which."""

import numpy as np
from scipy.stats import wasserstein_distance
from torch_geometric.data import Data

from metamerlib.metrics.cycles import clustering
from metamerlib.metrics.structure import adjacency


def degree_distance(graph: Data, other: Data) -> float:
    """Compute the Wasserstein distance of the degrees, in neighbours per node.

    >>> import torch
    >>> path = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
    >>> triangle = Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 0]]), num_nodes=3)
    >>> round(degree_distance(path, triangle), 3)
    0.667
    """
    one, two = (np.diff(adjacency(each).indptr) for each in (graph, other))
    return float(wasserstein_distance(one, two))


def clustering_distance(graph: Data, other: Data) -> float:
    """Compute the Wasserstein distance of the local clustering coefficients, 0 to 1.

    >>> import torch
    >>> path = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
    >>> triangle = Data(edge_index=torch.tensor([[0, 1, 2], [1, 2, 0]]), num_nodes=3)
    >>> clustering_distance(path, triangle)
    1.0
    """
    return float(wasserstein_distance(clustering(graph), clustering(other)))
