import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import metamerlib as ml

ROOT = Path(ml.__file__).parents[1]


def run(code):
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize("module", ["records", "figures"])
def test_published_tables_and_figures_need_no_torch(module):
    done = run(
        f"import sys, metamerlib as ml; ml.{module}; assert not set(sys.modules) & {{'torch', 'torch_geometric'}}"
    )
    assert done.returncode == 0, done.stderr


def test_import_alone_loads_nothing():
    done = run("import sys, metamerlib; print([m for m in sys.modules if m.startswith('metamerlib.')])")
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", ml.__all__)
def test_every_public_name_is_there(name):
    assert getattr(ml, name) is not None and name in dir(ml)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="No metamerlib attribute find_isomer"):
        _ = ml.find_isomer


def test_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert ml.__version__ == project["version"]


INTERFACE = {
    "load_graph": "name root seed",
    "train": "model graph epochs seed adversarial init",
    "find_metamer": "model graph layer vary values nodes free_nodes start budget max_overlap ones solver slope forward"
    " max_steps rtol stall_rtol num_restarts seed device",
    "find_metamers": "model graphs layer start solver slope forward max_steps rtol stall_rtol seed device",
    "compare": "model metamer",
    "nullspace_metamer": "model graph seed",
    "GNN": "conv in_channels hidden_channels out_channels num_layers act residual norm dropout pool",
}


@pytest.mark.parametrize("name, arguments", INTERFACE.items())
def test_arguments_are_those_of_the_published_interface(name, arguments):
    assert set(arguments.split()) <= set(inspect.signature(getattr(ml, name)).parameters)


def test_metamer_holds_what_is_published():
    names = set(ml.Metamer.__dataclass_fields__)
    assert names >= {"graph", "reference", "target", "activation", "loss", "relative_error", "status", "steps"}
    assert names >= {"seconds", "dead_units", "history"} and ml.Metamer.__dataclass_params__.frozen
