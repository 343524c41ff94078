"""Kills with signal 9 at random moments of sweeps, publishing and saving: nothing is spoilt, tables end up the same."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

from tests.helpers.copies import copy_of_the_project, environment

NAME = "01_first_metamer"
OWN = ["-p", "profile", "quick", "-p", "graphs", "karate", "-p", "layers", "2", "-p", "seeds", "7,8"]
SEARCHES = """
import sys
import metamerlib as ml

points = ml.records.grid(vary=["features", "structure"], seed=list(range(20)))
graph = ml.load_graph("karate")

def search(vary, seed):
    model, accuracy = ml.records.trained_model("gcn", graph, seed=seed % 2, hidden_channels=8, epochs=20)
    metamer = ml.find_metamer(model, graph, layer=2, vary=vary, seed=seed, max_steps=60)
    return {"loss": metamer.loss, "steps": metamer.steps, "status": metamer.status, "accuracy": accuracy}

print("ready", flush=True)
ml.records.compute(search, points, name="demo", recipe=1, store=sys.argv[1], progress=False)
"""
SAVES = """
import itertools, sys
import metamerlib as ml

graph = ml.load_graph("karate")
model, _ = ml.records.trained_model("gcn", graph, seed=0, hidden_channels=8, epochs=5)
found = [ml.find_metamer(model, graph, layer=1, seed=seed, max_steps=20) for seed in (0, 1)]
print("ready", flush=True)
for metamer in itertools.cycle(found):
    metamer.save(sys.argv[1])
"""


def project_in(folder):
    return copy_of_the_project(folder, [NAME])


def started(command, cwd):
    return subprocess.Popen(
        command, cwd=cwd, env=environment(cwd), start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(process):
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said


def build(project, *words):
    finish(started([sys.executable, "-m", "book.tools", *words], project))


def killed(process, seconds):
    """Kill a whole group of processes after some seconds; tell whether it was still at work."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return True
    finally:
        process.communicate()
    return False


def kill_later(command, cwd, seconds):
    """Start a program, and kill it some seconds after it said that it is ready."""
    process = started(command, cwd)
    assert process.stdout.readline() == "ready\n"
    return killed(process, seconds)


def test_searches_killed_eight_times(tmp_path, record_property):
    moments = random.Random(0)
    project = project_in(tmp_path / "project")
    untouched = [sys.executable, "-c", SEARCHES, "whole"]
    process = started(untouched, project)
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    finish(process)
    whole = time.monotonic() - began
    kills = 0
    while kills < 8:
        if not kill_later([*untouched[:-1], "killed"], project, moments.uniform(0, whole / 6)):
            shutil.rmtree(project / "killed")  # done: begin again, until there were eight kills
            continue
        kills += 1
    finish(started([*untouched[:-1], "killed"], project))
    tables = [project / store / "demo.parquet" for store in ("whole", "killed")]
    assert tables[0].read_bytes() == tables[1].read_bytes()
    assert sorted(path.name for path in (project / "killed").iterdir()) == ["demo.parquet", "demo.runs.parquet"]
    record_property("cases", kills)


def tables_of(project):
    (folder,) = (project / "_build" / "runs" / NAME).iterdir()
    files = sorted((folder / "results").rglob("*"))
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files
        if path.suffix in (".parquet", ".csv", ".svg") and ".runs." not in path.name
    }


def test_shards_of_a_notebook_killed_four_times(tmp_path, record_property):
    moments = random.Random(1)
    whole, other = project_in(tmp_path / "whole"), project_in(tmp_path / "other")
    began = time.monotonic()
    build(whole, "shard", NAME, "0/2", *OWN)
    seconds = time.monotonic() - began
    build(whole, "shard", NAME, "1/2", *OWN)
    build(whole, "run", NAME, *OWN)
    kills = 0
    for shard in ("0/2", "1/2", "0/2", "1/2"):
        command = [sys.executable, "-m", "book.tools", "shard", NAME, shard, *OWN]
        kills += killed(started(command, other), moments.uniform(0.1, 0.9) * seconds)
    build(other, "shard", NAME, "0/2", *OWN)
    build(other, "shard", NAME, "1/2", *OWN)
    build(other, "run", NAME, *OWN)
    one, two = tables_of(whole), tables_of(other)
    assert one.keys() == two.keys() and any(name.endswith(".parquet") for name in one)
    assert [name for name in one if one[name] != two[name]] == []
    record_property("cases", kills)
    assert kills >= 2


def test_publishing_killed_four_times(tmp_path, record_property):
    moments = random.Random(2)
    project = project_in(tmp_path)
    notebook, results = project / "notebooks" / f"{NAME}.ipynb", project / "results"
    command = [sys.executable, "-m", "book.tools", "publish", NAME]
    old = notebook.read_bytes()
    before = {path: path.read_bytes() for path in results.glob("*.parquet")}
    kills = 0
    for share in (0.3, 0.5, 0.7, 0.9):
        kills += killed(started(command, project), share * moments.uniform(6, 12))
        assert notebook.read_bytes() == old or kills < 4  # published by a run that was quicker than its kill
        assert {path: path.read_bytes() for path in before} == before
    build(project, "publish", NAME)
    after = notebook.read_bytes()
    build(project, "publish", NAME)
    assert notebook.read_bytes() == after and {path: path.read_bytes() for path in before} == before
    assert not [path for path in project.rglob("*.part")] and not [path for path in results.rglob(".*.tmp")]
    record_property("cases", kills)
    assert kills >= 2


def test_saves_killed_ten_times(tmp_path, record_property):
    import metamerlib as ml

    moments = random.Random(3)
    project = project_in(tmp_path / "project")
    path = tmp_path / "saved" / "m.pt"
    path.parent.mkdir()
    command = [sys.executable, "-c", SAVES, str(path)]
    losses = set()
    for _ in range(10):
        assert kill_later(command, project, moments.uniform(0.05, 0.5))
        losses.add(ml.Metamer.load(path).loss)
        assert len(list(path.parent.iterdir())) <= 2  # the next save sweeps up what this one left
    assert len(losses) <= 2
    ml.Metamer.load(path).save(path)
    assert [file.name for file in path.parent.iterdir()] == ["m.pt"]
    record_property("cases", 10)
