import networkx as nx
import pytest
import torch

from metamerlib.graphs.refinement import combine_classes, edge_classes, initial_colours, refine, row_classes
from tests.helpers.exact import to_data


def partition(colours):
    groups = {}
    for node, colour in enumerate(colours.tolist()):
        groups.setdefault(colour, set()).add(node)
    return set(map(frozenset, groups.values()))


def strings(graph, rounds):
    """The same by texts: a colour is the sorted text of its neighbourhood."""
    colours = dict.fromkeys(graph, ".")
    for _ in range(rounds):
        colours = {v: f"({colours[v]}|{sorted(colours[u] for u in graph[v])})" for v in graph}
    return torch.tensor([sorted(set(colours.values())).index(colours[v]) for v in sorted(graph)])


@pytest.mark.parametrize("rounds", [0, 1, 2, 3])
def test_colours_are_those_of_brute_force(rounds):
    graph = nx.gnm_random_graph(60, 80, seed=4)
    data = to_data(graph)
    found = refine(initial_colours(data), data.edge_index, rounds=rounds)
    assert partition(found) == partition(strings(graph, rounds))


def test_stable_colours_of_a_path_are_distances_to_its_ends():
    path = to_data(nx.path_graph(9))
    found = refine(initial_colours(path), path.edge_index)
    assert partition(found) == {frozenset({i, 8 - i}) for i in range(5)}
    assert torch.equal(found, refine(initial_colours(path), path.edge_index, rounds=100))


def test_stable_colours_split_no_more():
    data = to_data(nx.gnm_random_graph(60, 80, seed=4))
    found = refine(initial_colours(data), data.edge_index)
    assert partition(refine(found, data.edge_index, rounds=1)) == partition(found)


def test_features_degrees_and_edges_are_first_colours():
    path = to_data(nx.path_graph(3), torch.tensor([[1.0], [1.0], [2.0]]))
    assert partition(initial_colours(path)) == {frozenset({0, 1}), frozenset({2})}
    assert partition(initial_colours(path, degrees=True)) == {frozenset({i}) for i in range(3)}
    path.x, path.num_nodes = None, 3
    assert initial_colours(path).tolist() == [0, 0, 0] and edge_classes(path) is None
    path.edge_weight = torch.where(path.edge_index.sum(0) == 1, 2.0, 3.0)
    ends = refine(initial_colours(path), path.edge_index, rounds=1, classes=edge_classes(path))
    assert len(set(ends.tolist())) == 3
    path.edge_attr = torch.arange(4)
    assert sorted(edge_classes(path).tolist()) == [0, 1, 2, 3]


def test_rows_are_compared_over_tables_types_and_signs_of_zero():
    one, other = row_classes(torch.tensor([[0, 1], [2, 3]]), torch.tensor([[2.0, 3.0], [-0.0, 1.0], [5.0, 5.0]]))
    assert one.tolist() == [0, 1] and other.tolist() == [1, 0, 2]
    assert row_classes(torch.tensor([True, False, True]))[0].tolist() == [0, 1, 0]
    assert combine_classes(torch.tensor([3, 3, 1, 1]), torch.tensor([0, 9, 0, 0])).tolist() == [1, 2, 0, 0]


def test_no_nodes_and_negative_rounds():
    empty = torch.empty(2, 0, dtype=torch.long)
    assert refine(torch.empty(0, dtype=torch.long), empty).tolist() == []
    with pytest.raises(ValueError, match="rounds=-1"):
        refine(torch.zeros(3), empty, rounds=-1)
