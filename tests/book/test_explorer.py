"""The explorer in a real browser, opened as a file: its numbers are those of the library, and everybody can use it."""

import re
from pathlib import Path

import pytest

import metamerlib as ml
from metamerlib.report.explorer import layer_errors
from tests.helpers.browser import watched
from tests.helpers.explorer import DATA, STATIC, examples, graph_of, library_model

ROOT = Path(__file__).resolve().parents[2]
SHELL = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Explorer</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<link rel="stylesheet" href="{style}"></head><body class="metamers-page"><main><h1>Explorer</h1>
<div class="metamers" data-metamers></div><script src="{data}"></script><script src="{script}"></script>
{fallback}</main></body></html>"""


@pytest.fixture(scope="module")
def packed():
    return examples()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The widget with the files that the book takes, on a page of its own."""
    own = ROOT / "metamerlib" / "search"
    path = tmp_path_factory.mktemp("explorer") / "explorer.html"
    files = {"style": own / "page.css", "script": own / "page.js", "data": DATA}
    fallback = (STATIC / "explorer-fallback.html").read_text("utf8")
    path.write_text(SHELL.format(fallback=fallback, **{k: v.as_uri() for k, v in files.items()}), "utf8")
    return path.as_uri()


@pytest.fixture
def page(browser, address):
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    seen = watched(page)
    page.goto(address)
    page.wait_for_selector("[data-ready=true]")
    yield page
    context.close()
    assert not seen


def shown_errors(page):
    """Return the relative errors on the page, one for each layer."""
    return page.eval_on_selector_all("[data-name^='Relative error']", "all => all.map(e => Number(e.dataset.value))")


ALL_FRAMES = """async example => {
  const found = [];
  for (const model of example.models) for (const search of model.searches) {
    for (let frame = 0; frame < search.frames.length; frame++) {
      const view = { example: example.id, model: model.id, layer: search.layer, vary: search.vary, node: 1, frame };
      const changed = new Promise(done => addEventListener('hashchange', () => setTimeout(done), { once: true }));
      location.hash = `#view?${new URLSearchParams(view)}`;
      await changed;
      found.push([...document.querySelectorAll("[data-name^='Relative error']")].map(e => Number(e.dataset.value)));
    }
  }
  return found;
}"""


@pytest.mark.parametrize("name", ["karate", "cora", "decalin"])
def test_every_stored_frame_has_the_errors_of_the_library(page, packed, name):
    shown = page.evaluate(ALL_FRAMES, packed[name])
    searches = [search for model in packed[name]["models"] for search in model["searches"]]
    wanted = [frame["errors"] for search in searches for frame in search["frames"]]
    assert len(shown) == len(wanted) > 5
    for found, frame in zip(shown, wanted, strict=True):
        assert found == pytest.approx(frame, abs=1e-5)


@pytest.mark.parametrize("conv", ["gcn", "sage", "gin"])
def test_an_edge_and_a_feature_changed_by_hand_give_the_errors_of_the_library(page, packed, conv):
    example = packed["karate"]
    page.locator("[name=model]").select_option(label={"gcn": "GCN", "sage": "GraphSAGE", "gin": "GIN"}[conv])
    page.get_by_role("button", name="Begin with the reference").press("Enter")
    assert shown_errors(page) == [0, 0]
    page.locator("[name=node]").select_option("33")
    page.locator("[name=other]").select_option("0")
    page.get_by_role("button", name="Add the edge").press("Enter")
    reference = graph_of(example)
    model = library_model(next(m for m in example["models"] if m["id"] == conv))
    edited = graph_of(example, {"edges": [*example["edges"], [0, 33]]})
    assert shown_errors(page) == pytest.approx(layer_errors(model, reference, edited), abs=1e-5)
    assert "1 change by hand" in page.locator(".numbers").text_content()
    page.locator("[name=feature]").select_option("2")
    page.locator("[name=value]").fill("0.75")
    page.locator("[name=value]").press("Enter")
    edited.x = edited.x.clone()
    edited.x[33, 2] = 0.75
    wanted = layer_errors(model, reference, edited)
    assert shown_errors(page) == pytest.approx(wanted, abs=1e-5) and min(wanted) > 1e-3
    page.get_by_role("button", name="Flip the feature").click()
    edited.x[33, 2] = 0
    assert shown_errors(page) == pytest.approx(layer_errors(model, reference, edited), abs=1e-5)
    page.get_by_role("button", name="Reset").click()
    last = next(m for m in example["models"] if m["id"] == conv)["searches"][0]["frames"][-1]
    assert shown_errors(page) == pytest.approx(last["errors"], abs=1e-5)


