"""Checks of what the book is made of: contents, citation, datasets, and nothing that belongs elsewhere."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SHARED = {"profile", "graphs", "architectures", "layers", "seeds", "store", "device"}


def listed_pages() -> list[str]:
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text("utf8"))
    return [contents["root"], *(page["file"] for part in contents["parts"] for page in part["chapters"])]


def test_contents_list_every_page_once_and_nothing_else():
    written = [f"book/{page.stem}" for page in (ROOT / "book").glob("*.md")]
    written += [f"notebooks/{path.stem}" for path in NOTEBOOKS]
    assert sorted(listed_pages()) == sorted(written)


def test_version_and_title_are_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf8"))
    page = (ROOT / "book" / "cite.md").read_text("utf8")
    assert citation["version"] == project["version"]
    assert f"version {citation['version']}" in page
    assert citation["title"] in page


def test_every_graph_of_the_library_is_in_the_table_of_data():
    from metamerlib import available_graphs

    page = (ROOT / "book" / "data.md").read_text("utf8")
    names = available_graphs()["name"]
    assert [name for name in names if not re.search(rf"[|`] ?{re.escape(name)}[ `]", page)] == []


@pytest.mark.parametrize("page", ["README.md", "book/rerun.md"])
def test_example_for_a_foreign_model_runs(page, tmp_path, monkeypatch):
    import torch
    from torch_geometric.nn import GCNConv

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = GCNConv(34, 8), GCNConv(8, 4)

        def forward(self, x, edge_index):
            return self.conv2(self.conv1(x, edge_index).relu(), edge_index)

    fences = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf8"), flags=re.DOTALL)
    code = next(fence for fence in fences if "find_metamer(" in fence)
    monkeypatch.chdir(tmp_path)
    names = {"model": Model()}
    exec(code, names)
    assert names["metamer"].relative_error < 0.05


def test_the_solver_of_the_readme_finds_a_metamer_and_its_map_names_every_wing():
    import torch

    import metamerlib as ml

    text = (ROOT / "README.md").read_text("utf8")
    code = next(
        fence for fence in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) if "class Descent" in fence
    )
    body = code.partition("def iterate")[2].partition("\n\n\n")[0]
    assert len(body.strip().splitlines()) - 1 <= 10
    graph = ml.load_graph("karate")
    names = {"ml": ml, "graph": graph}
    torch.manual_seed(0)
    names["model"] = ml.GNN(conv="gcn", in_channels=34, hidden_channels=16, out_channels=4, num_layers=2)
    exec(code, names)
    assert names["descended"].status == "converged" and names["descended"].relative_error <= 0.0101
    wings = {path.parent.name for path in (ROOT / "metamerlib").glob("*/__init__.py")}
    assert set(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)) == wings
    for place in re.findall(r"`(metamerlib/[\w/]+/)`", text):
        assert (ROOT / place).is_dir()


def test_pins_are_exact_and_free_of_build_labels():
    lines = (ROOT / "constraints.txt").read_text("utf8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebook:
    def test_has_one_cell_of_parameters_with_all_shared_names(self, path):
        cells = json.loads(path.read_text("utf8"))["cells"]
        tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
        assert len(tagged) == 1
        names = re.findall(r"^(\w+)(?:: *\w+)? *=", "".join(tagged[0]["source"]), flags=re.MULTILINE)
        # From 11 on chapters may make their own graphs, or compare whole networks, and name what they take.
        assert set(names) >= (SHARED if path.stem < "11" else {"profile", "seeds", "store"})

    def test_is_saved_as_published(self, path):
        notebook = json.loads(path.read_text("utf8"))
        assert "papermill" not in notebook["metadata"]
        for cell in notebook["cells"]:
            assert "injected-parameters" not in cell["metadata"].get("tags", [])
            assert "papermill" not in cell["metadata"]
            assert cell["id"]
            assert not [o for o in cell.get("outputs", []) if o["output_type"] == "error"]

    def test_no_cell_hides_its_value_by_a_semicolon(self, path):
        # nbval does not honour it, so the saved and the new output would differ; `_ = call()` is honoured.
        cells = json.loads(path.read_text("utf8"))["cells"]
        assert not [c["id"] for c in cells if c["cell_type"] == "code" and "".join(c["source"]).rstrip().endswith(";")]
