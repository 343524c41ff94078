"""Run notebooks with papermill: their parameters, their failures, and how a saved copy is cleaned."""

from __future__ import annotations

import ast
import logging
import os
import tempfile
import time
import uuid
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from project import BUILD, ENVIRONMENT, NOTEBOOKS, ROOT, BuildError, find_notebook, relative, say


@dataclass(frozen=True)
class Run:
    """How one notebook ended; `error` is None when it went well."""

    name: str
    seconds: float
    error: str | None


def _kernel_manager(sockets: str) -> type:
    from jupyter_client.manager import AsyncKernelManager

    # Kernels on TCP can be given the same port when two start at once; sockets in a folder of our own cannot.
    class SocketKernelManager(AsyncKernelManager):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.transport = "ipc"
            self.ip = f"{sockets}/{uuid.uuid4().hex[:8]}"

    return SocketKernelManager


def _first_line(error: Any) -> str:
    value = str(error.evalue).strip().splitlines()
    return f"{error.ename}: {value[0] if value else ''}"


def execute(source: Path, output: Path, parameters: dict[str, Any], cwd: Path, progress: bool = False) -> Run:
    """Run `source` into `output` with working directory `cwd`; a failing run keeps its output."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    os.environ.update(ENVIRONMENT)
    output.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    error = None
    # In /tmp, since the path of a socket may have about 100 characters.
    with tempfile.TemporaryDirectory(prefix="kernel-", dir="/tmp", ignore_cleanup_errors=True) as sockets:
        try:
            papermill.execute_notebook(
                source,
                output,
                parameters=parameters,
                cwd=cwd,
                progress_bar=False,
                log_output=progress,
                kernel_manager_class=_kernel_manager(sockets),
            )
        except PapermillExecutionError as failure:
            error = f"cell {failure.cell_index} raised {_first_line(failure)}"
        except Exception as failure:
            error = f"the kernel failed: {type(failure).__name__}: {failure}"
    return Run(source.stem, time.perf_counter() - start, error)


def _quiet() -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")


def execute_all(
    names: list[str], folder: Path, parameters: dict[str, Any], rooms: dict[str, Path], jobs: int
) -> list[Run]:
    """Run notebooks in at most `jobs` processes, saying how each one went as soon as it is known."""
    runs = []
    context = get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(names)), mp_context=context, initializer=_quiet) as pool:
        futures = [
            pool.submit(execute, NOTEBOOKS / f"{name}.ipynb", folder / f"{name}.ipynb", parameters, rooms[name])
            for name in names
        ]
        for done in as_completed(futures):
            run = done.result()
            say(f"  {run.name}: {'FAILED' if run.error else 'done'} after {run.seconds:.0f} s")
            runs.append(run)
    return runs


def raise_failures(runs: list[Run], folder: Path) -> None:
    """Raise one error that names every failed notebook, its cell, and where its output was kept."""
    failed = [run for run in sorted(runs, key=lambda run: run.name) if run.error]
    if failed:
        lines = [
            f"{run.name}: {run.error}\n    kept with its output: {relative(folder / f'{run.name}.ipynb')}"
            for run in failed
        ]
        raise BuildError(f"{len(failed)} of {len(runs)} notebooks failed\n  " + "\n  ".join(lines))


def declared_parameters(path: Path) -> dict[str, Any]:
    """Return the parameters of a notebook with their default values."""
    import papermill

    declared = papermill.inspect_notebook(path)
    return {name: ast.literal_eval(info["default"]) for name, info in declared.items()}


def _typed(name: str, text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in words:
            raise BuildError(f"{name} is true or false, got {text!r}")
        return words[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    expected = (int, float) if isinstance(default, float) else (type(default),)
    if default is not None and not isinstance(value, expected):
        raise BuildError(f"{name} is of type {type(default).__name__} (default {default!r}), got {text!r}")
    return value


def parse_parameters(path: Path, words: list[str]) -> dict[str, Any]:
    """Turn `-p name value` triples into values of the declared types; unknown names are an error."""
    known = declared_parameters(path)
    values = {}
    rest = list(words)
    while rest:
        flag, *pair = rest[:3]
        if flag not in ("-p", "--parameters") or len(pair) < 2:
            raise BuildError(f'parameters are given as ARGS="-p name value -p name value", got {" ".join(words)!r}')
        name, text = pair
        if name not in known:
            listing = "\n  ".join(f"{key} = {value!r}" for key, value in known.items())
            raise BuildError(f"{path.stem} has no parameter {name!r}; it has\n  {listing}")
        values[name] = _typed(name, text, known[name])
        rest = rest[3:]
    return values


def _cleaned(path: Path) -> Any:
    """Return a run notebook without traces of the run, its cells named by stable ids."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    notebook.nbformat_minor = max(notebook.nbformat_minor, 5)
    notebook.metadata.pop("papermill", None)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata["language_info"] = {"name": "python"}
    for number, cell in enumerate(notebook.cells):
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        cell.setdefault("id", f"cell-{number:02d}")
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise BuildError(
                    f"cell {number} of {path.stem} wrote to stderr, for all to see:\n{output['text'].strip()}"
                )
    nbformat.validate(notebook)
    return notebook


def publish(name: str) -> None:
    """Run a notebook with its default parameters and save it in place, or leave it as it was."""
    import nbformat

    path = find_notebook(name)
    output = BUILD / "publish" / path.name
    say(f"Running {path.stem} with its default parameters")
    run = execute(path, output, {}, NOTEBOOKS)
    raise_failures([run], output.parent)
    part = path.with_suffix(".part")
    nbformat.write(_cleaned(output), part)
    part.replace(path)
    say(f"Saved {relative(path)} ({run.seconds:.0f} s)")


def run_with_parameters(name: str, words: list[str], profile: str, folder: Path, store: str) -> Path:
    """Run a notebook from the repository root with the parameters given; return the run copy.

    Args:
        name: of the notebook.
        words: `-p name value` triples; they win over `profile` and `store`.
        profile: of the run.
        folder: of the run copy.
        store: folder of the tables, for a run that computes.
    """
    path = find_notebook(name)
    parameters = {"profile": profile} | parse_parameters(path, words)
    if parameters["profile"] != "published":
        parameters = {"store": store} | parameters
    output = folder / path.name
    say(f"Running {path.stem} with " + ", ".join(f"{key}={value!r}" for key, value in parameters.items()))
    run = execute(path, output, parameters, ROOT, progress=True)
    raise_failures([run], output.parent)
    say(f"Done after {run.seconds:.0f} s: {relative(output)}")
    return output
