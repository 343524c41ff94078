"""Make the files of a release: the book and the results as archives, the library as wheel and source, checksums.

The same tree gives the same bytes: entries are sorted, owners and rights are fixed, and every time is that of the last
commit (or of SOURCE_DATE_EPOCH, where that is set).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path

import yaml

from book.tools.crate import NAME, describe_results
from book.tools.project import BUILD, ROOT, BuildError, relative, say

RELEASE = BUILD / "release"
SUMS = "SHA256SUMS"
LIBRARY = ("pyproject.toml", "README.md", "LICENSE", "metamerlib")
FIRST = 315532800  # 1980, the first time that an entry of a zip file can have
BACKEND = "import sys, setuptools.build_meta as b; out = sys.argv[1]; b.build_wheel(out); b.build_sdist(out)"


def version() -> str:
    return str(yaml.safe_load((ROOT / "CITATION.cff").read_text("utf8"))["version"])


def source_date() -> int:
    """Return the time that all files of a release bear, in seconds since 1970."""
    told = os.environ.get("SOURCE_DATE_EPOCH", "")
    if told:
        if not told.isdigit():
            raise BuildError(f"SOURCE_DATE_EPOCH is {told!r}; expected whole seconds since 1970")
        return max(int(told), FIRST)
    try:
        done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return FIRST
    return max(int(done.stdout), FIRST) if done.stdout.strip().isdigit() else FIRST


def write_archive(path: Path, entries: Iterable[tuple[str, bytes]], when: int) -> Path:
    """Write a zip file whose bytes depend on names, contents and the time alone."""
    date = time.gmtime(when)[:6]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in sorted(entries):
            entry = zipfile.ZipInfo(name, date)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content, compresslevel=9)
    return path


def files_below(folder: Path) -> list[Path]:
    """Return all files below a folder, hidden ones left out."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts))


def book_archive(html: Path, out: Path, when: int) -> Path:
    """Put the built pages into one archive that opens from disk: its `index.html` leads to the cover."""
    stem = f"metamerlib-{version()}-book"
    entries = ((f"{stem}/{path.relative_to(html).as_posix()}", path.read_bytes()) for path in files_below(html))
    return write_archive(out / f"{stem}.zip", entries, when)


def results_archive(root: Path, out: Path, when: int) -> Path:
    """Put tables, claims and figures into one archive, described as an RO-Crate."""
    stem = f"metamerlib-{version()}-results"
    files = files_below(root / "results")
    about = describe_results(root, files, time.strftime("%Y-%m-%d", time.gmtime(when)))
    text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
    entries = [(f"{stem}/{path.relative_to(root).as_posix()}", path.read_bytes()) for path in files]
    return write_archive(out / f"{stem}.zip", [*entries, (f"{stem}/{NAME}", text.encode())], when)


def library_archives(root: Path, out: Path, when: int) -> list[Path]:
    """Build wheel and source archive of the library, in a copy of what they are made of."""
    with tempfile.TemporaryDirectory() as folder:
        tree, made = Path(folder, "tree"), Path(folder, "made")
        tree.mkdir()
        for name in LIBRARY:
            if (root / name).is_dir():
                shutil.copytree(root / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                shutil.copy(root / name, tree)
        for path in tree.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(when)}
        command = [sys.executable, "-c", BACKEND, str(made)]
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise BuildError(
                f"the library could not be packed; setuptools 77 or later is needed\n{done.stderr[-1500:]}"
            )
        wheel, source = next(made.glob("*.whl")), next(made.glob("*.tar.gz"))
        return [Path(shutil.copy(wheel, out)), _settle(source, out / source.name, when)]


def _settle(source: Path, target: Path, when: int) -> Path:
    """Copy a source archive with sorted entries, one time, and no owner."""
    packed = io.BytesIO()
    with (
        tarfile.open(source) as read,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as written,
    ):
        for entry in sorted(read.getmembers(), key=lambda entry: entry.name):
            content = read.extractfile(entry) if entry.isfile() else None
            entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = when, 0, 0, "", ""
            entry.mode, entry.pax_headers = 0o755 if entry.isdir() else 0o644, {}
            written.addfile(entry, content)
    target.write_bytes(gzip.compress(packed.getvalue(), mtime=when))
    return target


def write_sums(out: Path, files: Iterable[Path]) -> Path:
    """Write the checksums of the files as `sha256sum --check` reads them."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(files)]
    path = out / SUMS
    path.write_text("".join(lines), "utf8")
    return path


def make_release(html: Path) -> None:
    """Write all files of a release to _build/release and print what they are."""
    when = source_date()
    shutil.rmtree(RELEASE, ignore_errors=True)
    RELEASE.mkdir(parents=True)
    files = [book_archive(html, RELEASE, when), results_archive(ROOT, RELEASE, when)]
    files += library_archives(ROOT, RELEASE, when)
    snapshot = RELEASE / f"metamerlib-{version()}-claims.json"
    files.append(Path(shutil.copy(ROOT / "results" / "claims.json", snapshot)))
    write_sums(RELEASE, files)
    say(f"Version {version()}, {time.strftime('%Y-%m-%d', time.gmtime(when))}, in {relative(RELEASE)}:")
    for path in files:
        say(f"  {path.name}  {path.stat().st_size / 2**20:.1f} MB")
    say(f"  {SUMS}  (check with: sha256sum --check {SUMS})")
