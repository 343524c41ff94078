import os
import pickle
import shutil
import socket
import time
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric import datasets
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GCNConv
from torch_geometric.utils import to_networkx

import metamerlib as ml
from metamerlib.graphs import files as known_files
from metamerlib.graphs import load as graphs

MASKS = ["train_mask", "val_mask", "test_mask"]
EMBEDDED = ["karate", "davis", "les-miserables", "csbm", "bow-sbm", "decalin", "bicyclopentyl"]
FILES = Path(os.environ.get("METAMERLIB_DATA", "no-such-folder"))


def needs(folder):
    there = any((FILES / folder / "raw").glob("*"))
    return pytest.mark.skipif(not there, reason=f"METAMERLIB_DATA has no {folder}/raw")


def counted(graph):
    return graph.dropped_self_loops, graph.dropped_duplicates, graph.added_reverse_edges


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("the test allows no network")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_graphs_are_simple_and_undirected(name, offline, capfd):
    graph = ml.load_graph(name)
    assert graph.name == name and graph.validate()
    assert graph.is_undirected() and not graph.has_self_loops() and graph.is_coalesced()
    assert counted(graph) == (0, 0, 0)
    assert graph.x.dtype == torch.float32 and graph.x.shape[0] == graph.num_nodes
    if graph.y is not None:
        assert graph.y.dtype == torch.int64 and graph.num_classes == len(graph.y.unique())
        assert bool((sum(graph[mask].int() for mask in MASKS) == 1).all())
        assert all(graph[mask].dtype == torch.bool and graph[mask].any() for mask in MASKS)
    assert capfd.readouterr() == ("", "")


def test_karate_keeps_the_public_training_nodes():
    first, other = ml.load_graph("karate", seed=0), ml.load_graph("Karate", seed=1)
    assert (first.num_nodes, first.num_edges, first.num_classes) == (34, 156, 4)
    assert torch.equal(first.train_mask, other.train_mask) and int(first.train_mask.sum()) == 4
    assert not torch.equal(first.val_mask, other.val_mask)


def test_davis_is_bipartite():
    graph = ml.load_graph("davis")
    row, col = graph.edge_index
    assert (graph.num_nodes, graph.num_edges, int(graph.y.sum())) == (32, 178, 14)
    assert bool((graph.y[row] != graph.y[col]).all())


def test_les_miserables_keeps_its_weights():
    graph = ml.load_graph("les_miserables")
    network = nx.les_miserables_graph()
    matrix = torch.zeros(77, 77)
    matrix[graph.edge_index[0], graph.edge_index[1]] = graph.edge_weight
    assert np.array_equal(matrix.numpy(), nx.to_numpy_array(network))
    assert graph.y is None and graph.num_classes == 0 and "train_mask" not in graph


def test_the_two_molecules_have_equal_trees_and_different_rings():
    pair = ml.load_graphs("decalin-bicyclopentyl")
    networks = [to_networkx(graph, node_attrs=["x"], to_undirected=True) for graph in pair]
    colours = [nx.weisfeiler_lehman_graph_hash(network, node_attr="x", iterations=10) for network in networks]
    assert colours[0] == colours[1]
    assert [sorted(map(len, nx.minimum_cycle_basis(network))) for network in networks] == [[6, 6], [5, 5]]
    assert [int(graph.y) for graph in pair] == [0, 1]
    assert Batch.from_data_list(pair).num_nodes == 20


def test_bow_sbm_has_the_shape_of_cora():
    graph = ml.load_graph("bow-sbm")
    row, col = graph.edge_index
    assert graph.x.shape == (400, 600) and set(graph.x.unique().tolist()) == {0.0, 1.0}
    assert float(graph.x.sum(1).mean()) == pytest.approx(18, abs=0.5)
    assert float((graph.y[row] == graph.y[col]).double().mean()) == pytest.approx(0.8, abs=0.05)
    assert graph.num_edges / 400 == pytest.approx(4, abs=0.5)
    assert [int(graph[mask].sum()) for mask in MASKS] == [40, 100, 260]
    assert not torch.equal(graph.x, ml.load_graph("bow-sbm", seed=1).x)


