"""Run notebooks with papermill: in kernels that end with us, their failures, and how a saved copy is cleaned."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

from book.tools.own import MAY_FAIL, OwnRun, leave_out_failed, own_copy, prepare_store
from book.tools.project import BUILD, ENVIRONMENT, NOTEBOOKS, ROOT, BuildError, find_notebook, relative, say

KERNELS: list[Any] = []


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
            KERNELS.append(self)

        async def _async_interrupt_kernel(self) -> None:
            # An idle kernel that is told to stop needs no interrupt, and would complain of one.
            if not self.shutting_down:
                await super()._async_interrupt_kernel()

        interrupt_kernel = _async_interrupt_kernel

    return SocketKernelManager


def _kill_kernels() -> None:
    for manager in KERNELS:
        pid = getattr(getattr(manager, "provisioner", None), "pid", None)
        with suppress(OSError):
            if pid:
                os.kill(pid, signal.SIGKILL)


@contextmanager
def _sockets() -> Iterator[str]:
    # In /tmp, since the path of a socket may have about 100 characters.
    folder = tempfile.mkdtemp(prefix="kernel-", dir="/tmp")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _first_line(error: Any) -> str:
    value = str(error.evalue).strip().splitlines()
    return f"{error.ename}: {value[0] if value else ''}"


def execute(source: Path, output: Path, parameters: dict[str, Any], cwd: Path, sockets: str | None = None) -> Run:
    """Run `source` into `output` with working directory `cwd`; a failing run keeps its output, a stopped one none.

    Cells tagged `raises-exception` may fail. Their errors stand in the output, and are no error of the run.
    """
    if sockets is None:
        with _sockets() as own:
            return execute(source, output, parameters, cwd, own)
    os.environ.update(ENVIRONMENT)
    output.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix="run-", dir=sockets)) / output.name
    ended: list[str | None] = []
    start = time.perf_counter()
    # In a thread, so that nbclient leaves Ctrl-C to us, and it ends the run at once.
    thread = threading.Thread(
        target=lambda: ended.append(_papermill(source, part, parameters, cwd, sockets)), daemon=True
    )
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
    except KeyboardInterrupt:
        _kill_kernels()
        raise
    if part.is_file():
        whole = output.with_suffix(".part")
        shutil.copyfile(part, whole)
        whole.replace(output)
    return Run(source.stem, time.perf_counter() - start, ended[0] if ended else "the run ended without a word")


def _papermill(source: Path, output: Path, parameters: dict[str, Any], cwd: Path, sockets: str) -> str | None:
    import papermill
    from papermill.exceptions import PapermillExecutionError

    try:
        papermill.execute_notebook(
            source,
            output,
            parameters=parameters,
            cwd=cwd,
            progress_bar=False,
            kernel_manager_class=_kernel_manager(sockets),
        )
    except PapermillExecutionError as failure:
        return _unexpected(output) if output.is_file() else f"cell {failure.cell_index} raised {_first_line(failure)}"
    except Exception as failure:
        return f"the kernel failed: {type(failure).__name__}: {failure}"
    return None


def _unexpected(path: Path) -> str | None:
    """Say how the first cell failed that may not; where none did, take papermill's marks of an error away."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [
        cell for cell in notebook.cells if "papermill-error-cell-tag" not in cell.metadata.get("tags", [])
    ]
    for place, cell in enumerate(notebook.cells):
        errors = [output for output in cell.get("outputs", []) if output.output_type == "error"]
        if errors and MAY_FAIL not in cell.metadata.get("tags", []):
            return f"cell {place} raised {_first_line(errors[0])}"
    nbformat.write(notebook, path)
    return None


def _worker() -> None:
    # Ctrl-C reaches every process of the terminal; the first one alone answers it, and ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")


def execute_all(
    sources: dict[str, Path], folder: Path, parameters: dict[str, Any], rooms: dict[str, Path], jobs: int
) -> list[Run]:
    """Run notebooks in at most `jobs` processes, saying how each one went as soon as it is known."""
    runs = []
    with _sockets() as sockets:
        pool = ProcessPoolExecutor(min(jobs, len(sources)), mp_context=get_context("spawn"), initializer=_worker)
        try:
            futures = [
                pool.submit(execute, source, folder / f"{name}.ipynb", parameters, rooms[name], sockets)
                for name, source in sources.items()
            ]
            for done in as_completed(futures):
                run = done.result()
                say(f"  {run.name}: {'FAILED' if run.error else 'done'} after {run.seconds:.0f} s")
                runs.append(run)
        except BaseException:
            for process in active_children():
                process.kill()  # its kernel sees that and ends
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()
    return runs


def raise_failures(runs: list[Run], folder: Path) -> None:
    """Raise one error that names where the output of every failed notebook is kept, its cell, and last the reason."""
    failed = [run for run in sorted(runs, key=lambda run: run.name) if run.error]
    if failed:
        lines = [
            f"kept with its output: {relative(folder / f'{run.name}.ipynb')}\n  {run.name}: {run.error}"
            for run in failed
        ]
        raise BuildError(f"{len(failed)} of {len(runs)} notebooks failed\n  " + "\n  ".join(lines))


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
        if "outputs" in cell:
            cell.outputs = joined_streams(cell.outputs)
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise BuildError(
                    f"cell {number} of {path.stem} wrote to stderr, for all to see:\n{output['text'].strip()}"
                )
    nbformat.validate(notebook)
    return notebook


def joined_streams(outputs: list[Any]) -> list[Any]:
    """Join what a cell printed in one go: how many messages the kernel made of it depends on the machine's load."""
    joined: list[Any] = []
    for output in outputs:
        before = joined[-1] if joined else {}
        if output["output_type"] == "stream" and before.get("name") == output["name"]:
            joined[-1] = type(output)({**before, "text": before["text"] + output["text"]})
        else:
            joined.append(output)
    return joined


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


def full(name: str) -> None:
    """Compute on the real graphs what results/ does not hold yet, and draw the published figures again."""
    path = find_notebook(name)
    output = BUILD / "full" / path.name
    say(f"Computing what results/ does not hold yet of {path.stem}; stop it at any time, it goes on where it was")
    run = execute(path, output, {"profile": "full", "store": "results"}, ROOT)
    raise_failures([run], output.parent)
    say(f"Done after {run.seconds:.0f} s: results/{path.stem}*.parquet; `make publish NOTEBOOK={path.stem}` saves it")


def compute(run: OwnRun) -> Path:
    """Run a notebook from the repository root on parameters of one's own; return the run copy.

    Parts that do not apply are left out of it with a sentence.
    """
    import nbformat

    given = ", ".join(f"{key}={value!r}" for key, value in run.parameters.items())
    say(f"Running {run.notebook.stem} with {given}")
    prepare_store(run)
    output = run.folder / run.notebook.name
    with _sockets() as sockets:
        source = Path(sockets) / run.notebook.name
        nbformat.write(own_copy(nbformat.read(run.notebook, as_version=4)), source)
        done = execute(source, output, run.parameters, ROOT, sockets)
    raise_failures([done], output.parent)
    notebook = nbformat.read(output, as_version=4)
    for reason in leave_out_failed(notebook):
        say(f"  left out: {reason}")
    nbformat.write(notebook, output)
    say(f"Done after {done.seconds:.0f} s")
    say(f"Tables:  {relative(run.store)}")
    say(f"Figures: {relative(run.store / 'public' / 'figures')}")
    return output
