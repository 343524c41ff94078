"""The commands behind `make book`, `site`, `run`, `full`, `sweep`, `publish`, `release`, and notebooks in `test`."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from book.tools.project import (
    BUILD,
    ENVIRONMENT,
    NOTEBOOKS,
    ROOT,
    BuildError,
    find_notebook,
    library_fingerprint,
    notebook_fingerprint,
    notebook_names,
    read_json,
    say,
    write_json,
)

if TYPE_CHECKING:
    from book.tools.own import OwnRun

QUICK = BUILD / "quick"
EXECUTED = QUICK / "notebooks"
ROOMS = QUICK / "rooms"


def make_room(name: str) -> Path:
    """Make an empty project for one notebook: no results, no cached models, only itself without published sentences."""
    import nbformat

    from book.tools.own import without_published

    room = ROOMS / name
    shutil.rmtree(room, ignore_errors=True)
    (room / "notebooks").mkdir(parents=True)
    shutil.copy(ROOT / "_toc.yml", room)
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    nbformat.write(without_published(notebook), room / "notebooks" / f"{name}.ipynb")
    return room


def compute_quick(fresh: bool, jobs: int) -> None:
    """Run every notebook whose cells, library or pins changed since its last good quick run."""
    from book.tools.running import execute_all, raise_failures

    names = notebook_names()
    for stale in [*EXECUTED.glob("*.ipynb"), *ROOMS.glob("*")]:
        if stale.stem not in names:
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
    stamp = QUICK / "computed.json"
    library = library_fingerprint()
    current = {name: [library, notebook_fingerprint(NOTEBOOKS / f"{name}.ipynb")] for name in names}
    done = {} if fresh else read_json(stamp)
    todo = [name for name in names if done.get(name) != current[name] or not (EXECUTED / f"{name}.ipynb").exists()]
    if not todo:
        say("Notebooks: nothing to compute" if names else "Notebooks: none yet")
        return
    say(f"Computing {len(todo)} of {len(names)} notebooks live: at most 25 seconds each, {jobs} at a time")
    write_json(stamp, {name: done[name] for name in names if name in done and name not in todo})
    rooms = {name: make_room(name) for name in todo}
    sources = {name: room / "notebooks" / f"{name}.ipynb" for name, room in rooms.items()}
    runs = execute_all(sources, EXECUTED, {"profile": "quick"}, rooms, jobs)
    good = {run.name: current[run.name] for run in runs if run.error is None}
    write_json(stamp, read_json(stamp) | good)
    raise_failures(runs, EXECUTED)


def quick(options: argparse.Namespace) -> None:
    from book.tools.pages import build, quick_book

    compute_quick(options.fresh, options.jobs)
    public = tuple(sorted(path for path in ROOMS.glob("**/public") if path.is_dir()))
    build(quick_book(EXECUTED, public))


def site(options: argparse.Namespace) -> None:
    from book.tools.pages import PUBLISHED, build

    say("The published book, from the saved notebooks; nothing is computed")
    build(PUBLISHED)


def run(options: argparse.Namespace) -> None:
    from book.tools.own import own_run

    _own(own_run(options.notebook, options.words, "quick"))


def _own(run: OwnRun) -> None:
    from book.tools.pages import build_alone
    from book.tools.running import compute

    start = time.perf_counter()
    page = build_alone(compute(run), run)
    say(f"Took {time.perf_counter() - start:.0f} s in all. Open {page.as_uri()}")


def full(options: argparse.Namespace) -> None:
    from book.tools.own import own_run
    from book.tools.running import full as full_notebook

    if options.words:
        say("With parameters of your own, this is a run of your own: results/ is left as it is")
        _own(own_run(options.notebook, options.words, "full"))
    else:
        full_notebook(options.notebook)


def shard(options: argparse.Namespace) -> None:
    from book.tools.sweeping import compute_shard

    compute_shard(options.notebook, options.words)


def sweep(options: argparse.Namespace) -> None:
    from book.tools.sweeping import sweep as sweep_notebook

    sweep_notebook(options.notebook, options.words)


def publish(options: argparse.Namespace) -> None:
    from book.tools.running import publish as publish_notebook

    publish_notebook(options.notebook)


def release(options: argparse.Namespace) -> None:
    from book.tools.pages import PUBLISHED, build
    from book.tools.release import make_release

    build(PUBLISHED)
    make_release(PUBLISHED.html)


def validate(options: argparse.Namespace) -> None:
    """Run the saved notebooks again and compare every text output with what was saved."""
    names = notebook_names()
    if not names:
        say("Saved notebooks: none yet")
        return
    say(f"Running {len(names)} saved notebooks again and comparing: about 10 seconds each")
    options_of_nbval = ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", "tests/nbval_sanitize.cfg"]
    at_once = ["-n", str(options.jobs), "--dist", "loadfile"]  # one notebook is one kernel
    command = [sys.executable, "-m", "pytest", "-q", *at_once, *options_of_nbval, "notebooks"]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise BuildError("a saved notebook gives another output now; if that is wanted, `make publish` it")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m book.tools", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    quick_options = commands.add_parser("quick")
    quick_options.add_argument("--fresh", action="store_true", help="compute every notebook again")
    for with_jobs in (quick_options, commands.add_parser("validate")):
        with_jobs.add_argument("--jobs", type=int, default=2, help="notebooks run at once")
    for name in ("site", "release"):
        commands.add_parser(name)
    for name in ("run", "full", "shard", "sweep", "publish"):
        with_notebook = commands.add_parser(name, prefix_chars="\0")
        with_notebook.add_argument("notebook")
        with_notebook.add_argument("words", nargs="*")
    return top


def main() -> int:
    os.environ.update(ENVIRONMENT)
    options = parser().parse_args()
    commands = {f.__name__: f for f in (quick, site, release, run, full, shard, sweep, publish, validate)}
    try:
        if "notebook" in options:
            find_notebook(options.notebook)
        commands[options.command](options)
    except BuildError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. What was finished is kept, and the same command goes on from there.", file=sys.stderr)
        sys.stderr.flush()
        os._exit(130)  # at once: a kernel's thread may still wait
    return 0


if __name__ == "__main__":
    sys.exit(main())
