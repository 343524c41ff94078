"""Pickles that would run code when opened, wherever the library opens a file: refused, and nothing is run."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

import metamerlib as ml
from metamerlib.graphs.saved import read_graph
from metamerlib.report import records


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def as_pickle(bomb, path):
    path.write_bytes(pickle.dumps(bomb))


def as_archive(bomb, path):
    torch.save(bomb, path)


def as_state(bomb, path):
    torch.save({"weight": torch.ones(2), "more": bomb}, path)


def as_old_file(bomb, path):
    torch.save(bomb, path, _use_new_zipfile_serialization=False)


def as_script(bomb, path):
    """An archive with the names of TorchScript, which torch.load would hand on to torch.jit.load."""
    buffer = io.BytesIO()
    torch.save(bomb, buffer)
    with zipfile.ZipFile(buffer) as archive, zipfile.ZipFile(path, "w") as other:
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
        other.writestr("archive/constants.pkl", pickle.dumps(bomb))


FORMS = (as_pickle, as_archive, as_state, as_old_file, as_script)


def fetch(path):
    """Ask for a trained state whose file is the given one; it counts as damaged and is made again."""
    key = records.cached_state(1, "g", {"seed": 0}, lambda: {"made": 1.0}, path.parent / "models")
    (file,) = (path.parent / "models").glob("*.pt")
    file.write_bytes(path.read_bytes())
    assert records.cached_state(1, "g", {"seed": 0}, lambda: {"made": 1.0}, path.parent / "models") == key
    raise ValueError("made again")


READERS = {"Metamer.load": ml.Metamer.load, "read_graph": read_graph, "cached_state": fetch}


# PyTorch warns of odd pickles before it refuses them.
@pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore:'torch.load' received a zip file")
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("reader", READERS)
def test_files_of_torch(reader, form, tmp_path):
    path, mark = tmp_path / "file.pt", tmp_path / "boom"
    form(Bomb(mark), path)
    with pytest.raises(ValueError):
        READERS[reader](path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["x", "tx", "allx", "y", "ty", "ally", "graph"])
def test_pickles_of_planetoid(name, tmp_path):
    raw, mark = tmp_path / "Cora" / "raw", tmp_path / "boom"
    raw.mkdir(parents=True)
    for part in ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index"):
        (raw / f"ind.cora.{part}").write_text("1\n")
    as_pickle(Bomb(mark), raw / f"ind.cora.{name}")
    with pytest.raises(ValueError, match="is a pickle, which can run code"):
        ml.load_graph("Cora", root=tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("file", ["data.pt", "pre_transform.pt", "pre_filter.pt"])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_caches_of_torch_geometric(file, form, tmp_path):
    folder, mark = tmp_path / "MUTAG", tmp_path / "boom"
    (folder / "raw").mkdir(parents=True), (folder / "processed").mkdir()
    (folder / "raw" / "MUTAG_A.txt").write_text("1, 2\n")
    form(Bomb(mark), folder / "processed" / file)
    with pytest.raises(ValueError, match="cannot be read as plain tensors"):
        ml.load_graphs("MUTAG", root=tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("key", ["adj_data", "attr_data", "labels", "attr_names"])
def test_arrays_of_objects(key, tmp_path):
    raw, mark = tmp_path / "CS" / "raw", tmp_path / "boom"
    raw.mkdir(parents=True)
    held = {f"adj_{part}": np.array([0, 1]) for part in ("data", "indices", "indptr", "shape")}
    held |= {f"attr_{part}": np.array([0, 1]) for part in ("data", "indices", "indptr", "shape")}
    np.savez(raw / "ms_academic_cs.npz", **held | {"labels": np.array([0])} | {key: np.array([Bomb(mark)], object)})
    with pytest.raises(Exception, match=r"allow_pickle|cannot|sparse|shape|index"):
        ml.load_graph("CS", root=tmp_path)
    assert not mark.exists()
