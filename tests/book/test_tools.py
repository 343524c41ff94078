"""The build script: parameters of notebooks, failures, fingerprints, and how a saved notebook is cleaned."""

import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from book.tools import own, parameters, project, running


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    cell = new_code_cell('graphs: str = "karate"\nsteps: int = 3\nrtol: float = 0.5\nfast: bool = False')
    cell.metadata["tags"] = ["parameters"]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    path = tmp_path / "trial.ipynb"
    nbformat.write(new_notebook(cells=[cell], metadata={"kernelspec": kernel}), path)
    return path


def test_parameters_take_the_types_of_their_defaults(notebook):
    words = ["-p", "graphs", "7", "-p", "steps", "5", "-p", "rtol", "1", "-p", "fast", "true"]
    assert parameters.parse_parameters(notebook, words) == {"graphs": "7", "steps": 5, "rtol": 1, "fast": True}


def test_unknown_parameter_is_named_with_the_known_ones(notebook):
    with pytest.raises(
        project.BuildError,
        match=r"graphs = 'karate'(.|\n)*steps = 3(.|\n)*no parameter 'grphs'\. Did you mean 'graphs'\?$",
    ):
        parameters.parse_parameters(notebook, ["-p", "grphs", "davis"])


@pytest.mark.parametrize("words", ["steps 5", "-p steps", "-p steps five", "-p fast perhaps"])
def test_malformed_parameters_are_errors(notebook, words):
    with pytest.raises(project.BuildError):
        parameters.parse_parameters(notebook, words.split())


def test_unknown_notebook_is_an_error():
    with pytest.raises(project.BuildError, match="no notebook is called 'nothing'"):
        project.find_notebook("nothing")


def test_fingerprint_sees_cells_and_not_outputs(notebook):
    before = project.notebook_fingerprint(notebook)
    read = nbformat.read(notebook, as_version=4)
    read.cells[0].outputs = [new_output("stream", name="stdout", text="3")]
    nbformat.write(read, notebook)
    assert project.notebook_fingerprint(notebook) == before
    read.cells[0].source += "\n"
    nbformat.write(read, notebook)
    assert project.notebook_fingerprint(notebook) != before


def test_cleaning_removes_traces_of_the_run(notebook):
    content = json.loads(notebook.read_text("utf8"))
    content["metadata"]["papermill"] = {"duration": 1.0}
    content["cells"][0]["metadata"] |= {"papermill": {}, "execution": {}}
    notebook.write_text(json.dumps(content), "utf8")
    cleaned = running._cleaned(notebook)
    assert "papermill" not in cleaned.metadata
    assert cleaned.cells[0].metadata == {"tags": ["parameters"]}
    assert cleaned.cells[0].id == content["cells"][0]["id"]


def test_what_a_cell_prints_is_one_text_however_it_came(notebook):
    read = nbformat.read(notebook, as_version=4)
    shown = new_output("display_data", {"text/plain": "a figure"})
    texts = [new_output("stream", name="stdout", text=text) for text in ("a\n", "b\n", "c\n")]
    read.cells[0].outputs = [*texts[:2], shown, texts[2]]
    nbformat.write(read, notebook)
    outputs = running._cleaned(notebook).cells[0].outputs
    assert [output.get("text") for output in outputs] == ["a\nb\n", None, "c\n"]


def test_text_on_stderr_is_not_published(notebook):
    read = nbformat.read(notebook, as_version=4)
    read.cells[0].outputs = [new_output("stream", name="stderr", text="a warning")]
    nbformat.write(read, notebook)
    with pytest.raises(project.BuildError, match="cell 0 of trial wrote to stderr"):
        running._cleaned(notebook)


def test_failed_notebooks_are_reported_together():
    runs = [running.Run("b", 1.0, "cell 2 raised ValueError: no"), running.Run("a", 1.0, None)]
    with pytest.raises(
        project.BuildError, match=r"1 of 2 notebooks failed\n  kept .*\n  b: cell 2 raised ValueError: no$"
    ):
        running.raise_failures(runs, project.BUILD)


def test_a_run_of_ones_own_drops_published_cells_and_leaves_out_what_does_not_apply():
    def cell(text, *tags, **more):
        return new_code_cell(text, metadata={"tags": list(tags), **more})

    figure = {"figure": {"name": "fig-a"}, "image": {"alt": "Points of Cora."}}
    given = new_notebook(
        cells=[
            cell("a = 1", "setup"),
            cell("t = a", "points"),
            cell("quote(t)", own.PUBLISHED_ONLY),
            cell("draw(t)", "hide-input", mystnb=figure),
            cell("t.mean()"),
        ]
    )
    copy = own.own_copy(given)
    assert [c.source for c in copy.cells] == ["a = 1", "t = a", "draw(t)", "t.mean()"]
    assert [own.MAY_FAIL in c.metadata["tags"] for c in copy.cells] == [False, False, True, True]
    assert "Cora" not in copy.cells[2].metadata["mystnb"]["image"]["alt"]
    copy.cells[2].outputs = [new_output("error", ename="DoesNotApplyError", evalue="no words", traceback=[])]
    copy.cells[3].outputs = [new_output("error", ename="NameError", evalue="name 't'", traceback=[])]
    assert own.leave_out_failed(copy) == ["no words"]
    said = [c.outputs[0].data["text/plain"] for c in copy.cells[2:]]
    assert said[0].endswith("left out: no words") and said[1].endswith("a part above that is left out")
    assert "figure" not in copy.cells[2].metadata["mystnb"] and own.MAY_FAIL not in copy.cells[2].metadata["tags"]


def test_a_run_keeps_out_of_the_published_results():
    for store in ("results", "results/public", "./results"):
        with pytest.raises(project.BuildError, match="results/ holds the published numbers"):
            own.own_run("01_first_metamer", ["-p", "store", store], "quick")
    kept = own.own_run("01_first_metamer", ["-p", "store", "_build/mine"], "quick")
    assert kept.parameters["store"] == "_build/mine" and kept.store == project.ROOT / "_build" / "mine"
