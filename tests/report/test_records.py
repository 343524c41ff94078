import math
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from metamerlib import records

POINTS = records.grid(graph=["karate", "davis"], seed=[0, 1, 2])


def square(graph, seed):
    return {"value": (seed + len(graph)) / 3, "name": f"{graph}-{seed}"}


def settings(store, **changes):
    return {"name": "demo", "recipe": 1, "store": store, "progress": False} | changes


def table_bytes(store, name="demo"):
    return (store / f"{name}.parquet").read_bytes()


def test_import_does_not_load_torch():
    code = "import sys, metamerlib.report.records; sys.exit('torch' in sys.modules or 'torch_geometric' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_project_root_walks_up(tmp_path):
    (tmp_path / "_toc.yml").touch()
    (tmp_path / "notebooks" / "deep").mkdir(parents=True)
    assert records.project_root(tmp_path / "notebooks" / "deep") == tmp_path
    (tmp_path / "_toc.yml").unlink()
    with pytest.raises(FileNotFoundError, match=r"no _toc\.yml"):
        records.project_root(tmp_path)


def test_grid_runs_the_last_axis_fastest():
    assert records.grid(a=[1, 2], b=["x", "y"]) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]
    assert records.grid() == [{}]


def test_point_key_depends_on_everything_but_the_order():
    key = records.point_key({"a": 1, "b": "x"}, experiment="demo", recipe=1)
    assert key == records.point_key({"b": "x", "a": 1}, experiment="demo", recipe=1)
    others = [
        records.point_key({"a": 2, "b": "x"}, experiment="demo", recipe=1),
        records.point_key({"a": 1, "b": "x"}, experiment="other", recipe=1),
        records.point_key({"a": 1, "b": "x"}, experiment="demo", recipe=2),
    ]
    assert len({key, *others}) == 4


@pytest.mark.parametrize("value", [torch.nn.ReLU(), np.int64(1), math.nan, {1, 2}, print])
def test_point_key_names_a_parameter_that_is_not_json(value):
    with pytest.raises(TypeError, match="'act'"):
        records.point_key({"seed": 0, "act": value}, experiment="demo", recipe=1)


