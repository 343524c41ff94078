"""Copies of the project in which commands may be run, interrupted and looked at."""

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = """

def collection():
    return ml.load_graphs("decalin-bicyclopentyl")
"""
MODEL = """
import torch
from torch_geometric.nn import GCNConv


class MyModel(torch.nn.Module):
    def __init__(self, features, hidden, classes):
        super().__init__()
        self.conv1, self.act, self.conv2 = GCNConv(features, hidden), torch.nn.ReLU(), GCNConv(hidden, classes)

    def forward(self, x, edge_index):
        return self.conv2(self.act(self.conv1(x, edge_index)), edge_index)


def bare(graph):
    return MyModel(graph.num_features, 16, graph.num_classes)


"""


def write_mypackage(folder: Path) -> Path:
    """Write the package `mypackage` as the page Rerun prints it, with two CSV files; return the folder it lies in."""
    page = (ROOT / "book" / "rerun.md").read_text("utf8")
    data, model = (
        re.search(rf"```python\n(# mypackage/{name}\n.*?)```", page, flags=re.DOTALL)[1]
        for name in ("data.py", "model.py")
    )
    home = folder / "mypackage"
    home.mkdir(parents=True)
    edges = [f"n{v},n{(v + step) % 24}" for v in range(24) for step in (1, 2, 5)]
    words = [[str(int(v * k % 7 < 3)) for k in range(2, 32)] for v in range(24)]
    rows = [",".join([f"n{v}", *row, "ab"[v % 2]]) for v, row in enumerate(words)]
    header = ",".join(["node", *(f"word {k}" for k in range(30)), "label"])
    files = {
        "__init__.py": "",
        "data.py": data + COLLECTION,
        "model.py": MODEL + model,
        "edges.csv": "\n".join(["from,to", *edges, ""]),
        "nodes.csv": "\n".join([header, *rows, ""]),
    }
    for name, text in files.items():
        (home / name).write_text(text, "utf8")
    return folder


def copy_of_the_project(folder: Path, notebooks: list[str]) -> Path:
    """Copy what git holds or would hold, with these notebooks alone, into a repository of its own."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        source = ROOT / name
        wanted = not name.startswith("notebooks/") or source.stem in notebooks
        if wanted and source.is_file() and not name.startswith("tests/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "as it was"]):
        subprocess.run([*git, *command], cwd=folder, check=True, capture_output=True)
    return folder


def changed(folder: Path) -> str:
    """Return what git sees as changed in a copy."""
    return subprocess.run(
        ["git", "status", "--porcelain"], cwd=folder, capture_output=True, check=True, text=True
    ).stdout


def environment(*folders: Path) -> dict[str, str]:
    """Return an environment in which these folders come first among the places of modules."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))}
