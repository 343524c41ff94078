"""Keep what an experiment computed: points, tables, resume.

A point is a dict of parameters. Each is computed once, written atomically, and merged into a
parquet table that holds deterministic columns only; seconds and versions go to a run table
beside it. On one machine a table has the same bytes whatever the order of computing. Across
machines the last digits of floats may differ; nothing is rounded before it is stored.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from metamerlib import __version__
from metamerlib.plain import as_count, as_list, as_mapping, as_text
from metamerlib.report.arguments import SHARD_VARIABLE as SHARD_VARIABLE
from metamerlib.report.arguments import as_folder, as_name, as_points, as_shard, check_function
from metamerlib.report.columns import describe as describe
from metamerlib.report.files import canonical_json, settings_hash
from metamerlib.report.files import project_root as project_root
from metamerlib.report.files import store_folder as store_folder
from metamerlib.report.findings import VERDICTS as VERDICTS
from metamerlib.report.findings import check as check
from metamerlib.report.findings import claim as claim
from metamerlib.report.findings import claims_table as claims_table
from metamerlib.report.findings import effect_text as effect_text
from metamerlib.report.findings import interval_text as interval_text
from metamerlib.report.findings import mean_interval as mean_interval
from metamerlib.report.findings import share_interval as share_interval
from metamerlib.report.findings import sound_trainings as sound_trainings
from metamerlib.report.findings import verdict as verdict
from metamerlib.report.parameters import DoesNotApplyError as DoesNotApplyError
from metamerlib.report.parameters import listed as listed
from metamerlib.report.parameters import need as need
from metamerlib.report.progress import terminal_writer, to_terminal
from metamerlib.report.prose import glue as glue
from metamerlib.report.tables import alone_in, open_table, write_table
from metamerlib.report.trained_models import cached_state as cached_state
from metamerlib.report.trained_models import graph_hash as graph_hash
from metamerlib.report.trained_models import trained as trained
from metamerlib.report.trained_models import trained_model as trained_model
from metamerlib.report.trained_models import weights_hash as weights_hash

Row = dict[str, Any]
_OWN_COLUMNS = ("key", "recipe", "error")


def grid(**axes: Iterable[Any]) -> list[Row]:
    """Return every combination of the axes, the last one running fastest.

    >>> grid(graph=["karate"], seed=[0, 1])
    [{'graph': 'karate', 'seed': 0}, {'graph': 'karate', 'seed': 1}]
    """
    for name, values in axes.items():
        as_list(f"axis {name!r}", values, "values, even for one")
    axes = {name: list(values) for name, values in axes.items()}
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def point_key(point: Mapping[str, Any], *, experiment: str, recipe: int) -> str:
    """Return 16 hex digits that stand for a point of an experiment.

    Args:
        point: resolved parameters, all of them JSON values; their order does not matter.
        experiment: name of the table.
        recipe: integer to raise whenever the experiment's code changes what it computes.

    Raises:
        TypeError: for a parameter that is not a JSON value.

    >>> point_key({"seed": 0}, experiment="demo", recipe=1)
    'f4f174437b82fde0'
    """
    as_mapping("point", point, "JSON values by name")
    name, recipe = as_name("experiment", experiment), as_count("recipe", recipe, least=0)
    return settings_hash(point, experiment=name, recipe=recipe)


def compute(
    function: Callable[..., Any],
    points: Iterable[Mapping[str, Any]],
    *,
    name: str,
    recipe: int,
    store: str | Path,
    shard: tuple[int, int] | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Call `function(**point)` for every point that the store does not hold yet.

    An exception of the function becomes the point's `error`; such a point is tried again by the
    next call. KeyboardInterrupt and SystemExit end the call, and the next one resumes.

    Args:
        function: returns a dict (one row) or a list of dicts or DataFrame (several), deterministic; a plain
            function, whose name the table keeps.
        points: see `grid`.
        name: of the experiment and its table.
        recipe: points of another recipe are computed anew and replaced.
        store: folder of the tables.
        shard: (i, n) computes only points whose key is i mod n, and leaves merging to a later call without
            one; default: "i/n" of the environment variable METAMERLIB_SHARD, else everything. Shards may run
            at once on one store, and so may whole calls, which then compute some points twice.
        progress: write lines to the terminal, never to a notebook's output.

    Returns:
        The rows of the points asked for, sorted by key: key, recipe, parameters, results, error. A shard
        returns those of its points that did not fail.
    """
    check_function(function)
    name, recipe, store = as_name("name", name), as_count("recipe", recipe, least=0), as_folder("store", store)
    points, (index, count) = as_points(points), as_shard(shard)
    asked = {point_key(point, experiment=name, recipe=recipe): dict(point) for point in points}
    asked = {key: point for key, point in asked.items() if int(key, 16) % count == index}
    _table([_row(key, recipe, point, {}) for key, point in asked.items()])
    held = _settled(name, store, recipe)
    todo = [key for key in asked if not held.finished(key)]
    title = name if count == 1 else f"{name}, shard {index}/{count}"
    say = terminal_writer(title, len(todo)) if progress else lambda done, error: None
    for damage in held.damaged if progress else []:
        to_terminal(f"{title}: computed again, since {damage}")
    for done, key in enumerate(todo, start=1):
        table = _compute_point(function, asked[key], key, recipe, f"{index}/{count}")
        write_table(_point_folder(name, store) / f"{key}.parquet", table)
        say(done, next((error for error in table["error"].to_pylist() if error is not None), None))
    renamed = held.rows and held.function != function.__name__
    if count == 1 and (renamed or _point_folder(name, store).is_dir()):
        merge(name, store, recipe=recipe, function=function.__name__)
    held = _settled(name, store, recipe)
    lost = [key for key in asked if key not in held.rows]
    if lost and count == 1:
        raise OSError(f"{store} does not give back {len(lost)} points that were written: {', '.join(held.damaged)}")
    # A notebook that judges its rows is to fail where they are merged, not in the middle of a shard.
    rows = [row for key in sorted(asked) if count == 1 or held.finished(key) for row in held.rows.get(key, [])]
    return _table(rows, held.parameters).to_pandas()


