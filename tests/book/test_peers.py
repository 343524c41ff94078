"""The page on other programs: its numbers are those of the benchmarks, and what it says to type is there."""

import math
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import peers  # noqa: E402

PAGE = ROOT / "_build" / "html" / "book" / "peers.html"


def held(name):
    return pd.read_csv(ROOT / "benchmarks" / f"{name}.csv")


def test_a_contender_that_never_got_there_has_a_lower_bound():
    frame = pd.DataFrame(
        {
            "act": "relu",
            "layer": 1,
            "tolerance": 1e-4,
            "contender": ["plenoptic", "plenoptic", "our Adam", "ours, fast"],
            "seconds": [math.inf, 17.2, math.inf, 0.31],
            "spent": [60.0, 50.0, 34.0, 0.5],
        }
    )
    _, rows = peers.features(frame)
    assert rows == [["relu", "1", "1e-04", "17 s", "> 34 s", "0.31 s"]]


def test_solvers_of_edges_are_compared_after_the_same_time():
    frame = held("structure")
    heads, rows = peers.edges(frame)
    common = float(re.search(r"within (\d+) s", heads[2])[1])
    own = frame[(frame["graph"] == "Cora") & (frame["start"] == "erdos-renyi") & (frame["max_overlap"] == 0)]
    assert common <= own.groupby(["layer", "solver"])["seconds"].max().min() + 0.5
    for layer, name, within, end, *_ in rows:
        assert within == "not looked at" if name == "PRBCD" else float(end) <= float(within)
        solver = {label: key for key, label in (("prbcd", "PRBCD"), ("swaps", "swaps, here"))}.get(name, "ste")
        part = own[(own["layer"] == int(layer)) & (own["solver"] == solver)]
        assert float(end) == pytest.approx(part["loss"].min(), abs=5e-4)


def test_the_dimension_is_timed_for_the_same_nodes():
    _, rows = peers.dimension(held("dimension"))
    assert rows[0][1] == rows[1][1] and held("dimension").query("part == 'peers'")["same_rank"].dropna().all()


def test_times_grow_nearly_in_proportion_to_the_edges():
    frame = held("growth")
    heads, rows = peers.growth(frame)
    assert len(rows) == 6 and all(len(row) == len(heads) for row in rows)
    assert all(0.3 < float(row[4]) < 1.4 for row in rows)
    own = frame[(frame["set"] == "growth") & (frame["part"] == "features") & (frame["edges"] == 100_000)]
    assert rows[0][2] == peers.seconds(float(own["seconds"].item()))


def test_the_page_shows_the_tables_and_its_commands_exist():
    text = (ROOT / "book" / "peers.md").read_text("utf8")
    programs = re.findall(r"^python (\S+)", text, flags=re.MULTILINE)
    assert len(programs) == 5 and all((ROOT / program).is_file() for program in programs)
    if not PAGE.is_file():
        pytest.skip("there is no published book; run `make site` first")
    soup = BeautifulSoup(PAGE.read_text("utf8"), "html.parser")
    shown = {cell.get_text(strip=True).replace("\u2019", "'") for cell in soup.select("article td")}
    for name, summary in peers.MEASURED.values():
        _, rows = summary(held(name))
        assert {cell for row in rows for cell in row} <= shown
    assert all(len(table.select("thead th")) <= 7 for table in soup.select("article table"))