def test_compute_returns_what_read_returns(tmp_path):
    table = records.compute(square, POINTS, **settings(tmp_path))
    assert list(table.columns) == ["key", "recipe", "graph", "seed", "name", "value", "error"]
    assert table["key"].is_monotonic_increasing and table["error"].isna().all()
    assert table.set_index(["graph", "seed"])["value"]["karate", 1] == 7 / 3
    pd.testing.assert_frame_equal(table, records.read("demo", tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.parquet", "demo.runs.parquet"]


def test_run_table_says_where_and_how_long(tmp_path):
    table = records.compute(lambda device: {"a": 1}, [{"device": "cpu"}], **settings(tmp_path))
    run = records.read_runs("demo", tmp_path).iloc[0]
    assert run["key"] == table["key"][0] and run["device"] == "cpu" and run["shard"] == "0/1"
    assert run["seconds"] >= 0 and run["peak_memory_mb"] > 10
    assert run["torch"].startswith(torch.__version__.split("+")[0])
    assert pd.Timestamp(run["date"]).tzinfo is not None


def test_nothing_is_computed_twice(tmp_path):
    calls = []

    def counted(graph, seed):
        calls.append((graph, seed))
        return square(graph, seed)

    records.compute(counted, POINTS[:4], **settings(tmp_path))
    first = records.compute(counted, POINTS, **settings(tmp_path))
    before = table_bytes(tmp_path)
    second = records.compute(counted, [*POINTS, *POINTS], **settings(tmp_path))
    assert sorted(calls) == sorted((point["graph"], point["seed"]) for point in POINTS)
    pd.testing.assert_frame_equal(first, second)
    assert table_bytes(tmp_path) == before


def test_asking_for_less_returns_less_and_keeps_the_table(tmp_path):
    records.compute(square, POINTS, **settings(tmp_path))
    assert len(records.compute(square, POINTS[:2], **settings(tmp_path))) == 2
    assert len(records.read("demo", tmp_path)) == 6
    assert records.compute(square, [], **settings(tmp_path)).empty


def test_another_recipe_replaces_the_table(tmp_path):
    records.compute(square, POINTS, **settings(tmp_path))
    records.compute(lambda graph, seed: {"other": seed}, POINTS[:2], **settings(tmp_path, recipe=2))
    table = records.read("demo", tmp_path)
    assert set(table["recipe"]) == {2} and "value" not in table and len(table) == 2


@pytest.mark.parametrize("stop", [SystemExit, KeyboardInterrupt])
def test_kill_and_resume_give_the_bytes_of_one_run(tmp_path, stop):
    def killed(graph, seed):
        if (graph, seed) == ("davis", 0):
            raise stop
        return square(graph, seed)

    with pytest.raises(stop):
        records.compute(killed, POINTS, **settings(tmp_path / "a"))
    assert len(list((tmp_path / "a/.points/demo").glob("*.parquet"))) == 3
    records.compute(square, POINTS, **settings(tmp_path / "a"))
    records.compute(square, POINTS[::-1], **settings(tmp_path / "b"))
    for point in POINTS[2:] + POINTS[:2]:
        records.compute(square, [dict(reversed(point.items()))], **settings(tmp_path / "c"))
    assert table_bytes(tmp_path / "a") == table_bytes(tmp_path / "b") == table_bytes(tmp_path / "c")


def uneven(seed):
    """Give integers, floats, missing values and columns of its own by seed."""
    if seed == 3:
        raise ValueError(f"no solution for {object()}\nwith details")
    return [{"a": seed}, {"a": seed + 0.5, "b": None}, {f"only_{seed}": math.nan, "c": 2**60 + seed}]


def test_bytes_do_not_depend_on_which_types_came_first(tmp_path):
    points = records.grid(seed=[0, 1, 2, 3])
    records.compute(uneven, points, **settings(tmp_path / "a"))
    for point in points[::-1]:
        records.compute(uneven, [point], **settings(tmp_path / "b"))
    assert table_bytes(tmp_path / "a") == table_bytes(tmp_path / "b")
    table = records.read("demo", tmp_path / "a").sort_values("seed", kind="stable")
    assert table["a"].tolist()[:2] == [0, 0.5]
    assert table["error"].tolist()[-1].startswith("ValueError: no solution for <object object at 0x")
    assert "details" not in table["error"].tolist()[-1]


def test_failing_point_is_kept_and_tried_again(tmp_path, capfd):
    def failing(graph, seed):
        if seed == 1:
            raise ArithmeticError("boom")
        return square(graph, seed)

    table = records.compute(failing, POINTS, **settings(tmp_path, progress=True))
    assert table["error"].dropna().tolist() == ["ArithmeticError: boom"] * 2
    assert table["seed"][table["error"].notna()].tolist() == [1, 1] and table["value"].notna().sum() == 4
    assert "failed: ArithmeticError: boom" in capfd.readouterr().err
    records.compute(square, POINTS, **settings(tmp_path))
    records.compute(square, POINTS, **settings(tmp_path / "clean"))
    assert table_bytes(tmp_path) == table_bytes(tmp_path / "clean")


@pytest.mark.parametrize("result", [{"seed": 1}, {"key": 1}, [], {"a": object()}, 3])
def test_unusable_result_is_a_failure_of_the_point(tmp_path, result):
    table = records.compute(lambda seed: result, [{"seed": 0}], **settings(tmp_path))
    assert table["error"].notna().all()


def test_results_may_be_tensors_arrays_and_frames(tmp_path):
    table = records.compute(
        lambda seed: pd.DataFrame({"a": np.arange(2, dtype=np.float32), "b": ["x", None]}),
        [{"seed": 0}],
        **settings(tmp_path),
    )
    assert table["a"].tolist() == [0.0, 1.0] and table["b"].isna().tolist() == [False, True]
    point = {"seed": 0, "widths": [1, 2]}
    values = {"a": torch.tensor(2.5), "b": np.bool_(True), "c": np.arange(2)}
    row = records.compute(lambda seed, widths: values, [point], **settings(tmp_path, name="other")).iloc[0]
    assert (row["a"], row["b"], list(row["c"]), row["widths"]) == (2.5, True, [0, 1], "[1,2]")


def test_progress_says_what_is_left(tmp_path, capfd):
    records.compute(square, POINTS, **settings(tmp_path, progress=True))
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("demo: 1/6 points, ") and lines[0].endswith("s left")
    assert lines[-1].startswith("demo: 6/6 points, ") and "left" not in lines[-1]
    records.compute(square, POINTS, **settings(tmp_path, progress=True))
    assert capfd.readouterr().err == ""


def test_shards_merge_into_the_bytes_of_one_run(tmp_path):
    parts = [records.compute(square, POINTS, **settings(tmp_path / "a", shard=(i, 3))) for i in range(3)]
    assert not (tmp_path / "a/demo.parquet").exists()
    assert sum(len(part) for part in parts) == 6
    records.merge("demo", tmp_path / "a", recipe=1)
    records.compute(square, POINTS, **settings(tmp_path / "b"))
    assert table_bytes(tmp_path / "a") == table_bytes(tmp_path / "b")
    assert sorted(set(records.read_runs("demo", tmp_path / "a")["shard"])) <= ["0/3", "1/3", "2/3"]
    with pytest.raises(ValueError, match=r"shard is \(3, 3\)"):
        records.compute(square, POINTS, **settings(tmp_path, shard=(3, 3)))


@pytest.mark.parametrize("keep", [0, 10, 700])
def test_truncated_point_is_computed_again(tmp_path, keep):
    records.compute(square, POINTS, **settings(tmp_path, shard=(0, 2)))
    records.compute(square, POINTS, **settings(tmp_path, shard=(1, 2)))
    file = next((tmp_path / ".points/demo").glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:keep])
    records.compute(square, POINTS, **settings(tmp_path))
    records.compute(square, POINTS, **settings(tmp_path / "clean"))
    assert table_bytes(tmp_path) == table_bytes(tmp_path / "clean")


def test_unreadable_table_is_named_and_kept(tmp_path):
    (tmp_path / "demo.parquet").write_bytes(b"half a ta")
    with pytest.raises(ValueError, match=r"cannot read .*demo\.parquet"):
        records.compute(square, POINTS, **settings(tmp_path))
    assert table_bytes(tmp_path) == b"half a ta"


def test_parameters_of_mixed_types_are_refused_before_computing(tmp_path):
    with pytest.raises(TypeError, match="column 'seed'"):
        records.compute(square, [{"graph": "a", "seed": 0}, {"graph": "a", "seed": "all"}], **settings(tmp_path))
    assert not list(tmp_path.iterdir())


def test_parameters_must_not_be_called_like_a_column_of_the_store(tmp_path):
    with pytest.raises(ValueError, match="error: this name"):
        records.compute(lambda error: {"a": 1}, [{"error": 1}], **settings(tmp_path))


def test_missing_table_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"demo\.parquet; make it with: make full NOTEBOOK=demo"):
        records.read("demo", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"demo\.runs\.parquet"):
        records.read_runs("demo", tmp_path)


