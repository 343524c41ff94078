import pytest
import torch
from torch_geometric.data import Data

import metamerlib as ml
from metamerlib.graphs.saved import open_graph, read_graph


def test_a_saved_graph_comes_back_with_classes_and_a_split(tmp_path):
    graph = ml.load_graph("karate")
    bare = Data(x=graph.x, edge_index=graph.edge_index, y=graph.y)
    torch.save(bare, tmp_path / "mine.pt")
    torch.save({"x": graph.x, "edge_index": graph.edge_index, "y": graph.y}, tmp_path / "other.pt")
    for name in ("mine", "other"):
        found = open_graph(str(tmp_path / f"{name}.pt"))
        assert torch.equal(found.x, graph.x) and found.name == name and found.num_classes == 4
        assert int(found.train_mask.sum() + found.val_mask.sum() + found.test_mask.sum()) == 34


class Code:
    def __reduce__(self):
        return (print, ("this must not run",))


def test_a_file_with_code_is_not_run(tmp_path, capsys):
    torch.save({"x": Code()}, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match="cannot be opened as tensors alone"):
        read_graph(tmp_path / "bad.pt")
    assert "this must not run" not in capsys.readouterr().out


def test_other_files_are_refused(tmp_path):
    torch.save(torch.ones(3), tmp_path / "tensor.pt")
    with pytest.raises(ValueError, match=r"expected a torch_geometric.data.Data"):
        read_graph(tmp_path / "tensor.pt")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        open_graph("nowhere.pt")
