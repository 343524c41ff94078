import json
import os
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

import matplotlib.pyplot as plt

from metamerlib import figures

RING = np.array([[0, 1, 2, 3, 1, 2, 3, 0], [1, 2, 3, 0, 0, 1, 2, 3]])
CROSSED = np.array([[0, 1, 2, 3], [1, 3, 0, 2]])
DATA = pd.DataFrame({"depth": [2, 1], "loss": [1 / 3, 1e-12]})
TEXTS = {
    "caption": "Loss by depth.",
    "alt": "The loss falls.",
    "columns": {"depth": "layers", "loss": "L_act"},
}


@pytest.fixture(autouse=True)
def style():
    with mpl.rc_context():
        figures.set_style()
        yield
        plt.close("all")


def published(store, **changes):
    fig, ax = plt.subplots()
    ax.plot(DATA["depth"], DATA["loss"], label="gcn")
    return figures.publish_figure(fig, "fig-loss", DATA, store=store, **(TEXTS | changes))


def test_import_does_not_load_torch():
    code = "import sys, metamerlib.report.figures; sys.exit('torch' in sys.modules or 'torch_geometric' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_architecture_has_its_own_look():
    colours = figures.ARCHITECTURE_COLOURS
    assert len(set(colours.values())) == len(colours) == 10
    assert len({figures.architecture_style(name)["marker"] for name in colours}) == 10
    assert figures.architecture_style("GAT") == figures.architecture_style("gat")
    assert figures.architecture_style("a foreign model")["color"] == colours["foreign"]
    with pytest.raises(TypeError):
        colours["gcn"] = "red"


def test_publish_writes_five_files(tmp_path):
    stem = published(tmp_path)
    assert stem == tmp_path / "public/figures/fig-loss"
    assert sorted(path.suffix for path in stem.parent.iterdir()) == [".csv", ".json", ".pdf", ".png", ".svg"]
    assert stem.with_suffix(".csv").read_text() == "depth,loss\n2,0.3333333333\n1,1e-12\n"
    about = json.loads(stem.with_suffix(".json").read_text())
    assert list(about) == ["id", "caption", "alt", "columns", "notebook", "library", "tables"]
    assert about["columns"] == TEXTS["columns"] and about["notebook"] is None and about["tables"] == []
    assert ">gcn<" not in stem.with_suffix(".json").read_text()
    assert "dc:date" not in stem.with_suffix(".svg").read_text()


def test_publishing_one_figure_again_gives_the_same_bytes(tmp_path):
    fig = figures.draw_graph_pair(RING, CROSSED, colours=np.arange(4.0))
    contents = []
    for _ in range(2):
        stem = figures.publish_figure(fig, "fig-loss", DATA, store=tmp_path, **TEXTS)
        contents.append([path.read_bytes() for path in sorted(stem.parent.iterdir())])
    assert contents[0] == contents[1]


def test_two_processes_publish_the_same_bytes(tmp_path):
    code = (
        "import sys, numpy as np, matplotlib; matplotlib.use('Agg')\n"
        "from metamerlib import figures as f; import pandas as pd; f.set_style()\n"
        "r = np.random.default_rng(0); a = r.normal(size=(200, 40))\n"
        "text = dict(store=sys.argv[1], caption='c', alt='a', columns={'d': 'd'})\n"
        "d = pd.DataFrame({'d': [0.1]}); e = np.array([[0, 1, 2], [1, 2, 3]])\n"
        "f.publish_figure(f.draw_activation_scatter(a, a).figure, 'fig-scatter', d, **text)\n"
        "f.publish_figure(f.draw_graph_pair(e, e[:, :2], colours=a[:4, 0]), 'fig-graphs', d, **text)\n"
    )
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / seed)], check=True, env=environment)
    files = sorted(path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("fig-*"))
    assert len(files) == 10
    differing = [
        str(file) for file in files if (tmp_path / "1" / file).read_bytes() != (tmp_path / "2" / file).read_bytes()
    ]
    assert differing == []


