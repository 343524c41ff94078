"""Public graphs: where their files lie, which pickles may be opened, and how PyG's classes get at them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import socket
import tempfile
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from torch_geometric import datasets

from metamerlib.graphs.catalogue import Entry
from metamerlib.writing import check_archive, first_line

FOLDER_VARIABLE = "METAMERLIB_DATA"
TRUST_VARIABLE = "METAMERLIB_TRUST_PICKLES"
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 30.0


# SHA-256 of the Planetoid files that may be opened; PubMed's are not on record.
KNOWN_PICKLES = {
    "ind.citeseer.allx": "2ac30345d95c9ec933a817ee0bdd6a5f077f8c184a20e696910192d534414668",
    "ind.citeseer.ally": "f704b2d986dde6c2669934de1f3ae5696a6cf9455c0f6b2646a2d135ea0a1c95",
    "ind.citeseer.graph": "d79a4ef9d3e7169aee8946145f6b7306e35bc79bffad26346cfb94e10e9912a7",
    "ind.citeseer.tx": "539a8906a2da97628d212f2fdd668c109a8b3f0d36574b59e5d3fd5b5303da21",
    "ind.citeseer.ty": "55e5bd1ba1e733a04598753ad1a8d57957f4b8f89e74519f41f4f4938767e4ce",
    "ind.citeseer.x": "d20de19150741e555de0ed037195630fc194114ebc7fd72ced62810148aa22f6",
    "ind.citeseer.y": "8ba87e515d8e3ee3cf52f6d2c5b86aa73f11ecad825a808455209ec26cd54924",
    "ind.cora.allx": "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
    "ind.cora.ally": "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
    "ind.cora.graph": "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
    "ind.cora.tx": "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a",
    "ind.cora.ty": "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad",
    "ind.cora.x": "23cfa55d91c6f624233f5eb7b6e3f141f1bd2b2ae39608a63cf5d084bb27baab",
    "ind.cora.y": "94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1",
}


def data_folder(root: str | Path | None = None) -> Path:
    """Name the folder of the raw files: `root`, else METAMERLIB_DATA, else a per-user cache.

    Example:
        >>> data_folder("graphs").name
        'graphs'
    """
    chosen = root or os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metamerlib"


def check_pickle(path: str | Path, trust: bool = False) -> None:
    """Refuse a pickle that is not in the table of known files, before anybody opens it.

    Args:
        path: the file.
        trust: accept any file, as METAMERLIB_TRUST_PICKLES=1 does.

    Raises:
        ValueError: if the SHA-256 is not the known one.
    """
    if trust or os.environ.get(TRUST_VARIABLE) == "1":
        return
    got = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    expected = KNOWN_PICKLES.get(Path(path).name, "none on record")
    if got != expected:
        raise ValueError(
            f"{path} is a pickle, which can run code when opened, and not a known file: SHA-256 {got}, "
            f"expected {expected}. If you trust its source: trust_pickles=True, or {TRUST_VARIABLE}=1."
        )


def check_processed(folder: Path, trust: bool = False) -> None:
    """Refuse cached files of PyG that hold more than tensors and PyG's own containers.

    Args:
        folder: a folder named processed; it need not exist.
        trust: accept any file, as METAMERLIB_TRUST_PICKLES=1 does.

    Raises:
        ValueError: if a file cannot be read without running code from it.
    """
    if trust or os.environ.get(TRUST_VARIABLE) == "1":
        return
    for path in sorted(folder.glob("*.pt")):
        try:
            check_archive(path)
            torch.load(path, weights_only=True, mmap=True)
        except Exception as error:
            raise ValueError(
                f"{path} cannot be read as plain tensors. Delete {folder}, it is made anew from "
                f"the raw files; or, if you trust its source, set {TRUST_VARIABLE}=1. ({first_line(error)})"
            ) from error


def stored_names(raw: Path) -> dict[str, list[str]]:
    """Read the words of the columns and of the classes where an npz holds them as text; object arrays stay closed."""
    held = {"feature_names": "attr_names", "class_names": "class_names"}
    found = {}
    for path in raw.glob("*.npz"):
        with np.load(path, allow_pickle=False) as arrays:
            for name, key in held.items():
                with contextlib.suppress(KeyError, ValueError):  # not there, or an array of objects
                    found[name] = [str(text) for text in arrays[key]]
    return found


def open_dataset(entry: Entry, folder: Path, advice: str, trust: bool = False) -> Any:
    """Open one of PyG's datasets: nothing printed, pickles checked, no half-made folder left behind.

    Args:
        entry: which dataset.
        folder: the dataset's own folder, which holds raw/.
        advice: second half of the error where the files are missing: what to do.
        trust: open pickles that are not known.

    Returns:
        The dataset.

    Raises:
        FileNotFoundError: if files are missing and cannot be downloaded.
        ValueError: if a pickle is not a known file.
    """
    cls, name = getattr(datasets, entry.cls), entry.argument
    raw, processed = folder / "raw", folder / "processed"
    if not raw.is_dir() or not any(raw.iterdir()):
        _download(cls, name, folder, advice, trust)
    check_processed(processed, trust)

    def incomplete(self: Any) -> None:
        missing = [Path(path).name for path in self.raw_paths if not Path(path).exists()]
        raise FileNotFoundError(f"{raw} is incomplete, {', '.join(missing)} missing: {advice}")

    if processed.is_dir():
        return _construct(cls, name, folder, trust, download=incomplete)
    with tempfile.TemporaryDirectory(prefix="metamerlib-") as scratch:
        dataset = _construct(cls, name, folder, trust, download=incomplete, processed_dir=scratch + "/processed")
        with contextlib.suppress(OSError):  # a read-only folder is processed anew each time
            _place(Path(scratch, "processed"), processed)
    return dataset


def _construct(cls: Any, name: str, folder: Path, trust: bool, **overrides: Any) -> Any:
    def process(self: Any) -> None:
        for path in self.raw_paths:
            if Path(path).name.startswith("ind.") and not path.endswith(".index"):
                check_pickle(path, trust)
        cls.process(self)

    checked = type(cls.__name__, (cls,), {"process": process, **overrides})
    with _quiet():
        return checked(str(folder.parent), name) if name else checked(str(folder))


def _download(cls: Any, name: str, folder: Path, advice: str, trust: bool) -> None:
    def download(self: Any) -> None:
        try:
            _reach(self.url)
            cls.download(self)
        except Exception as error:
            raise FileNotFoundError(
                f"{folder / 'raw'} holds no files and the download failed ({error}). {advice}"
            ) from error

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_SECONDS)
    try:
        with tempfile.TemporaryDirectory(prefix="metamerlib-") as scratch:
            made = Path(scratch, folder.name)
            _construct(cls, name, made, trust, download=download)
            _place(made / "raw", folder / "raw")
            _place(made / "processed", folder / "processed")
    finally:
        socket.setdefaulttimeout(before)


def _place(source: Path, target: Path) -> None:
    """Copy a folder so that a killed run or a second process never meets half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as staged:
        shutil.copytree(source, copy := Path(staged, target.name))
        with contextlib.suppress(OSError):
            copy.rename(target)


def _reach(url: str) -> None:
    """Open and close one connection, since PyG's downloads wait for minutes where packets are lost."""
    parts = urlsplit(urllib.request.getproxies().get("https", url))
    socket.create_connection((parts.hostname, parts.port or 443), timeout=CONNECT_SECONDS).close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