def merge(name: str, store: str | Path, *, recipe: int, function: str | None = None) -> Path:
    """Merge finished points into the result table and the run table, and return the former's path.

    The table keeps every point of this recipe, asked for lately or not; delete it to start anew. Its
    metadata holds the name of the function that computed it, by default the one its points name.
    A second process that merges waits until the first is done.
    """
    function = None if function is None else as_text("function", function, "measure")
    name, recipe, store = as_name("name", name), as_count("recipe", recipe, least=0), as_folder("store", store)
    path = Path(store) / f"{name}.parquet"
    with alone_in(store):
        held = _collect(name, store, recipe)
        keys = sorted(held.rows)
        rows = [row for key in keys for row in held.rows[key]]
        write_table(path, _table(rows, held.parameters, function or held.function))
        runs = [held.runs[key] for key in keys if key in held.runs]
        write_table(Path(store) / f"{name}.runs.parquet", pa.Table.from_pylist(runs))
        for file in held.files:
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            _point_folder(name, store).rmdir()
            _point_folder(name, store).parent.rmdir()
    return path


def read(name: str, store: str | Path) -> pd.DataFrame:
    """Read a result table, sorted by key.

    Raises:
        FileNotFoundError: naming the table and the command that makes it.
    """
    return _read_table(name, as_folder("store", store) / f"{as_name('name', name)}.parquet")


def read_runs(name: str, store: str | Path) -> pd.DataFrame:
    """Read a run table: key, seconds, peak memory of the process so far, versions, device, date, shard."""
    return _read_table(name, as_folder("store", store) / f"{as_name('name', name)}.runs.parquet")