def test_activations_drawn_are_those_of_the_library(page, packed):
    example = packed["karate"]
    page.locator("[name=node]").select_option("5")
    frame = example["models"][0]["searches"][0]["frames"][-1]
    probe = ml.Probe(library_model(example["models"][0]), 1)
    for side, graph in (("reference", graph_of(example)), ("metamer", graph_of(example, frame))):
        titles = page.locator(f".bar.{side} title").all_text_contents()
        drawn = [float(title.rsplit(" ", 1)[1]) for title in titles]
        assert drawn == pytest.approx(probe(graph).activation[5].tolist(), abs=1e-5)


def test_the_search_plays_by_keyboard_and_the_link_restores_the_view(page, address, browser):
    slider = page.locator("[name=frame]")
    slider.press("Home")
    assert "step 0" in page.locator(".numbers").text_content()
    slider.press("ArrowRight")
    assert "Relative error" in slider.get_attribute("aria-valuetext")
    page.locator("[name=layer]").select_option("logits")
    page.locator("[name=other]").select_option("9")
    page.locator("[name=flip-edge]").press("Space")
    before = shown_errors(page)
    other = browser.new_page()
    other.goto(page.url)
    other.wait_for_selector("[data-ready=true]")
    assert shown_errors(other) == before and other.locator("[name=layer]").input_value() == "logits"
    other.close()
    page.get_by_role("button", name="Let the solver finish").press("Enter")
    assert slider.input_value() == slider.get_attribute("max") and shown_errors(page) != before
    page.get_by_role("button", name="Copy link").click()
    page.wait_for_function("document.querySelector('.said').textContent !== ''")
    assert address in page.locator("[name=link]").input_value()


def test_the_search_plays_step_by_step_where_motion_is_welcome(browser, address):
    page = browser.new_page(reduced_motion="no-preference")
    page.goto(address)
    page.locator("[name=frame]").press("Home")
    page.locator("[name=finish]").click()
    assert page.locator("[name=finish]").text_content() == "Pause"
    page.wait_for_function("document.querySelector('[name=finish]').textContent !== 'Pause'", timeout=60_000)
    slider = page.locator("[name=frame]")
    assert slider.input_value() == slider.get_attribute("max")
    page.close()


def test_addresses_that_make_no_sense_are_survived(page):
    for hash in ("#view?example=none", "#view?example=karate&frame=1e9&node=-3&edges=0-99.x&values=7_y~-1_2"):
        page.evaluate("hash => { location.hash = hash; }", hash)
        page.wait_for_timeout(50)
        assert len(shown_errors(page)) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_there_is_no_barrier_and_it_fits_on_a_phone(browser, address, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_page(color_scheme=scheme, viewport={"width": 390, "height": 844})
    page.goto(address)
    page.wait_for_selector("[data-ready=true]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    violations = Axe().run(page).response["violations"]
    assert not [v["id"] for v in violations if v["impact"] in ("serious", "critical")]
    page.close()


def test_without_scripts_there_is_a_picture_and_a_table(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert page.locator("noscript svg, svg").count() == 2
    rows = page.locator("tbody tr").all_text_contents()
    assert len(rows) > 10 and all(re.search(r"\d\.\de[-+]\d\d", row) for row in rows)
    context.close()


def test_the_book_takes_the_files_that_are_tested_here():
    from book.tools.pages import WIDGET

    text = (ROOT / "book" / "explorer.md").read_text("utf8")
    for path in WIDGET:
        assert path.is_file() and f"_static/metamers{path.suffix}" in text
    assert "_static/explorer-data.js" in text and "explorer-fallback.html" in text
