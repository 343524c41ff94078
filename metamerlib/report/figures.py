"""The one place that sets how figures look, and that publishes them under a permanent id.

Drawing functions live in `metamerlib.drawing` and are found here too.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from metamerlib import __version__
from metamerlib.plain import as_list, as_mapping, as_path, as_text, shown
from metamerlib.report.arguments import as_folder
from metamerlib.report.drawing import draw_activation_scatter as draw_activation_scatter
from metamerlib.report.drawing import draw_convergence as draw_convergence
from metamerlib.report.drawing import draw_cosine_histogram as draw_cosine_histogram
from metamerlib.report.drawing import draw_graph_pair as draw_graph_pair
from metamerlib.report.drawing import draw_matrix_pair as draw_matrix_pair
from metamerlib.report.drawing import feature_colours as feature_colours
from metamerlib.report.files import write_atomic

# The ten colours stay apart (CIE76 distance above 14) under normal sight, deutan, protan and tritan.
_STYLES = {
    "gcn": ("#0072B2", "o", "-"),
    "gat": ("#D55E00", "s", "-"),
    "gatv2": ("#D41159", "D", "--"),
    "sage": ("#7B3F00", "^", "-"),
    "gin": ("#E69F00", "v", "-"),
    "cheb": ("#CC79A7", "P", "-."),
    "sgc": ("#1A85FF", "<", "--"),
    "appnp": ("#56B4E9", ">", "-."),
    "mlp": ("#000000", "X", ":"),
    "foreign": ("#767676", "*", ":"),
}


ARCHITECTURE_COLOURS: Mapping[str, str] = MappingProxyType({name: style[0] for name, style in _STYLES.items()})


# What makes the files of a figure the same bytes on every run.
_STABLE: dict[Any, Any] = {
    "svg.hashsalt": "metamerlib",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "savefig.bbox": None,
}


# What differs from seaborn's theme.
_RC: dict[Any, Any] = {
    **_STABLE,
    "font.sans-serif": ["DejaVu Sans"],
    "figure.figsize": (6.0, 3.8),
    "figure.dpi": 110,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "legend.frameon": False,
    "axes.grid": True,
    "grid.color": "#E3E3E3",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    **{f"{axis}tick.major.size": 3.5 for axis in "xy"},
    **{f"{axis}tick.minor.size": 2.0 for axis in "xy"},
    "patch.force_edgecolor": False,
    "lines.linewidth": 2.0,
    "image.cmap": "cividis",
}


_METADATA = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None, "ModDate": None},
    "png": {"Software": None},
}


def set_style() -> None:
    """Set seaborn's theme for every figure: white ground, large text, colour-blind-safe colours.

    Text in pandas' tables is shown whole.
    """
    import seaborn  # takes a second, and only who draws pays for it

    pd.set_option("display.max_colwidth", None)
    mpl.rcdefaults()
    seaborn.set_theme(context="notebook", style="ticks", palette=list(ARCHITECTURE_COLOURS.values())[:9], rc=_RC)


def architecture_style(name: str) -> dict[str, str]:
    """Return colour, marker and line style of an architecture, the same in every figure.

    >>> architecture_style("GCN")
    {'color': '#0072B2', 'marker': 'o', 'linestyle': '-'}
    """
    as_text("name", name, "gcn")
    colour, marker, line = _STYLES.get(name.lower(), _STYLES["foreign"])
    return {"color": colour, "marker": marker, "linestyle": line}


def publish_figure(
    fig: Figure,
    id: str,
    data: pd.DataFrame,
    *,
    store: str | Path,
    caption: str,
    alt: str,
    columns: Mapping[str, str],
    notebook: str | Path | None = None,
    table: str | Path | Iterable[str | Path] | None = None,
) -> Path:
    """Write `<store>/public/figures/<id>` as svg, pdf, png, csv (its numbers) and json (their origin).

    Running it again gives the same bytes, so a file changes only when the figure does.

    Args:
        fig: the figure.
        id: permanent, `fig-` and lower-case letters, digits and hyphens; never a number in the text.
        data: the numbers drawn, written in the order given, without the index.
        store: folder of the result tables.
        caption: text under the figure.
        alt: what a person who cannot see the figure needs to know.
        columns: what each column of `data` holds, with its unit.
        notebook: paths of the notebook that draws it, and of the result table (or tables) it draws.
        table: paths of the notebook that draws it, and of the result table (or tables) it draws.

    Returns:
        Path of the files without their suffix.

    Raises:
        ValueError: for a malformed id, an empty text, or a column that `columns` does not describe.
    """
    if not isinstance(fig, Figure):
        hint = "; pass ax.figure" if hasattr(fig, "figure") else ""
        raise TypeError(f"fig must be a matplotlib.figure.Figure, got {shown(fig)}{hint}")
    _refuse_unfinished(id, data, caption, alt, columns)
    store = as_folder("store", store)
    tables = [table] if isinstance(table, str | Path) else as_list("table", [] if table is None else table, "paths")
    for path in [*tables, *([] if notebook is None else [notebook])]:
        as_path("notebook or table", path)
    about = {
        "id": id,
        "caption": caption,
        "alt": alt,
        "columns": {name: columns[name] for name in data.columns},
        "notebook": notebook and {"file": Path(notebook).name, "sha256": _notebook_hash(Path(notebook))},
        "library": {"version": __version__, "sha256": _library_hash()},
        "tables": [{"file": Path(path).name, "sha256": _sha256(_content("table", Path(path)))} for path in tables],
    }
    stem = Path(store) / "public" / "figures" / id
    for suffix, content in _drawn(fig).items():
        write_atomic(stem.with_suffix(f".{suffix}"), content)
    text = data.to_csv(index=False, float_format="%.10g", lineterminator="\n")
    write_atomic(stem.with_suffix(".csv"), text.encode())
    write_atomic(stem.with_suffix(".json"), (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode())
    return stem


def _refuse_unfinished(id: str, data: pd.DataFrame, caption: str, alt: str, columns: Mapping[str, str]) -> None:
    as_text("id", id, "fig-dimension")
    if not isinstance(data, pd.DataFrame):
        raise TypeError(f"figure {id!r}: data must be a pandas.DataFrame of the numbers drawn, got {shown(data)}")
    as_mapping("columns", columns, "texts by column")
    for name, text in (("caption", caption), ("alt", alt)):
        if not isinstance(text, str):
            raise TypeError(f"figure {id!r}: {name} must be text, got {shown(text)}")
    if not re.fullmatch(r"fig-[a-z0-9]+(-[a-z0-9]+)*", id):
        raise ValueError(f"figure id is {id!r}; expected fig- and lower-case letters, digits, hyphens")
    if not caption.strip() or not alt.strip():
        raise ValueError(f"figure {id!r} needs a caption and an alternative text")
    undescribed = [str(name) for name in data.columns if not columns.get(name)]
    if undescribed:
        raise ValueError(f"figure {id!r}: columns not described: {', '.join(undescribed)}")


def _drawn(fig: Figure) -> dict[str, bytes]:
    with mpl.rc_context({**_STABLE, "savefig.dpi": 200}):
        # The layout is frozen as published: laid out once more, it would move by a last digit.
        fig.draw_without_rendering()
        fig.set_layout_engine("none")
        return {suffix: _saved(fig, suffix) for suffix in _METADATA}


def _saved(fig: Figure, suffix: str) -> bytes:
    buffer = io.BytesIO()
    fig.savefig(buffer, format=suffix, metadata=_METADATA[suffix])
    return buffer.getvalue()


def _notebook_hash(path: Path) -> str:
    """Hash what a person wrote: cells without outputs, counts, and injected parameters."""
    try:
        held = json.loads(_content("notebook", path))["cells"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a notebook, since it has no cells; give the path of an .ipynb file") from error
    cells = [
        [cell["cell_type"], "".join(cell["source"])]
        for cell in held
        if "injected-parameters" not in cell.get("metadata", {}).get("tags", [])
    ]
    return _sha256(json.dumps(cells).encode())


def _content(what: str, path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"no {what} at {path}; give the path of the one that the figure comes from")
    return path.read_bytes()


def _library_hash() -> str:
    folder = Path(__file__).parents[1]
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*.py"))
    return _sha256(json.dumps([[name, _sha256(path.read_bytes())] for name, path in files]).encode())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
