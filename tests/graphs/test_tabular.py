"""A graph of one's own from two tables, as a researcher has it: CSV files with names, text classes, one direction."""

import numpy as np
import pandas as pd
import pytest
import torch

import metamerlib as ml
from metamerlib.checks import check_graph
from metamerlib.graphs.edges import undirected_pairs


@pytest.fixture
def tables():
    edges = pd.DataFrame({"from": ["b", "a", "c", "a", "a", "c"], "to": ["a", "b", "a", "a", "b", "d"]})
    nodes = pd.DataFrame(
        {
            "node": ["a", "b", "c", "d"],
            "height": [1, 2, 3, 4],
            "label": ["red", "blue", "red", "blue"],
            "width": [0.5, 0.25, 0.0, 1.0],
        }
    )
    return edges, nodes


def test_files_become_a_graph_that_everything_takes(tables, tmp_path):
    for table, name in zip(tables, ("edges", "nodes"), strict=True):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    graph = ml.graph_from_csv(tmp_path / "edges.csv", tmp_path / "nodes.csv")
    check_graph(graph)
    assert graph.x.dtype == torch.float32 and graph.x.tolist() == [[1, 0.5], [2, 0.25], [3, 0], [4, 1]]
    assert undirected_pairs(graph).tolist() == [[0, 0, 2], [1, 2, 3]]
    assert (graph.dropped_self_loops, graph.dropped_duplicates) == (1, 1)
    assert graph.feature_names == ["height", "width"] and graph.node_names == ["a", "b", "c", "d"]
    assert graph.y.tolist() == [1, 0, 1, 0] and graph.class_names == ["blue", "red"] and graph.num_classes == 2
    assert (graph.train_mask.int() + graph.val_mask.int() + graph.test_mask.int() == 1).all()
    again = ml.load_graph(str(tmp_path))
    assert again.name == tmp_path.name and torch.equal(again.edge_index, graph.edge_index)


def test_split_weights_and_row_numbers_are_read(tables):
    edges = pd.DataFrame({"u": [0, 2, 1], "v": [1, 1, 0], "weight": [0.5, 2, 7]})
    nodes = tables[1].drop(columns="node").assign(split=["train", "Val", None, "test"])
    graph = ml.graph_from_csv(edges, nodes, name="mine")
    assert graph.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert graph.edge_weight.tolist() == [0.5, 0.5, 2, 2] and graph.dropped_duplicates == 0
    assert [graph[f"{part}_mask"].nonzero().flatten().tolist() for part in ("train", "val", "test")] == [[0], [1], [3]]
    assert graph.name == "mine"


def test_without_labels_there_are_no_masks(tables):
    graph = ml.graph_from_csv(tables[0], tables[1].drop(columns="label"))
    assert graph.num_classes == 0 and graph.get("y") is None and graph.get("train_mask") is None


@pytest.mark.parametrize(
    ("which", "change", "message"),
    [
        (
            0,
            lambda t: t.assign(to="e"),
            r"edges: 'to' names 'e' in row 0 \(6 in all\), which is no node; nodes are",
        ),
        (0, lambda t: t[["from"]], "expected two, the ends of each edge"),
        (1, lambda t: t.assign(height=["1", "tall", "3", "4"]), "column 'height' holds 'tall' in row 1"),
        (1, lambda t: t.assign(width=[0, np.nan, 0, 0]), "column 'width' holds nan in row 1"),
        (1, lambda t: t.assign(node=["a", "a", "c", "d"]), "'node' names 'a' twice"),
        (1, lambda t: t.assign(label=["red", None, "red", "red"]), "'label' is empty in row 1"),
        (1, lambda t: t.assign(label="red"), "expected two classes at least"),
        (1, lambda t: t.assign(split="learn"), "'split' holds 'learn'; expected train, val, test"),
        (1, lambda t: t.assign(split="test"), "names no node for training"),
        (1, lambda t: t[["node", "label"]], "no feature columns"),
        (1, lambda t: t[:0], "no rows"),
    ],
)
def test_malformed_tables_name_the_column_and_the_row(tables, which, change, message):
    changed = list(tables)
    changed[which] = change(tables[which])
    with pytest.raises(ValueError, match=message):
        ml.graph_from_csv(*changed)


def test_files_that_are_missing_or_have_no_header_are_errors(tables, tmp_path):
    with pytest.raises(FileNotFoundError, match="edges: there is no file"):
        ml.graph_from_csv(tmp_path / "none.csv", tables[1])
    (tmp_path / "bare.csv").write_text("0,1\n1,2\n")
    with pytest.raises(ValueError, match=r"the first line of .* expected names of the columns"):
        ml.graph_from_csv(tmp_path / "bare.csv", tables[1])
