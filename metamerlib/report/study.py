"""What every notebook repeats: tables read or computed, figures published, columns described."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from metamerlib.report import figures, files, findings, records
from metamerlib.report.claims import write_claims


@dataclass(frozen=True)
class Study:
    """One notebook, with the profile that it runs in and the folder of its tables.

    Attributes:
        name: Of the notebook, which begins the names of its tables.
        profile: published reads the tables; full and quick compute what is missing.
        store: Folder of the tables, relative to the project or absolute; where it is "results", the quick profile
            has one of its own.

    Example:
        >>> Study("02_feature_metamers", "quick").quick
        True
    """

    name: str
    profile: str = "published"
    store: str = "results"

    @property
    def quick(self) -> bool:
        """Whether the study runs on small embedded graphs."""
        return self.profile == "quick"

    @property
    def folder(self) -> Path:
        """Folder of the tables."""
        return records.store_folder(self.profile, self.store)

    def path(self, suffix: str = "") -> Path:
        """Return the path of the table whose name ends in `suffix`."""
        return self.folder / f"{self.name}{suffix}.parquet"

    def table(self, suffix: str, function: Callable[..., Any], points: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """Return a table: as published, or computed where the store does not hold it; no point may have failed.

        Points whose function raises `records.DoesNotApplyError` are left out with a sentence, and a table without
        points is empty, with its columns.

        Args:
            suffix: What follows the study's name in the table's; "" for the main table.
            function: Computes one point; `RECIPE`, beside it in its cell, is raised when it computes something else.
            points: Parameters of the points; not used where the table is read.
        """
        title = f"{self.name}{suffix}"
        if self.profile == "published":
            rows = records.read(title, self.folder)
        else:
            recipe = function.__globals__["RECIPE"]
            rows = records.compute(function, points, name=title, recipe=recipe, store=self.folder)
        errors = rows["error"].fillna("").astype(str)
        mark = f"{records.DoesNotApplyError.__name__}: "
        apart = errors.str.startswith(mark)
        for reason in errors[apart].str.removeprefix(mark).unique():
            print(f"left out of {title}: {reason}")
        failed = errors[(errors != "") & ~apart]
        for reason in failed.unique()[:1]:
            raise AssertionError(f"{len(failed)} of {len(rows)} points of {title} failed. {reason}")
        if not apart.any():
            records.check(f"every point of {title} was computed", True)
        return rows[~apart] if (~apart).any() else self._without_rows(title)

    def _without_rows(self, title: str) -> pd.DataFrame:
        """Return an empty table with the columns of the published one, so that what counts its rows counts none."""
        path = records.project_root() / "results" / f"{title}.columns.json"
        names = list(json.loads(path.read_text("utf8"))["columns"]) if path.is_file() else ["key", "error"]
        return pd.DataFrame({name: pd.Series(dtype=float) for name in names})

    def publish(
        self,
        figure: Figure,
        id: str,
        data: pd.DataFrame,
        *,
        table: str | Path | list[str] = "",
        **texts: Any,
    ) -> None:
        """Write a figure, its numbers and their origin; see `figures.publish_figure`.

        Args:
            figure: The figure.
            id: Permanent name.
            data: The numbers drawn.
            table: Suffix (or suffixes) of the tables drawn, or the path of another file.
            **texts: `caption`, `alt` and `columns`.
        """
        drawn = [self.path(each) if isinstance(each, str) else each for each in _listed(table)]
        notebook = records.project_root() / "notebooks" / f"{self.name}.ipynb"
        drawn = [path for path in drawn if path.is_file()]
        if self.folder != records.project_root() / "results":  # the text may say what the published figure shows
            texts["alt"] = f"Figure of this run; {id}.csv holds the numbers that are drawn."
        figures.publish_figure(figure, id, data, store=self.folder, notebook=notebook, table=drawn, **texts)

    def describe(self, suffix: str, columns: Mapping[str, str] | None = None) -> None:
        """Write what the columns of a table hold beside it; see `records.describe`."""
        if not self.path(suffix).is_file():
            return  # no point of it was asked for
        texts = dict(columns or {})
        if self.profile != "published":  # other graphs and models may lack a column that the published table has
            held = pq.read_schema(self.path(suffix)).names
            texts = {name: text for name, text in texts.items() if name in held}
        records.describe(f"{self.name}{suffix}", self.folder, texts)

    def over_graphs(self, values: pd.Series, bound: float, first: str) -> tuple[tuple[float, float, float, str], str]:
        """Judge a number that is to lie above a bound on every graph.

        Args:
            values: One number for each training run, with an index level graph.
            bound: What the intervals of all graphs with three runs must lie above for "holds", below for "fails".
            first: Graph whose mean and interval are given.

        Returns:
            Mean, low, high and the verdict (NaN and "not tested" where the first graph has no run), and the names of
            the graphs that the verdict is over.
        """
        ends = {graph: records.mean_interval(part) for graph, part in values.groupby(level="graph") if len(part) >= 3}
        holds, fails = [low > bound for _, low, _ in ends.values()], [high < bound for _, _, high in ends.values()]
        own = values[values.index.get_level_values("graph") == first]
        tested = not self.quick and bool(ends) and len(own) > 0
        verdict = records.verdict(holds or [False], fails or [False], tested=tested)
        numbers = records.mean_interval(own) if len(own) else (math.nan,) * 3
        return (*numbers, verdict), ", ".join(ends) or "no graph"

    def claims(self, claims: Sequence[dict[str, Any]]) -> pd.DataFrame:
        """Keep the study's claims beside its tables, as `<name>.claims.json`, and return them as a page shows them.

        The store's `claims.json` with the claims of all studies, which the claims page of the book shows, is brought
        up to date.

        Args:
            claims: Rows of `records.claim`.
        """
        table = findings.claims_table(claims)
        rows = [
            {"notebook": self.name, **row} for row in table.astype(object).where(table.notna(), None).to_dict("records")
        ]
        text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
        files.write_atomic(self.path().with_suffix(".claims.json"), text.encode())
        write_claims(self.folder)
        return findings.shown_claims(table)


def _listed(table: str | Path | list[str]) -> list[Any]:
    return table if isinstance(table, list) else [table]
