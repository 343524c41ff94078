import pytest
import torch

import metamerlib as ml
from metamerlib.search.annealing import FAR_SHARE, accept, attribute_change, independent_nodes


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_chosen_nodes_are_no_neighbours_and_the_best_is_among_them(seed, share):
    edges = ml.load_graph("karate").edge_index
    generator = torch.Generator().manual_seed(seed)
    priority = torch.rand(34, generator=generator)
    asked = torch.rand(34, generator=generator) < share
    priority[~asked] = -torch.inf
    chosen = independent_nodes(priority, edges, rounds=34)
    assert not (chosen[edges[0]] & chosen[edges[1]]).any()
    assert chosen[priority.argmax()] and not chosen[~asked].any()
    # With enough rounds no node could be added.
    beside = chosen.clone().index_put((edges[1],), chosen[edges[0]], accumulate=True)
    assert (chosen | beside)[asked].all()


def test_what_moves_did_alone_is_told_apart_where_their_neighbourhoods_do_not_touch():
    # Two stars: node 0 with leaves 1, 2 and node 3 with leaf 4.
    edges = torch.tensor([[0, 1, 0, 2, 3, 4], [1, 0, 2, 0, 4, 3]])
    difference = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
    owner = torch.tensor([0, -1, -1, -1, 1])
    assert attribute_change(difference, owner, 2, edges).tolist() == pytest.approx([7.0, 24.0])


def test_two_moves_share_a_node_between_them_and_keep_most_of_their_own():
    edges = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    found = attribute_change(torch.tensor([0.0, 6.0, 0.0]), torch.tensor([0, -1, 1]), 2, edges)
    assert found.tolist() == pytest.approx([3.0, 3.0])
    found = attribute_change(torch.tensor([1.0, 0.0]), torch.tensor([0, 1]), 2, edges[:, :2])
    assert found.tolist() == pytest.approx([1 / (1 + FAR_SHARE), FAR_SHARE / (1 + FAR_SHARE)])


def test_half_as_many_moves_are_tried_until_the_objective_agrees():
    change, threshold = torch.tensor([5.0, 1.0, 3.0, 2.0, 9.0]), torch.tensor([6.0, 6.0, 6.0, 6.0, 6.0])
    seen = []

    def attempt(good):
        seen.append(good.tolist())
        return good.tolist() if len(good) < 2 else None

    assert accept(change, threshold, attempt) == [1]
    assert seen == [[1, 3, 2, 0], [1, 3], [1]]
    assert accept(change, threshold, lambda good: None) is None
    assert accept(change, 0 * threshold, attempt) is None
