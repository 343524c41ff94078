"""A metamer as a page of one file, in a real browser; as a figure; and as a line of text."""

import json
import re

import numpy as np
import pytest
import torch

import metamerlib as ml
from metamerlib.search.page import packed, shown_share, unpacked, view_of
from tests.helpers.browser import watched
from tests.helpers.metamers import gnn

EVIL = "</script><img src=http://x.invalid/ onerror=alert(1)>"


@pytest.fixture
def metamer(graph):
    graph.feature_names = [f"{EVIL} {i}" for i in range(graph.x.size(1))]
    return ml.find_metamer(gnn(), graph, layer=1, rtol=1e-6)


def large():
    """Return a metamer of 3000 nodes in a ring of hubs, each hub with many leaves."""
    from torch_geometric.data import Data

    generator = torch.Generator().manual_seed(0)
    leaves = torch.arange(60, 3000)
    pairs = torch.stack([torch.cat([leaves, torch.arange(60)]), torch.cat([leaves % 60, torch.arange(1, 61) % 60])])
    edge_index = torch.cat([pairs, pairs.flip(0)], dim=1)
    graph = Data(x=torch.rand(3000, 200, generator=generator), edge_index=edge_index)
    model = ml.GNN(conv="gcn", in_channels=200, hidden_channels=128, out_channels=4, num_layers=2)
    return ml.find_metamer(model, graph, layer=1, max_steps=5)


@pytest.mark.parametrize("kind", ["float32", "int16", "ones"])
def test_packed_numbers_come_back(kind):
    values = np.random.default_rng(0).normal(size=(5, 7))
    values = (values > 0).astype(float) if kind == "ones" else values
    allowed = {"float32": 1e-6, "int16": np.abs(values).max() / 32767, "ones": 0}[kind]
    assert np.abs(unpacked(packed(values, kind=kind)) - values).max() <= allowed


def test_page_opens_without_message_or_request_and_shows_names_as_text(metamer, browser, tmp_path):
    metamer.to_html(tmp_path / "metamer.html", node=5)
    page = browser.new_page()
    seen = watched(page)
    page.goto((tmp_path / "metamer.html").as_uri())
    page.wait_for_selector("[data-ready=true]")
    assert page.locator("img").count() == 0
    page.locator("summary").click()
    assert page.locator(".rows tbody th").first.text_content().startswith(EVIL)
    error = page.locator("[data-name^='Relative error']").get_attribute("data-value")
    assert float(error) == pytest.approx(metamer.relative_error, rel=1e-6)
    assert page.locator(".node.chosen title").first.text_content() == "node 5"
    unit = page.locator(".bar.metamer title").first.text_content()
    drawn = float(unit.rsplit(" ", 1)[1])
    assert np.abs(metamer.activation[5].numpy() - drawn).min() < 1e-6
    page.locator("[name=frame]").press("ArrowLeft")
    assert "start of the search" in page.locator(".numbers").text_content()
    page.close()
    assert not seen


def test_page_of_a_large_graph_stays_small(tmp_path):
    metamer = large()
    metamer.to_html(tmp_path / "large.html")
    text = (tmp_path / "large.html").read_text()
    assert len(text) < 2_000_000
    view = json.loads(re.search(r"window\.METAMERS = (.*);</script>", text)[1])["examples"][0]
    assert len(view["nodes"]) == 60 and view["x"]["shape"] == [60, 60]
    change = (metamer.graph.x - metamer.reference.x).norm(dim=1)
    assert view["nodes"][0] == f"node {int(change.argmax())}"


def test_features_shown_are_those_that_differ_most(metamer):
    view = view_of(metamer, 0)
    found = view["models"][0]["searches"][0]["frames"][-1]
    change = np.abs(unpacked(found["x"]) - unpacked(view["x"])).sum(axis=0)
    assert (np.diff(change) <= 1e-6).all() and view["marks"][0] == "0"


def test_nodes_that_were_not_matched_have_no_activation(graph):
    metamer = ml.find_metamer(gnn(), graph, layer=1, nodes=[1, 2], max_steps=5)
    view = view_of(metamer, 1)
    search = view["models"][0]["searches"][0]
    assert sorted(view["marks"][row] for row in search["rows"]) == ["1", "2"]
    assert np.allclose(unpacked(search["target"])[0], metamer.target[0], atol=1e-6)


def test_pooled_layers_show_the_graphs_activation(graph):
    model = ml.GNN(
        conv="gcn", in_channels=graph.x.size(1), hidden_channels=4, out_channels=3, num_layers=1, pool="mean"
    )
    metamer = ml.find_metamer(model.double(), graph, layer="head", max_steps=5)
    search = view_of(metamer, 7)["models"][0]["searches"][0]
    assert search["pooled"] and np.allclose(unpacked(search["target"]), metamer.target, atol=1e-6)


def test_structure_has_the_edges_of_both_graphs(graph, tmp_path):
    metamer = ml.find_metamer(gnn(), graph, layer=1, vary="structure", max_steps=5)
    view = view_of(metamer, 0)
    found = view["models"][0]["searches"][0]["frames"][-1]
    marks = [int(mark) for mark in view["marks"]]
    known = {tuple(edge) for edge in metamer.graph.edge_index.t().tolist()}
    assert found["edges"] != view["edges"] and all((marks[u], marks[v]) in known for u, v in found["edges"])
    figure = metamer.plot(0)
    assert [axes.get_title().split("\n")[0] for axes in figure.axes] == [
        "Reference", "Metamer", "Descent of the search",
    ]  # fmt: skip


def test_plot_shows_features_and_the_descent(metamer):
    figure = metamer.plot(node=3)
    first, second, descent = figure.axes[:3]
    assert first.images[0].get_clim() == second.images[0].get_clim()
    assert np.allclose(descent.lines[0].get_ydata() ** 2, metamer.history.loss)


def test_repr_is_one_line(metamer):
    pattern = r"Metamer\(features, layer 'layers\.0', converged, relative error 0\.\d+ %, \d+ steps\)"
    assert re.fullmatch(pattern, repr(metamer)), repr(metamer)
    assert shown_share(float("nan")) == "nan" and shown_share(0.0) == "0 %"


@pytest.mark.parametrize(
    ("node", "kind", "words"),
    [
        (34, ValueError, "node must lie in 0..33, got 34"),
        (-1, ValueError, "node must lie in 0..33, got -1"),
        ("a", TypeError, "node must be an integer"),
    ],
)
def test_unknown_nodes_are_refused(metamer, tmp_path, node, kind, words):
    for call in (lambda: metamer.to_html(tmp_path / "a.html", node), lambda: metamer.plot(node)):
        with pytest.raises(kind, match=re.escape(words)):
            call()
    assert not list(tmp_path.iterdir())


def test_paths_that_cannot_be_written_are_refused(metamer, tmp_path):
    with pytest.raises(ValueError, match=r"is a folder; give the name of a file in it, such as .*metamer\.html"):
        metamer.to_html(tmp_path)
    with pytest.raises(FileNotFoundError, match="create it first"):
        metamer.to_html(tmp_path / "none" / "a.html")