def test_provenance_follows_sources_not_outputs(tmp_path):
    notebook, table = tmp_path / "01.ipynb", tmp_path / "01.parquet"
    table.write_bytes(b"abc")

    def provenance(source, outputs, tags=()):
        cell = {"cell_type": "code", "source": source, "outputs": outputs, "metadata": {"tags": list(tags)}}
        injected = {
            "cell_type": "code",
            "source": f"# {outputs}",
            "metadata": {"tags": ["injected-parameters"]},
        }
        notebook.write_text(json.dumps({"cells": [cell, injected]}))
        stem = published(tmp_path, notebook=notebook, table=table)
        return json.loads(stem.with_suffix(".json").read_text())

    first = provenance("x = 1", [])
    assert provenance(["x ", "= 1"], ["1"]) == first
    assert provenance("x = 2", [])["notebook"]["sha256"] != first["notebook"]["sha256"]
    assert first["notebook"]["file"] == "01.ipynb"
    assert first["tables"] == [
        {"file": "01.parquet", "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
    ]


@pytest.mark.parametrize("id", ["loss", "fig-Loss", "fig-", "fig-a_b", "fig-a-", "fig-a/b"])
def test_malformed_ids_are_refused(id):
    with pytest.raises(ValueError, match="figure id is"):
        figures.publish_figure(plt.figure(), id, DATA, store="unused", **TEXTS)


def test_undescribed_columns_and_empty_texts_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not described: loss"):
        published(tmp_path, columns={"depth": "layers"})
    with pytest.raises(ValueError, match="alternative text"):
        published(tmp_path, alt=" ")
    assert not list(tmp_path.iterdir())


def test_graph_pair_marks_edges_of_one_graph_only():
    fig = figures.draw_graph_pair(RING, CROSSED, labels=list("abcd"))
    counts = [[len(lines.get_segments()) for lines in ax.collections[:2]] for ax in fig.axes[:2]]
    assert counts == [[2, 2], [2, 2]]
    first, second = (ax.collections[2].get_offsets() for ax in fig.axes[:2])
    assert np.array_equal(first, second) and len(first) == 4


def test_graph_pair_shares_one_scale():
    fig = figures.draw_graph_pair(RING, RING, colours=np.arange(4.0), metamer_colours=np.arange(4.0) + 3)
    assert [ax.collections[2].get_clim() for ax in fig.axes[:2]] == [(0, 6), (0, 6)]
    assert not fig.legends


def test_graph_pair_takes_rgb_and_isolated_nodes():
    shades, _ = figures.feature_colours(np.eye(6), np.eye(6))
    fig = figures.draw_graph_pair(RING, RING, colours=shades)
    assert len(fig.axes) == 2 and len(fig.axes[0].collections[2].get_offsets()) == 6


def test_matrix_pair_shares_a_scale_round_zero():
    fig = figures.draw_matrix_pair(np.eye(3), -2 * np.eye(3))
    assert [ax.images[0].get_clim() for ax in fig.axes[:2]] == [(-2, 2), (-2, 2)]


@pytest.mark.parametrize("rows", [10, 2000])
def test_activation_scatter_counts_when_there_are_many(rows):
    values = np.linspace(0, 1, rows * 4).reshape(rows, 4)
    ax = figures.draw_activation_scatter(values, values)
    (drawn,) = ax.collections
    assert drawn.get_rasterized()
    assert len(drawn.get_offsets()) == 40 if rows == 10 else np.nansum(drawn.get_array()) == 8000
    with pytest.raises(ValueError, match="40 and 44 entries"):
        figures.draw_activation_scatter(np.zeros((10, 4)), np.zeros((11, 4)))


def test_cosine_histogram_counts_zero_rows():
    cosines = np.array([0.0, 0.1, np.nan, 0.1])
    ax = figures.draw_cosine_histogram(cosines, np.ones(4), start=cosines[:2], shuffled=-cosines)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[0] == "features (1 zero rows left out)" and len(labels) == 4
    assert max(patch.get_height() for patch in ax.patches if hasattr(patch, "get_height")) == 1.0


def test_convergence_draws_each_solver_on_a_log_scale():
    history = pd.DataFrame({"step": [0, 1], "loss": [1.0, 0.0], "seconds": [0.0, 2.0]})
    ax = figures.draw_convergence({"adam": history, "lbfgs": history}, against="step", rtol=1e-4)
    assert ax.get_yscale() == "log" and ax.get_xlabel() == "steps" and len(ax.lines) == 3
    ax.figure.draw_without_rendering()
    with pytest.raises(ValueError, match="against is 'hours'"):
        figures.draw_convergence({"adam": history}, against="hours")


def test_provenance_covers_every_wing_of_the_library(monkeypatch):
    seen = []
    monkeypatch.setattr(figures, "_sha256", lambda content: seen.append(content) or "")
    figures._library_hash()
    names = {name for name, _ in json.loads(seen[-1])}
    assert {"__init__.py", "checks.py", "search/find.py", "report/figures.py"} <= names
