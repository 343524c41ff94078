"""A run on parameters of one's own: its folder, its copy of the notebook, and what is left out of it."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from book.tools.parameters import checked_parameters, run_name
from book.tools.project import BUILD, ROOT, BuildError, find_notebook, relative

RUNS = BUILD / "runs"
PUBLISHED = ROOT / "results"
PUBLISHED_ONLY = "published-only"
MAY_FAIL = "raises-exception"
LEFT_OUT = "*This part does not apply to these parameters and is left out: {}*"


@dataclass(frozen=True)
class OwnRun:
    """One notebook with parameters of one's own.

    Attributes:
        notebook: The notebook.
        parameters: All that is handed to it, profile and store among them.
        folder: Where the run keeps its tables, figures, notebook and page; its name says the parameters.
        store: Folder of the tables.
        command: The command that repeats it.
    """

    notebook: Path
    parameters: dict[str, Any]
    folder: Path
    store: Path
    command: str


def own_run(name: str, words: list[str], profile: str) -> OwnRun:
    """Check what was typed and name the folder of the run.

    Args:
        name: Of the notebook.
        words: `-p name value` triples; they win over `profile`.
        profile: Of the run.

    Raises:
        BuildError: if a name is not known, or the store is that of the published results.
    """
    path = find_notebook(name)
    values = checked_parameters(path, words)
    profile = values.pop("profile", profile)
    folder = RUNS / path.stem / run_name(profile, values)
    store = (ROOT / values.pop("store", relative(folder / "results"))).resolve()
    if store == PUBLISHED or PUBLISHED in store.parents:
        raise BuildError(
            "results/ holds the published numbers, which only `make publish` and `make full` without parameters "
            "touch; name another store, or leave -p store out"
        )
    text = shlex.join(["-p", "profile", profile, *words] if profile != "quick" and "profile" not in words else words)
    command = f"make run NOTEBOOK={path.stem}" + (f" ARGS={_quoted(text)}" if text else "")
    inside = relative(store) if ROOT in store.parents else str(store)
    return OwnRun(path, {"profile": profile, "store": inside, **values}, folder, store, command)


def _quoted(text: str) -> str:
    return f'"{text}"' if '"' not in text else shlex.quote(text)


def prepare_store(run: OwnRun) -> None:
    """Copy the published tables that a run in the published profile reads; it may draw, and draws elsewhere."""
    if run.parameters["profile"] == "published":
        run.store.mkdir(parents=True, exist_ok=True)
        for file in PUBLISHED.glob(f"{run.notebook.stem}*"):
            shutil.copy(file, run.store)


def without_published(notebook: Any) -> Any:
    """Drop the cells that speak of published numbers, since a run computes others."""
    notebook.cells = [cell for cell in notebook.cells if PUBLISHED_ONLY not in cell.metadata.get("tags", [])]
    return notebook


def own_copy(notebook: Any) -> Any:
    """Return a notebook for a run on other data: no published sentence, and parts after the points may not apply."""
    notebook = without_published(notebook)
    places = [place for place, cell in enumerate(notebook.cells) if "points" in cell.metadata.get("tags", [])]
    for cell in notebook.cells[places[-1] + 1 if places else len(notebook.cells) :]:
        if cell.cell_type == "code":
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), MAY_FAIL]
            image = cell.metadata.get("mystnb", {}).get("image")
            if image:
                image["alt"] = "Figure of this run; the file named data below it holds the numbers that are drawn."
    return notebook


def leave_out_failed(notebook: Any) -> list[str]:
    """Put a sentence in the place of every part that did not apply; return the reasons.

    A part that failed because an earlier one is not there is left out without a second reason.
    """
    reasons: list[str] = []
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if MAY_FAIL not in tags:
            continue
        cell.metadata["tags"] = [tag for tag in tags if tag != MAY_FAIL]
        errors = [output for output in cell.get("outputs", []) if output.output_type == "error"]
        if errors:
            value = (str(errors[0].evalue).strip().splitlines() or [""])[0]
            named = errors[0].ename in ("DoesNotApplyError", "AssertionError")
            reason = value if named and value else f"{errors[0].ename}: {value}"
            if errors[0].ename == "AssertionError":
                reason = f"a check does not hold: {value}"
            if errors[0].ename == "NameError" and reasons:
                reason = "it needs a part above that is left out"
            else:
                reasons.append(reason)
            cell.metadata.get("mystnb", {}).pop("figure", None)
            cell.outputs = [_sentence(LEFT_OUT.format(reason))]
    return list(dict.fromkeys(reasons))


def _sentence(text: str) -> Any:
    from nbformat.v4 import new_output

    return new_output("display_data", data={"text/markdown": text, "text/plain": text.strip("*")})
