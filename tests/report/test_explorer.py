"""The packed file of the explorer can be derived again: its errors, a search, and what readers without scripts see."""

import subprocess
import sys

import pytest

import metamerlib as ml
from metamerlib.report import explorer
from tests.helpers.explorer import DATA, STATIC, errors, examples, graph_of, library_model

EXAMPLES = ("karate", "cora", "decalin")


@pytest.fixture(scope="module")
def packed():
    return examples()


@pytest.mark.parametrize("name", EXAMPLES)
def test_errors_follow_from_the_shipped_weights_by_plain_pyg(packed, name):
    example = packed[name]
    for model in example["models"]:
        assert [row["kind"] for row in model["layers"]] == [model["id"]] * 2
        for search in model["searches"]:
            for frame in search["frames"]:
                found = errors(model, graph_of(example), graph_of(example, frame))
                assert found == pytest.approx(frame["errors"], abs=1e-5, rel=1e-4)


def test_a_search_from_the_shipped_weights_gives_the_shipped_frames(packed):
    example = packed["karate"]
    model = next(m for m in example["models"] if m["id"] == "gcn")
    search = next(s for s in model["searches"] if (s["layer"], s["vary"]) == ("layer 1", explorer.FEATURES))
    shipped = [frame for frame in search["frames"] if frame["step"] <= 8]
    assert len(shipped) >= 3
    for frame in shipped[1:]:
        metamer = ml.find_metamer(
            library_model(model), ml.load_graph("karate"), layer=1, seed=explorer.SEED, rtol=explorer.RTOL,
            max_steps=frame["step"],
        )  # fmt: skip
        assert metamer.relative_error == pytest.approx(frame["errors"][0], rel=1e-2)


def test_the_molecule_is_made_again_as_it_is_shipped(packed):
    assert explorer.read_data(DATA)["examples"][-1]["id"] == "decalin"
    made, kept = explorer.molecule(), packed["decalin"]
    assert made["edges"] == kept["edges"] and made["layout"] == kept["layout"]
    for new, old in zip(made["models"], kept["models"], strict=True):
        assert new["layers"] == old["layers"]
        assert [f.get("edges") for f in new["searches"][0]["frames"]] == [
            f.get("edges") for f in old["searches"][0]["frames"]
        ]
        assert max(error for f in old["searches"][0]["frames"] for error in f["errors"]) < 1e-6


def test_searches_of_features_converged_and_stored_errors_fall(packed):
    for example in packed.values():
        for model in example["models"]:
            for search in model["searches"]:
                matched = [frame["errors"][0 if search["layer"] == "layer 1" else 1] for frame in search["frames"]]
                assert matched[-1] <= matched[0] and (matched[-1] < 2e-3) <= (search.get("status") != "max_steps")
                assert (search.get("status") == "converged") <= (matched[-1] < 2e-3)


def test_files_are_small_and_belong_together():
    assert DATA.stat().st_size < explorer.LARGEST_FILE
    assert (STATIC / "explorer-fallback.html").read_text("utf8") == explorer.fallback(explorer.read_data(DATA))


def test_no_torch_is_loaded_by_the_module():
    code = "import sys, metamerlib.report.explorer; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
