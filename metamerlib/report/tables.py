"""Tables on disk: parquet files that say when they were damaged, in folders where one process merges at a time."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from metamerlib.report.files import write_atomic

_DIGEST = b"digest"


def digest_of(table: pa.Table) -> str:
    """Return 16 hex digits that stand for the names, types, values and metadata of a table.

    Parquet's own checksums leave out its footer, where the names of columns and the metadata are.

    >>> digest_of(pa.table({"a": [1, None]})) == digest_of(pa.table({"a": [1, 0]}))
    False
    """
    about = {name: text for name, text in (table.schema.metadata or {}).items() if name != _DIGEST}
    digest = hashlib.sha256(repr(sorted(about.items())).encode())
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = "nested" if pa.types.is_nested(column.type) else str(column.type)  # parquet renames what lists hold
        digest.update(repr((name, kind, len(column))).encode())
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            digest.update(column.is_null().to_numpy().tobytes() + column.fill_null(0).to_numpy().tobytes())
        else:
            digest.update(repr(column.to_pylist()).encode())
    return digest.hexdigest()[:16]


def write_table(path: Path, table: pa.Table) -> Path:
    """Write a table with its digest; the file appears whole or not at all."""
    about = {**(table.schema.metadata or {}), _DIGEST: digest_of(table).encode()}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(about), buffer, compression="zstd", version="2.6")
    return write_atomic(path, buffer.getvalue())


def open_table(path: Path) -> pa.Table:
    """Read a table, and compare it with its digest where it has one.

    Raises:
        ValueError: If the file is a folder, cannot be read, or holds something else than was written.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; a table is a file, so move the folder away")
    try:
        table = pq.read_table(path)
        found = digest_of(table)
    # A damaged footer may ask for any amount of memory, or hold text that is none.
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        raise ValueError(f"cannot read {path} ({error}); restore it or delete it") from error
    written = (table.schema.metadata or {}).get(_DIGEST)
    if written is not None and written.decode("ascii", "replace") != found:
        raise ValueError(f"{path} is damaged, it does not hold what was written into it; restore it or delete it")
    return table


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process merges tables of a folder, and keep others waiting meanwhile.

    The system takes the lock back from a killed process. Where folders cannot be locked (Windows, some network file
    systems) nothing is waited for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