def test_check_raises_its_text():
    with pytest.raises(AssertionError, match="the match is exact"):
        records.check("the match is exact", np.bool_(False))


def test_claims_pass_whatever_the_verdict(capsys):
    meaning = {"effect_means": "a share"}
    rows = [
        records.claim(f"c{i}", "It is.", 0.5, 0.1, 0.9, verdict, **meaning)
        for i, verdict in enumerate(records.VERDICTS)
    ]
    rows.append(records.claim("late", "It is.", math.nan, math.nan, math.nan, "not tested", **meaning))
    assert capsys.readouterr().out.splitlines()[-1] == "late: not tested: It is."
    assert records.claims_table(rows)["verdict"].tolist() == [*records.VERDICTS, "not tested"]
    with pytest.raises(ValueError, match="c0"):
        records.claims_table([rows[0], rows[0]])


@pytest.mark.parametrize(
    ("effect", "low", "high", "verdict"),
    [
        (0.5, 0, 1, "true"),
        (math.nan, 0, 1, "fails"),
        (0.5, 1, 0, "fails"),
        (2, 0, 1, "holds"),
        (math.inf, 0, 1, "holds"),
    ],
)
def test_malformed_claims_are_refused(effect, low, high, verdict):
    with pytest.raises(ValueError, match="'c'"):
        records.claim("c", "It is.", effect, low, high, verdict, effect_means="a share")


