import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from metamerlib.graphs.bridges import bridges
from tests.helpers.exact import edge_set, to_data


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), nodes=st.integers(1, 40), density=st.floats(0.3, 2.0))
def test_bridges_are_those_of_networkx(seed, nodes, density):
    edges = min(int(density * nodes), nodes * (nodes - 1) // 2)
    graph = nx.gnm_random_graph(nodes, edges, seed=seed)
    data = to_data(graph)
    found = {tuple(sorted(edge)) for edge in data.edge_index[:, bridges(data)].T.tolist()}
    assert found == {tuple(sorted(edge)) for edge in nx.bridges(graph)}
    assert bridges(data).sum() == 2 * len(found)


def test_trees_are_all_bridges_and_rings_have_none():
    assert bridges(to_data(nx.random_labeled_tree(50, seed=0))).all()
    assert not bridges(to_data(nx.cycle_graph(50))).any()
    assert len(edge_set(to_data(nx.cycle_graph(3)))) == 3


def test_graphs_without_edges_and_graphs_of_one_direction():
    assert bridges(Data(edge_index=torch.empty(2, 0, dtype=torch.long), num_nodes=3)).shape == (0,)
    with pytest.raises(ValueError, match="simple and undirected"):
        bridges(Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3))
