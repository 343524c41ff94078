"""A full disk and a folder that may not be written: named in the error, and nothing that was there is spoilt."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.copies import ROOT, environment

WRITES = ("point", "table", "model", "metamer", "page", "figure")
PROGRAM = """
import json, os, resource, signal, sys
from pathlib import Path
import pandas as pd
import matplotlib.pyplot as plt
import metamerlib as ml
from metamerlib.report import figures, records

folder, how = Path(sys.argv[1]), sys.argv[2]
graph = ml.load_graph("karate")
torch_model = ml.GNN(conv="gcn", in_channels=34, hidden_channels=8, out_channels=4, num_layers=2)
metamer = ml.find_metamer(torch_model, graph, layer=1, max_steps=20)

def value(seed):
    return {"value": float(seed), "text": "x" * 5000 + str(seed)}

def compute(count, name, shard=None):
    points = records.grid(seed=list(range(count)))
    return records.compute(value, points, name=name, recipe=1, store=folder / "store", shard=shard, progress=False)

def figure():
    fig, axis = plt.subplots()
    axis.plot([0, 1], [0, 1])
    notebook = folder / "n.ipynb"
    return figures.publish_figure(
        fig, "fig-demo", pd.DataFrame({"a": [0.0, 1.0]}), caption="A line.", alt="A line that rises.",
        columns={"a": "a number"}, notebook=notebook, table=folder / "store" / "old.parquet", store=folder / "store",
    )

writes = {
    "point": lambda: compute(3, "new", (0, 1)),
    "table": lambda: records.merge("old", folder / "store", recipe=1),
    "model": lambda: records.cached_state(1, "g", {"seed": 1}, torch_model.state_dict, folder / "models"),
    "metamer": lambda: metamer.save(folder / "m.pt"),
    "page": lambda: metamer.to_html(folder / "m.html"),
    "figure": figure,
}
if how == "prepare":
    (folder / "n.ipynb").write_text(json.dumps({"cells": []}))
    (folder / "models").mkdir()
    compute(4, "old")
    metamer.save(folder / "m.pt"), metamer.to_html(folder / "m.html"), figure()
    records.cached_state(1, "g", {"seed": 0}, torch_model.state_dict, folder / "models")
    sys.exit()
if how == "limit":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
if how == "nobody":
    os.setgid(65534), os.setuid(65534)
said = {}
for name, write in writes.items():
    try:
        write()
        said[name] = ["nothing", ""]
    except OSError as error:
        said[name] = [type(error).__name__, str(error)]
print("SAID" + json.dumps(said))
"""


def run(folder, how):
    command = [sys.executable, "-c", PROGRAM, str(folder), how]
    done = subprocess.run(command, env=environment(ROOT), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def held(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(folder, how):
    """Run all writes where none can succeed; return what each said, after a look at what was there before."""
    before = held(folder)
    said = json.loads(run(folder, how).rpartition("SAID")[2])
    assert held(folder) == before, "something was spoilt or left behind"
    return said


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    run(folder, "prepare")
    assert len(held(folder)) >= 8
    return folder


@pytest.mark.parametrize("how", ["limit", "nobody"])
def test_every_write_is_refused_in_words(prepared, how, record_property):
    if how == "nobody":
        if os.getuid() != 0:
            pytest.skip("only root can become another user")
        for folder in prepared.parents:
            if folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o055)
    said = refused(prepared, how)
    assert set(said) == set(WRITES)
    for name, (kind, text) in said.items():
        assert kind in ("OSError", "PermissionError"), (name, kind)
        assert str(prepared) in text, (name, text)
        assert ("File too large" if how == "limit" else "Permission denied") in text, (name, text)
    record_property("cases", len(WRITES))


def test_a_disk_that_fills_up_between_points_loses_none(tmp_path, record_property):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    from metamerlib.report import records

    def value(seed):
        return {"text": "".join(chr(33 + (seed * 7919 + place * place) % 90) for place in range(6000))}

    points = records.grid(seed=list(range(40)))
    try:
        with pytest.raises(OSError, match=r"No space left on device; it is not written.*\.parquet"):
            records.compute(value, points, name="demo", recipe=1, store=disk, progress=False)
        kept = len(list((disk / ".points" / "demo").glob("*.parquet")))
        assert 0 < kept < 40
        subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
        table = records.compute(value, points, name="demo", recipe=1, store=disk, progress=False)
        runs = records.read_runs("demo", disk)
        assert len(table) == 40 and table["error"].isna().all() and len(runs) == 40
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(OSError, match="Read-only file system"):
            records.compute(value, records.grid(seed=[99]), name="demo", recipe=1, store=disk, progress=False)
        assert records.read("demo", disk).equals(table)
    finally:
        subprocess.run(["umount", disk], check=True)
    alone = records.compute(value, points, name="demo", recipe=1, store=tmp_path / "alone", progress=False)
    assert alone.equals(table)
    record_property("cases", 3)