@dataclass
class _Held:
    """What a store holds of one recipe; `files` are all its point files, also those that are `damaged`."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    runs: dict[str, Row] = field(default_factory=dict)
    parameters: set[str] = field(default_factory=set)
    function: str = ""
    files: list[Path] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def finished(self, key: str) -> bool:
        return key in self.rows and all(row["error"] is None for row in self.rows[key])


def _settled(name: str, store: Path, recipe: int) -> _Held:
    """Collect what a store holds while nobody merges; a store that is not there yet is not made."""
    with alone_in(store) if store.is_dir() else contextlib.nullcontext():
        return _collect(name, store, recipe)


def _collect(name: str, store: str | Path, recipe: int) -> _Held:
    held = _Held(files=sorted(_point_folder(name, store).glob("*.parquet")))
    merged, runs = Path(store) / f"{name}.parquet", Path(store) / f"{name}.runs.parquet"
    sources = [_open(merged)] if merged.exists() else []
    if sources and not ({"recipe", "error"} <= set(sources[0].column_names) and b"parameters" in _about(sources[0])):
        raise ValueError(f"{merged} was not written by compute; move it away, or use another name or store")
    for file in held.files:
        # A point cut off by a kill on a file system without atomic renames, or damaged, is computed again.
        try:
            sources.append(_open(file))
        except ValueError as error:
            held.damaged.append(str(error))
    if runs.exists():
        held.runs.update({run["key"]: run for run in _open(runs).to_pylist()})
    for source in sources:
        rows = [row for row in source.to_pylist() if row["recipe"] == recipe]
        if rows:
            held.rows.update({key: list(group) for key, group in itertools.groupby(rows, lambda row: row["key"])})
            held.parameters.update(json.loads(source.schema.metadata[b"parameters"]))
            held.function = source.schema.metadata.get(b"function", b"").decode()
            if b"run" in source.schema.metadata:
                held.runs[rows[0]["key"]] = json.loads(source.schema.metadata[b"run"])
    return held


def _about(table: pa.Table) -> Mapping[bytes, bytes]:
    return table.schema.metadata or {}


def _compute_point(function: Callable[..., Any], point: Row, key: str, recipe: int, shard: str) -> pa.Table:
    start = time.perf_counter()
    try:
        result = function(**point)
        records = result.to_dict("records") if isinstance(result, pd.DataFrame) else result
        records = [records] if isinstance(records, Mapping) else list(records)
        if not records:
            raise ValueError("the function returned no rows")
        table = _table([_row(key, recipe, point, record) for record in records], point, function.__name__)
    except Exception as error:
        message = re.sub(r"0x[0-9a-f]+", "0x", str(error)).strip().split("\n")[0]
        row = _row(key, recipe, point, {}, f"{type(error).__name__}: {message}")
        table = _table([row], point, function.__name__)
    run = {
        "key": key,
        "seconds": time.perf_counter() - start,
        "peak_memory_mb": _peak_memory(),
        "metamerlib": __version__,
        "torch": _version("torch"),
        "python": platform.python_version(),
        "device": str(point.get("device") or "cpu"),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "shard": shard,
    }
    return table.replace_schema_metadata({**table.schema.metadata, b"run": json.dumps(run).encode()})


def _row(key: str, recipe: int, point: Row, result: Mapping[str, Any], error: str | None = None) -> Row:
    taken = {*_OWN_COLUMNS} & {*point} or {*_OWN_COLUMNS, *point} & {*result}
    if taken:
        raise ValueError(f"{', '.join(sorted(taken))}: this name is already a parameter or a column of the store")
    values = {name: _plain(value) for name, value in result.items()}
    nested = {name: canonical_json(value) for name, value in point.items() if isinstance(value, list | tuple | dict)}
    return {"key": key, "recipe": recipe, **point, **nested, **values, "error": error}


def _table(rows: list[Row], parameters: Iterable[str] = (), function: str = "") -> pa.Table:
    # Columns go by name, not by first appearance, so that they do not depend on what came first.
    inputs = sorted(parameters)
    results = sorted({name for row in rows for name in row} - {*inputs, *_OWN_COLUMNS})
    types = {"key": pa.string(), "recipe": pa.int64(), "error": pa.string()}
    columns = {}
    for name in ["key", "recipe", *inputs, *results, "error"]:
        try:
            values = [row.get(name) for row in rows]
            # Missing text is null, while a number that is NaN stays NaN.
            text = any(isinstance(value, str) for value in values)
            columns[name] = pa.array(values, type=types.get(name), from_pandas=text)
        except pa.ArrowException as error:
            raise TypeError(f"column {name!r} mixes types or holds no plain values: {error}") from error
    about = {b"parameters": json.dumps(inputs).encode(), b"function": function.encode()}
    return pa.table(columns).replace_schema_metadata(about)


def _plain(value: Any) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    return None if value is pd.NA or value is pd.NaT else value


def _point_folder(name: str, store: str | Path) -> Path:
    return Path(store) / ".points" / name


def _open(path: Path) -> pa.Table:
    table = open_table(path)
    if table.column_names and "key" not in table.column_names:
        raise ValueError(f"{path} is no table of ours, it has columns {table.column_names[:5]}; move it away")
    return table


def _read_table(name: str, path: Path) -> pd.DataFrame:
    if not path.exists():
        raise FileNotFoundError(f"no table {path}; make it with: make full NOTEBOOK={name}")
    return _open(path).to_pandas()


def _peak_memory() -> float:
    try:
        import resource
    except ImportError:
        return math.nan
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
