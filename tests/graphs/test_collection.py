import pytest
import torch
from torch_geometric.data import Data

import metamerlib as ml
from metamerlib.graphs.collection import check_graphs, union_of


def path(size, width=2, **more):
    ends = torch.arange(size - 1)
    edges = torch.stack([ends, ends + 1])
    return Data(x=torch.ones(size, width), edge_index=torch.cat([edges, edges.flip(0)], 1), **more)


def test_union_by_hand():
    union = union_of([path(2, y=torch.tensor([1])), path(3, y=torch.tensor(0))])
    assert union.batch.tolist() == [0, 0, 1, 1, 1] and union.y.tolist() == [1, 0]
    assert union.edge_index.tolist() == [[0, 1, 2, 3, 3, 4], [1, 0, 3, 4, 2, 3]]


def test_union_keeps_what_every_graph_holds_in_shapes_that_join():
    union = union_of([path(2, mark=torch.ones(2), name="a", table=torch.ones(2, 3)), path(2, table=torch.ones(2, 4))])
    assert sorted(union.keys()) == ["batch", "edge_index", "ptr", "x"] and union.x.shape == (4, 2)


def test_graphs_of_a_collection_fit():
    check_graphs(ml.load_graphs("decalin-bicyclopentyl"))
    check_graphs((path(2), path(5)))


def weighted(graph):
    graph.edge_weight = torch.ones(graph.num_edges)
    return graph


@pytest.mark.parametrize(
    "graphs, error, text",
    [
        ([], ValueError, "list of graphs is empty"),
        (path(2), TypeError, "must be a list of torch_geometric.data.Data, got Data"),
        ("MUTAG", TypeError, "got str"),
        ([path(2), 3], TypeError, r"graphs\[1\]: graph must be a torch_geometric.data.Data, got int"),
        ([path(2), Data()], ValueError, r"graphs\[1\]: graph needs x"),
        ([path(2), path(2, 3)], ValueError, r"graphs\[1\] has 3 features, graphs\[0\] has 2"),
        ([path(2), union_of([path(2)])], ValueError, r"graphs\[1\] is a union with a batch"),
        ([path(2), weighted(path(2))], ValueError, r"graphs\[1\] and graphs\[0\] do not both have edge_weight"),
        (
            [path(1), Data(x=torch.ones(0, 2), edge_index=path(1).edge_index)],
            ValueError,
            r"graphs\[1\]: graph has no nodes",
        ),
    ],
)
def test_collections_that_do_not_fit(graphs, error, text):
    with pytest.raises(error, match=text):
        check_graphs(graphs)


def test_graphs_of_two_precisions_do_not_fit():
    other = path(2)
    other.x = other.x.double()
    with pytest.raises(TypeError, match=r"graphs\[1\]: the dtype of x is torch.float64, that of graphs\[0\]"):
        check_graphs([path(2), other])
