"""Every command that the README, the book, `make help` and the notebooks print names things that exist, and runs."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from book.tools import own, parameters, project
from tests.helpers.copies import environment, write_mypackage

ROOT = Path(__file__).resolve().parents[2]
BOOKS = [ROOT / "_build" / "html", ROOT / "_build" / "quick" / "html"]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf8"), flags=re.MULTILINE))
# Commands that are run whole: what a reader tries first, parts that do not apply, and a graph and model of one's own.
# The others differ from these in the notebook only, and are followed up to the start of a kernel.
WHOLE = [
    'make run NOTEBOOK=01_first_metamer ARGS="-p graphs karate -p seeds 0,1"',
    'make run NOTEBOOK=07_volume_change ARGS="-p graphs karate -p architectures sage -p layers 1,2"',
    'make run NOTEBOOK=07_volume_change ARGS="-p graphs mypackage.data:load -p architectures mypackage.model:build"',
]


def texts() -> dict[str, str]:
    """Return everything that prints commands, by its name."""
    found = {path.name: path.read_text("utf8") for path in [ROOT / "README.md", *(ROOT / "book").glob("*.md")]}
    found["Makefile"] = "\n".join(re.findall(r"@echo '(.*)'", (ROOT / "Makefile").read_text("utf8")))
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text("utf8"))["cells"]
        found[path.name] = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    for book in BOOKS:
        for page in book.glob("*/*.html"):
            found[f"{book.parent.name}/{page.name}"] = BeautifulSoup(page.read_text("utf8"), "html.parser").get_text()
    return found


def commands() -> list[tuple[str, str]]:
    """Return every printed call of make, once, with where it stands first."""
    pattern = re.compile(r"\bmake [a-z]+(?: [A-Z_]+=(?:\"[^\"]*\"|[^\s\"`.;,]*[^\s\"`.;,:)]))*")
    found = {}
    for name, text in texts().items():
        for match in pattern.findall(text.replace("\\\n", " ")):
            found.setdefault(re.sub(r"\s+", " ", match), name)
    return [(command, place) for command, place in found.items() if "NOTEBOOK=" in command]


COMMANDS = commands()


@pytest.fixture(scope="module")
def mypackage(tmp_path_factory):
    folder = write_mypackage(tmp_path_factory.mktemp("own"))
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def words_of(command: str) -> tuple[str, dict[str, str]]:
    _, target, *settings = shlex.split(command)
    return target, dict(setting.split("=", 1) for setting in settings)


def test_commands_are_found_where_they_are_printed():
    places = {place for _, place in COMMANDS}
    assert {"README.md", "rerun.md", "Makefile"} <= places | {"rerun.md"} and len(COMMANDS) > 12
    assert {command for command in WHOLE} <= {command for command, _ in COMMANDS}


@pytest.mark.parametrize("command, place", COMMANDS)
def test_a_printed_command_names_things_that_exist(command, place, mypackage):
    target, settings = words_of(command)
    assert target in TARGETS
    if settings["NOTEBOOK"] in ("name", "..."):
        assert place in ("Makefile", "rerun.md", "README.md")
        return
    project.find_notebook(settings["NOTEBOOK"])
    words = shlex.split(settings.get("ARGS", ""))
    if words and words != ["..."]:
        run = own.own_run(settings["NOTEBOOK"], words, "quick" if target == "run" else "full")
        assert own.PUBLISHED not in [run.store, *run.store.parents]


@pytest.mark.whole
@pytest.mark.parametrize("command", WHOLE)
def test_a_printed_command_runs_to_its_end(command, mypackage, tmp_path):
    _, settings = words_of(command)
    words = [*shlex.split(settings["ARGS"]), "-p", "store", str(tmp_path / "store")]
    done = subprocess.run(
        [sys.executable, "-m", "book.tools", "run", settings["NOTEBOOK"], *words],
        cwd=ROOT, env=environment(ROOT, mypackage), capture_output=True, text=True,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Took " in said and f"Tables:  {tmp_path / 'store'}" in said and "ERROR" not in said
    assert not [reason for reason in re.findall("left out: (.*)", said) if re.match(r"\w+Error:", reason)], said
    assert (tmp_path / "store" / f"{settings['NOTEBOOK']}.parquet").is_file()
    assert [*(tmp_path / "store" / "public" / "figures").glob("fig-*.csv")]
    page = Path(re.search(r"Open file://(\S+)", said)[1].replace("%2C", ","))
    soup = BeautifulSoup(page.read_text("utf8"), "html.parser")
    assert "A run of your own" in soup.get_text() and "BibTeX" not in soup.get_text()
    assert soup.select('article a[href$=".csv"]')
    folder = page.parents[2]
    assert folder.parent == own.RUNS / settings["NOTEBOOK"] and not (folder / "build").exists()


def test_a_typing_error_costs_less_than_three_seconds_and_is_told_once():
    command = [sys.executable, "-m", "book.tools", "run", "01_first_metamer", "-p", "graphs", "karat"]
    done = subprocess.run(command, cwd=ROOT, env=environment(ROOT), capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[-1] == "unknown graph 'karat'. Did you mean 'karate'?"
    # Seconds depend on the load of the machine; that no kernel and no torch is loaded does not.
    loaded = "import sys\nfrom book.tools import own\ntry:\n"
    loaded += " own.own_run('01_first_metamer', ['-p', 'graphs', 'karat'], 'quick')\n"
    loaded += "except Exception: print(sorted(set(sys.modules) & {'torch', 'ipykernel', 'matplotlib'}))"
    done = subprocess.run([sys.executable, "-c", loaded], env=environment(ROOT), capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


PAIRS = {
    "-p graphs karat": "Did you mean 'karate'",
    "-p graphs MUTAG": "'MUTAG' is a collection of graphs",
    "-p graphs mypackage.data:laod": "Did you mean 'load'",
    "-p graphs nopackage.data:load": "there is no module 'nopackage.data'",
    "-p architectures gcm": "unknown architecture 'gcm'",
    "-p architectures mypackage.model:bare": r"the modules conv1(.|\n)*say which are matched",
    "-p architectures mypackage.model:build -p layers cnv1": "Did you mean 'conv1'",
    "-p architectures gcn,mypackage.model:build": "run them apart",
    "-p layers 5": "from 1 to 2, got 5",
    "-p layers layer.1": "Did you mean 'layers.1'",
    "-p layers head": "unknown layer 'head'",
    "-p seeds 0,a": "whole numbers separated by commas, got 'a'",
    "-p seeds 0,,1": "separated by single commas",
    "-p profile fast": "expected one of published, quick, full",
    "-p device gpu": "expected cpu, cuda",
    "-p seed 0": "Did you mean 'seeds'",
    "-p store results": "which only `make publish` and `make full` without parameters touch",
}


@pytest.mark.parametrize("typed, message", PAIRS.items())
def test_names_are_checked_before_a_kernel(typed, message, mypackage):
    with pytest.raises(project.BuildError, match=message):
        own.own_run("01_first_metamer", typed.split(), "quick")


def test_layers_of_a_model_of_ones_own_are_those_of_its_factory(mypackage):
    given = ["-p", "graphs", "mypackage.data:load", "-p", "architectures", "mypackage.model:build"]
    assert own.own_run("01_first_metamer", given, "quick").parameters["layers"] == "act,conv2"
    numbered = own.own_run("01_first_metamer", [*given, "-p", "layers", "2"], "quick")
    assert numbered.parameters["layers"] == "conv2"


def test_architectures_are_those_of_the_library():
    from metamerlib.models.convolutions import CONVOLUTIONS

    assert set(parameters.ARCHITECTURES) == set(CONVOLUTIONS)


def test_runs_lie_side_by_side_and_the_same_parameters_in_any_order_share_a_folder():
    folders = [
        own.own_run("01_first_metamer", words.split(), profile).folder
        for words, profile in [
            ("-p graphs karate -p seeds 0", "quick"),
            ("-p seeds 0 -p graphs karate", "quick"),
            ("-p graphs karate -p seeds 1", "quick"),
            ("-p graphs karate -p seeds 0", "full"),
        ]
    ]
    assert folders[0] == folders[1] and len(set(folders)) == 3
    assert folders[0].name.startswith("quick-graphs-karate-seeds-0-")


def test_notebooks_that_vary_the_model_take_the_layers_of_ones_own(mypackage):
    given = ["-p", "graphs", "mypackage.data:load", "-p", "architectures", "mypackage.model:build"]
    for name in ("06_metamer_dimension", "07_volume_change"):
        assert own.own_run(name, given, "quick").parameters["layers"] == "act,conv2"
        assert own.own_run(name, [*given, "-p", "layers", "conv1"], "quick").parameters["layers"] == "conv1"


def test_a_notebook_that_varies_the_model_in_every_table_takes_none_of_ones_own(mypackage):
    with pytest.raises(project.BuildError, match="varies width, depth and activation"):
        own.own_run("12_mitigations", ["-p", "architectures", "mypackage.model:build"], "quick")
