"""Numbers in sentences: taken from tables when the notebook runs, never typed."""

from __future__ import annotations

from metamerlib.plain import as_real


def glue(**numbers: float) -> None:
    r"""Hand numbers to the sentences of a notebook's page, where ``{glue:text}`name:.1f``` prints one.

    The cell that calls it, and the sentences, are tagged published-only: on other data they are left out.

    Args:
        **numbers: Finite numbers by the names that the sentences use.

    Raises:
        ValueError: If a number is not finite, since a sentence about it would be wrong.
    """
    from IPython.display import display

    for name, number in numbers.items():
        as_real(name, number)
        prefix = "application/papermill.record/"
        about = {"scrapbook": {"name": name, "mime_prefix": prefix}}
        display({f"{prefix}text/plain": repr(float(number))}, raw=True, metadata=about)
