"""Copies of the project in which commands may be run, interrupted and looked at."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MYPACKAGE = {
    "__init__.py": "",
    "data.py": """
        import pandas as pd
        import metamerlib as ml

        def load():
            size = 24
            ring = [(v, (v + step) % size) for v in range(size) for step in (1, 2, 5)]
            rows = [[v] + [int((v * k) % 7 < 3) for k in range(2, 32)] + ["ab"[v % 2]] for v in range(size)]
            nodes = pd.DataFrame(rows, columns=["node", *(f"word {k}" for k in range(30)), "label"])
            return ml.graph_from_csv(pd.DataFrame(ring, columns=["from", "to"]), nodes, name="mine")

        def collection():
            return ml.load_graphs("decalin-bicyclopentyl")
        """,
    "model.py": """
        import torch
        from torch_geometric.nn import GCNConv

        class Model(torch.nn.Module):
            def __init__(self, features, classes):
                super().__init__()
                self.conv1, self.act, self.conv2 = GCNConv(features, 16), torch.nn.ReLU(), GCNConv(16, classes)

            def forward(self, x, edge_index):
                return self.conv2(self.act(self.conv1(x, edge_index)), edge_index)

        def build(graph):
            return Model(graph.num_features, graph.num_classes), ["act", "conv2"]

        def bare(graph):
            return Model(graph.num_features, graph.num_classes)
        """,
}


def write_mypackage(folder: Path) -> Path:
    """Write the package that the printed commands call `mypackage`; return the folder that it lies in."""
    import textwrap

    (folder / "mypackage").mkdir(parents=True)
    for name, text in MYPACKAGE.items():
        (folder / "mypackage" / name).write_text(textwrap.dedent(text), "utf8")
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