def test_mean_interval_of_two_values_is_students():
    # Two values 0 and 2: standard error 1, quantile of one degree of freedom 12.706.
    assert records.mean_interval([0.0, 2.0]) == pytest.approx((1, 1 - 12.7062, 1 + 12.7062), abs=1e-3)
    mean, low, high = records.mean_interval([3.0])
    assert mean == 3 and math.isnan(low) and math.isnan(high)
    with pytest.raises(ValueError, match="1 of 2 values are NaN"):
        records.mean_interval([1.0, math.nan])
    with pytest.raises(ValueError, match="no values"):
        records.mean_interval([])


def graph(**changes):
    values = {"x": torch.eye(3), "edge_index": torch.tensor([[0, 1], [1, 0]]), "y": torch.tensor([0, 1, 0])}
    return SimpleNamespace(**(values | changes))


def test_graph_hash_sees_content_shape_and_type():
    variants = [
        graph(),
        graph(x=torch.eye(3).double()),
        graph(x=torch.eye(3).reshape(1, 9)),
        graph(edge_index=torch.tensor([[1, 0], [0, 1]])),
        graph(train_mask=torch.tensor([True, False, True])),
        [graph(), graph()],
    ]
    assert len({records.graph_hash(variant) for variant in variants}) == len(variants)
    assert records.graph_hash(graph()) == records.graph_hash([graph(x=torch.eye(3))])


def test_cached_state_is_built_once_per_setting(tmp_path):
    built = []

    def build():
        built.append(1)
        return {"weight": torch.eye(2, dtype=torch.float64), "test_accuracy": 0.75}

    for seed in (0, 0, 1):
        state = records.cached_state(1, "aa", {"conv": "gcn", "seed": seed}, build, tmp_path)
        assert torch.equal(state["weight"], torch.eye(2, dtype=torch.float64)) and state["test_accuracy"] == 0.75
    assert len(built) == 2
    records.cached_state(2, "aa", {"conv": "gcn", "seed": 0}, build, tmp_path)
    assert len(built) == 3 and len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("keep", [0, 10, 500])
def test_truncated_state_is_built_again(tmp_path, keep):
    arguments = (1, "aa", {"seed": 0}, lambda: {"weight": torch.ones(3)}, tmp_path)
    records.cached_state(*arguments)
    file = next(tmp_path.iterdir())
    file.write_bytes(file.read_bytes()[:keep])
    assert torch.equal(records.cached_state(*arguments)["weight"], torch.ones(3))


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    from metamerlib.report import files as cache

    cache.write_atomic(tmp_path / "a", b"old")

    def no_space(*_):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError, match="no space"):
        cache.write_atomic(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"old"


def test_notebook_keeps_no_progress(tmp_path, monkeypatch):
    # With this variable set, kernels do not capture what is written to the terminal.
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    code = f"""
from metamerlib import records
records.compute(lambda a: {{"b": a}}, [{{"a": 1}}], name="n", recipe=1, store={str(tmp_path)!r});
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    assert notebook.cells[0].outputs == []
    assert (tmp_path / "n.parquet").exists()


def test_a_training_fails_below_nine_tenths_of_the_best_arm_of_its_own_graph():
    runs = pd.DataFrame(
        {
            "graph": ["a"] * 4 + ["b"] * 2,
            "depth": [2, 2, 8, 8, 2, 8],
            "seed": [0, 1, 0, 1, 0, 0],
            "val_accuracy": [0.8, 0.9, 0.7, 0.8, 0.5, 0.4],
        }
    )
    twice = pd.concat([runs, runs], ignore_index=True)  # rows of nodes: a run counts once
    assert records.sound_trainings(twice, ["graph"], ["depth"]).tolist() == [True, True, False, True, True, False] * 2
    assert records.sound_trainings(runs, ["graph", "depth"], [], share=0.95).tolist() == [
        False,
        True,
        False,
        True,
        True,
        True,
    ]


def test_the_exact_interval_of_a_share_excludes_what_is_less_likely_than_its_tails():
    from scipy import stats

    share, low, high = records.share_interval(7, 20)
    assert share == 0.35
    assert stats.binom.sf(6, 20, low) == pytest.approx(0.025) and stats.binom.cdf(7, 20, high) == pytest.approx(0.025)
    assert records.share_interval(0, 5)[1:] == pytest.approx((0.0, 1 - 0.025 ** (1 / 5)))
    with pytest.raises(ValueError, match="6 successes in 5 trials"):
        records.share_interval(6, 5)
