"""What a notebook does with its parameters: lists typed as text, and parts that do not apply to what was asked for."""

from __future__ import annotations

from numbers import Real
from typing import Any

import pandas as pd

from metamerlib.plain import shown


class DoesNotApplyError(ValueError):
    """A part of a notebook has nothing to say about this graph or model; its message says why."""


def listed(text: Any) -> list[Any]:
    """Return the entries of a comma list: whole numbers if all are, else text.

    Among names, the number k of a layer becomes the name of that layer in a model of ours.

    Args:
        text: As typed; a single number may come as such.

    Raises:
        TypeError: If it is neither text nor a number.
        ValueError: If an entry is empty.

    Example:
        >>> listed("1,2"), listed(0), listed("conv1,conv2"), listed("1,head")
        ([1, 2], [0], ['conv1', 'conv2'], ['layers.0', 'head'])
    """
    if isinstance(text, bool) or not isinstance(text, str | Real) or text != text:
        raise TypeError(f"the list is {shown(text)}; expected text with commas, such as 'Cora,CiteSeer', or a number")
    parts = [part.strip() for part in str(text).split(",")]
    if not all(parts):
        raise ValueError(f"the list is {text!r}; expected entries separated by single commas")
    if all(part.isdigit() for part in parts):
        return [int(part) for part in parts]
    return [f"layers.{int(part) - 1}" if part.isdigit() else part for part in parts]


def need(rows: pd.DataFrame, text: str) -> None:
    """Raise `DoesNotApplyError` with a text where a table has no rows, so that what draws it is left out.

    Example:
        >>> need(pd.DataFrame({"word": []}), "this graph has no words")
        Traceback (most recent call last):
        ...
        metamerlib.report.parameters.DoesNotApplyError: this graph has no words
    """
    if rows.empty:
        raise DoesNotApplyError(text)