def test_a_gcn_learns_bow_sbm_well_but_not_perfectly():
    graph = ml.load_graph("bow-sbm")
    torch.manual_seed(0)
    first, second = GCNConv(600, 32), GCNConv(32, 4)
    optimizer = torch.optim.Adam([*first.parameters(), *second.parameters()], lr=0.01, weight_decay=5e-4)
    for _ in range(60):
        optimizer.zero_grad()
        logits = second(first(graph.x, graph.edge_index).relu(), graph.edge_index)
        mask = graph.train_mask
        torch.nn.functional.cross_entropy(logits[mask], graph.y[mask]).backward()
        optimizer.step()
    accuracy = float((logits.argmax(1) == graph.y)[graph.test_mask].double().mean())
    assert 0.6 < accuracy < 0.95


def test_cleaning_counts_what_it_changes():
    edges = torch.tensor([[0, 0, 1, 2, 2, 2], [1, 1, 0, 2, 0, 1]])
    raw = Data(x=torch.ones(3, 1, dtype=torch.float64), edge_index=edges, edge_attr=torch.arange(6.0))
    graph = graphs._simple(raw, "raw")
    assert graph.edge_index.tolist() == [[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]
    assert graph.edge_attr.tolist() == [0, 4, 2, 5, 4, 5]
    assert counted(graph) == (1, 1, 2) and graph.x.dtype == torch.float32
    assert raw.num_edges == 6


def test_a_graph_without_edges_stays_one():
    empty = Data(x=torch.ones(3, 1), edge_index=torch.empty(2, 0, dtype=torch.long), edge_attr=torch.empty(0, 2))
    graph = graphs._simple(empty, "empty")
    assert graph.edge_index.shape == (2, 0) and graph.edge_attr.shape == (0, 2)


def test_unknown_names_get_a_suggestion():
    with pytest.raises(ValueError, match=r"unknown graph 'karat'. Did you mean 'karate'\?.*Cora, CiteSeer"):
        ml.load_graph("karat")
    with pytest.raises(ValueError, match="'MUTAG' is a collection of 188 graphs: use load_graphs"):
        ml.load_graph("mutag")
    with pytest.raises(ValueError, match="'karate' is a single graph: use load_graph"):
        ml.load_graphs("karate")


def test_available_graphs_names_every_graph_once():
    table = ml.available_graphs()
    assert list(table.columns) == ["name", "kind", "level", "graphs", "nodes", "source", "licence"]
    assert table.name.is_unique and table.notna().all().all()
    assert [*table[table.kind == "embedded"].name] == [*EMBEDDED, "decalin-bicyclopentyl"]
    sizes = table.set_index("name").nodes
    assert all(ml.load_graph(name).num_nodes == sizes[name] for name in EMBEDDED)


@pytest.mark.parametrize("name", ["Cora", "DBLP", "Actor", "tolokers"])
def test_missing_files_without_network(name, tmp_path, offline):
    start = time.monotonic()
    with pytest.raises(FileNotFoundError, match=rf"To load {name}, put .*METAMERLIB_DATA.*karate, davis") as caught:
        ml.load_graph(name, root=tmp_path / "data")
    assert str(tmp_path) in str(caught.value) and "allows no network" in str(caught.value)
    assert not (tmp_path / "data").exists() and time.monotonic() - start < 5


def test_the_folder_comes_from_root_then_variable_then_cache(tmp_path, monkeypatch, offline):
    monkeypatch.setenv("METAMERLIB_DATA", str(tmp_path / "variable"))
    assert known_files.data_folder(tmp_path) == tmp_path
    assert known_files.data_folder() == tmp_path / "variable"
    monkeypatch.delenv("METAMERLIB_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert known_files.data_folder() == tmp_path / "metamerlib"


def write_two_graphs(folder):
    """A TU collection: a path of three nodes with a one-way edge, and an edge."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for part, lines in {"A": "1, 2\n2, 1\n2, 3\n4, 5\n5, 4\n", "graph_indicator": "1\n1\n1\n2\n2\n"}.items():
        Path(folder, f"MUTAG_{part}.txt").write_text(lines)
    Path(folder, "MUTAG_graph_labels.txt").write_text("-1\n1\n")
    Path(folder, "MUTAG_node_labels.txt").write_text("0\n1\n0\n1\n1\n")


def test_a_download_is_kept_and_the_second_load_needs_none(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(known_files, "_reach", lambda url: None)
    monkeypatch.setattr(datasets.TUDataset, "download", lambda self: write_two_graphs(self.raw_dir))
    pair = ml.load_graphs("MUTAG", root=tmp_path)
    assert [graph.edge_index.tolist() for graph in pair] == [[[0, 1, 1, 2], [1, 0, 2, 1]], [[0, 1], [1, 0]]]
    assert [counted(graph) for graph in pair] == [(0, 0, 1), (0, 0, 0)]
    assert [(int(graph.y), graph.num_classes, graph.name) for graph in pair] == [
        (0, 2, "MUTAG[0]"),
        (1, 2, "MUTAG[1]"),
    ]
    assert pair[0].x.tolist() == [[1, 0], [0, 1], [1, 0]]
    monkeypatch.delattr(datasets.TUDataset, "process")
    assert torch.equal(ml.load_graphs("MUTAG", root=tmp_path)[0].edge_index, pair[0].edge_index)
    assert sorted(path.name for path in (tmp_path / "MUTAG").iterdir()) == ["processed", "raw"]
    assert capfd.readouterr() == ("", "")


def test_a_broken_download_leaves_nothing(tmp_path, monkeypatch):
    def half(self):
        Path(self.raw_dir, "ind.cora.x").write_bytes(b"half")
        raise ConnectionResetError("cut off")

    monkeypatch.setattr(known_files, "_reach", lambda url: None)
    monkeypatch.setattr(datasets.Planetoid, "download", half)
    with pytest.raises(FileNotFoundError, match="cut off"):
        ml.load_graph("Cora", root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_incomplete_folder_is_named(tmp_path, offline):
    write_two_graphs(tmp_path / "MUTAG" / "raw")
    (tmp_path / "MUTAG" / "raw" / "MUTAG_A.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"is incomplete, MUTAG_A.txt missing"):
        ml.load_graphs("MUTAG", root=tmp_path)


def test_a_read_only_folder_is_enough(tmp_path, monkeypatch, offline):
    def refuse(source, target):
        raise PermissionError(target)

    write_two_graphs(tmp_path / "MUTAG" / "raw")
    monkeypatch.setattr(known_files, "_place", refuse)
    assert len(ml.load_graphs("MUTAG", root=tmp_path)) == 2
    assert [path.name for path in (tmp_path / "MUTAG").iterdir()] == ["raw"]


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a pickle was opened",)


def test_unknown_pickles_stay_closed(tmp_path, offline):
    raw = tmp_path / "Cora" / "raw"
    raw.mkdir(parents=True)
    for part in ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index"):
        (raw / f"ind.cora.{part}").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"ind\.cora\.x is a pickle.*SHA-256 .*expected 23cfa55d.*trust_pickles=True"):
        ml.load_graph("Cora", root=tmp_path)
    with pytest.raises(pytest.fail.Exception, match="a pickle was opened"):
        ml.load_graph("Cora", root=tmp_path, trust_pickles=True)


def test_trust_can_come_from_the_environment(tmp_path, monkeypatch):
    path = tmp_path / "ind.pubmed.x"
    path.write_bytes(b"anything")
    with pytest.raises(ValueError, match="none on record"):
        known_files.check_pickle(path)
    known_files.check_pickle(path, trust=True)
    monkeypatch.setenv("METAMERLIB_TRUST_PICKLES", "1")
    known_files.check_pickle(path)


def test_a_poisoned_cache_stays_closed(tmp_path, offline):
    write_two_graphs(tmp_path / "MUTAG" / "raw")
    ml.load_graphs("MUTAG", root=tmp_path)
    torch.save(Bomb(), tmp_path / "MUTAG" / "processed" / "pre_filter.pt")
    with pytest.raises(ValueError, match=r"pre_filter\.pt cannot be read as plain tensors. Delete"):
        ml.load_graphs("MUTAG", root=tmp_path)


REAL = [
    ("Cora", "Cora", 2708, 10556, 1433, 7, (0, 0, 0)),
    ("citeseer", "CiteSeer", 3327, 9104, 3703, 6, (0, 0, 0)),
    ("Cora_ML", "CitationFull/cora_ml", 2995, 16316, 2879, 7, (0, 0, 0)),
    ("CiteSeer_full", "CitationFull/citeseer", 4230, 10674, 602, 6, (0, 0, 0)),
    ("DBLP", "CitationFull/dblp", 17716, 105734, 1639, 4, (0, 0, 0)),
    ("Texas", "texas", 183, 558, 1703, 5, (16, 0, 249)),
    ("Wisconsin", "wisconsin", 251, 900, 1703, 5, (16, 0, 401)),
    ("Actor", "Actor", 7600, 53318, 932, 5, (93, 0, 23392)),
    ("minesweeper", "minesweeper", 10000, 78804, 7, 2, (0, 0, 0)),
    ("tolokers", "tolokers", 11758, 1038000, 10, 2, (0, 0, 0)),
]


@pytest.mark.parametrize(
    "name, folder, nodes, edges, features, classes, counts",
    [pytest.param(*row, marks=needs(row[1])) for row in REAL],
)
def test_real_graphs_have_the_known_size(name, folder, nodes, edges, features, classes, counts):
    graph = ml.load_graph(name)
    assert (graph.num_nodes, graph.num_edges, graph.num_features, graph.num_classes) == (
        nodes,
        edges,
        features,
        classes,
    )
    assert counted(graph) == counts and graph.x.dtype == torch.float32 and not graph.x.is_sparse
    assert graph.is_undirected() and not graph.has_self_loops()
    covered = sum(graph[mask].int() for mask in MASKS)
    assert covered.shape == (nodes,) and int(covered.max()) == 1
    assert graph.num_nodes == ml.available_graphs().set_index("name").nodes[graph.name]


@needs("texas")
def test_seed_picks_one_of_ten_splits(tmp_path, offline):
    shutil.copytree(FILES / "texas" / "raw", tmp_path / "texas" / "raw")
    with np.load(tmp_path / "texas" / "raw" / "texas_split_0.6_0.2_3.npz") as split:
        expected = torch.from_numpy(split["train_mask"]).bool()
    assert torch.equal(ml.load_graph("Texas", root=tmp_path, seed=13).train_mask, expected)


@needs("Cora")
def test_known_pickles_are_opened_without_a_word(tmp_path, offline, capfd):
    shutil.copytree(FILES / "Cora" / "raw", tmp_path / "Cora" / "raw")
    graph = ml.load_graph("Cora", root=tmp_path, seed=5)
    assert [int(graph[mask].sum()) for mask in MASKS] == [140, 500, 1000]
    assert set(graph.x.unique().tolist()) == {0.0, 1.0} and capfd.readouterr() == ("", "")


@needs("CitationFull/cora_ml")
def test_cora_ml_knows_its_words():
    graph = ml.load_graph("cora-ml")
    assert len(graph.feature_names) == 2879 and graph.feature_names[:2] == ["000", "10"]
    assert [name.rpartition("/")[2] for name in graph.class_names][2::4] == [
        "Genetic_Algorithms",
        "Reinforcement_Learning",
    ]
    assert not torch.equal(graph.train_mask, ml.load_graph("cora-ml", seed=1).train_mask)


@pytest.mark.parametrize(
    "name, count, nodes, features",
    [
        pytest.param("MUTAG", 188, 3371, 7, marks=needs("MUTAG")),
        pytest.param("PROTEINS", 1113, 43471, 3, marks=needs("PROTEINS")),
    ],
)
def test_collections(name, count, nodes, features):
    found = ml.load_graphs(name)
    assert (len(found), sum(graph.num_nodes for graph in found)) == (count, nodes)
    assert {(graph.num_features, graph.num_classes, len(graph.y)) for graph in found} == {(features, 2, 1)}


def _two_rings():
    ring = torch.tensor([[0, 1, 2, 1, 2, 0], [1, 2, 0, 0, 1, 2]])
    return [Data(x=torch.eye(3), edge_index=ring, y=torch.tensor([label])) for label in (0, 2)]


def test_a_collection_of_ones_own_gets_its_number_of_classes():
    made = ml.load_graphs(f"{__name__}:_two_rings")
    assert [graph.num_classes for graph in made] == [3, 3]
    assert _two_rings()[0].get("num_classes") is None


@pytest.mark.parametrize(
    ("load", "factory", "message"),
    [
        (ml.load_graph, "metamerlib.graphs.catalogue:available_graphs", "returned DataFrame; expected one"),
        (ml.load_graphs, "torch_geometric.data:Data", "returned Data; expected a list"),
        (ml.load_graph, "builtins:list", "returned list; expected one"),
    ],
)
def test_a_factory_that_returns_something_else_is_an_error(load, factory, message):
    with pytest.raises((TypeError, ValueError)):
        load(factory)


def test_names_that_a_file_holds_as_objects_stay_closed(tmp_path):
    from metamerlib.graphs.files import stored_names

    words, classes = np.array(["graph", "node"]), np.array(["physics", "biology"], dtype=object)
    np.savez(tmp_path / "papers.npz", attr_names=words, class_names=classes)
    assert stored_names(tmp_path) == {"feature_names": ["graph", "node"]}
