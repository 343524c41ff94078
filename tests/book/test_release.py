"""A release has the same bytes whenever and wherever it is made, and its parts are whole."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from book.tools import crate, project, release

ROOT = Path(__file__).resolve().parents[2]
WHEN = 1_790_000_000
KEPT = ("02_feature_metamers.parquet", "02_feature_metamers.runs.parquet", "02_feature_metamers.columns.json")


def small_project(folder: Path, age: int) -> Path:
    """Copy what results and citation are made of, a few files of each, last touched `age` seconds after 2001."""
    (folder / "notebooks").mkdir(parents=True)
    (folder / "notebooks" / "02_feature_metamers.ipynb").touch()
    shutil.copy(ROOT / "CITATION.cff", folder)
    (folder / "results" / ".points").mkdir(parents=True)
    (folder / "results" / ".points" / "unfinished.parquet").touch()
    for name in KEPT:
        shutil.copy(ROOT / "results" / name, folder / "results")
    figures = folder / "results" / "public" / "figures"
    figures.mkdir(parents=True)
    for kind in ("csv", "json", "svg"):
        shutil.copy(ROOT / "results" / "public" / "figures" / f"fig-feature-excess.{kind}", figures)
    for path in folder.rglob("*"):
        os.utime(path, (978307200 + age, 978307200 + age))
    return folder


def test_archives_depend_on_nothing_but_their_contents(tmp_path):
    made = []
    for name, age in (("one", 0), ("two", 12345)):
        folder, out = small_project(tmp_path / name, age), tmp_path / f"{name}-out"
        out.mkdir()
        made.append([release.results_archive(folder, out, WHEN), release.book_archive(folder / "results", out, WHEN)])
    for one, two in zip(*made, strict=True):
        assert one.name == two.name and one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(made[0][0]) as archive:
        names = archive.namelist()
        assert names == sorted(names) and not [name for name in names if ".points" in name]
        assert {entry.date_time[0] for entry in archive.infolist()} == {2026}
        top = f"metamerlib-{release.version()}-results"
        content = archive.read(f"{top}/results/{KEPT[0]}")
    assert content == (ROOT / "results" / KEPT[0]).read_bytes()


@pytest.mark.whole
def test_wheel_and_source_are_the_same_twice_and_hold_the_library(tmp_path):
    outs = [tmp_path / name for name in ("one", "two")]
    for out in outs:
        out.mkdir()
        release.library_archives(ROOT, out, WHEN)
    sums = [{path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.iterdir()} for out in outs]
    assert sums[0] == sums[1] and len(sums[0]) == 2
    wheel, source = next(outs[0].glob("*.whl")), next(outs[0].glob("*.tar.gz"))
    library = ROOT / "metamerlib"
    wanted = {
        f"metamerlib/{path.relative_to(library).as_posix()}"
        for path in library.rglob("*")
        if path.is_file() and path.suffix in (".py", ".pyi", ".css", ".js", ".typed")
    }
    with zipfile.ZipFile(wheel) as archive:
        assert wanted <= set(archive.namelist())
    with tarfile.open(source) as archive:
        members = archive.getmembers()
    stem = source.name.removesuffix(".tar.gz")
    assert {f"{stem}/{name}" for name in wanted} <= {member.name for member in members}
    assert {(member.mtime, member.uid, member.uname) for member in members} == {(WHEN, 0, "")}
    assert [member.name for member in members] == sorted(member.name for member in members)


def test_checksums_are_those_that_sha256sum_reads(tmp_path):
    for name in ("b.zip", "a.zip"):
        (tmp_path / name).write_text(name)
    release.write_sums(tmp_path, [tmp_path / "b.zip", tmp_path / "a.zip"])
    if shutil.which("sha256sum") is None:
        pytest.skip("there is no sha256sum here")
    check = ["sha256sum", "--check", "--strict", release.SUMS]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True).returncode == 0
    (tmp_path / "a.zip").write_text("other")
    assert subprocess.run(check, cwd=tmp_path, capture_output=True).returncode != 0


def test_the_time_is_told_or_that_of_the_last_commit(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    assert release.source_date() == WHEN
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert release.source_date() == release.FIRST
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    with pytest.raises(project.BuildError, match="whole seconds"):
        release.source_date()
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert release.source_date() >= release.FIRST


def test_the_crate_names_every_file_with_its_hash_and_who_made_it(tmp_path):
    from rocrate.rocrate import ROCrate

    folder = small_project(tmp_path / "project", 0)
    files = release.files_below(folder / "results")
    document = crate.describe_results(folder, files, "2026-11-29")
    assert document == crate.describe_results(folder, files, "2026-11-29")
    entities = {entity["@id"]: entity for entity in document["@graph"]}
    # What RO-Crate 1.1 demands: one descriptor, a root with these properties, and no reference into the void.
    assert entities[crate.NAME]["about"] == {"@id": "./"}
    assert {"name", "description", "datePublished", "license"} <= entities["./"].keys()
    parts = {part["@id"] for part in entities["./"]["hasPart"]}
    assert parts == {path.relative_to(folder).as_posix() for path in files}
    for path in files:
        entity = entities[path.relative_to(folder).as_posix()]
        assert entity["@type"] == "File" and entity["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert entity["description"] and entity["contentSize"] == str(path.stat().st_size)
    outside = ("https://w3id.org/", "http://")
    for entity in document["@graph"]:
        for value in entity.values():
            for reference in value if isinstance(value, list) else [value]:
                if isinstance(reference, dict):
                    assert reference["@id"] in entities or reference["@id"].startswith(outside)
    action = entities["#run-02_feature_metamers"]
    assert {made["@id"] for made in action["result"]} == parts
    assert action["startTime"] <= action["endTime"]
    read = ROCrate(document)
    assert len(list(read.data_entities)) == len(files) and read.name == entities["./"]["name"]


def test_the_archive_of_results_holds_its_own_description(tmp_path):
    folder = small_project(tmp_path / "project", 0)
    archive = release.results_archive(folder, tmp_path, WHEN)
    stem = archive.stem
    with zipfile.ZipFile(archive) as opened:
        document = json.loads(opened.read(f"{stem}/{crate.NAME}"))
        parts = next(entity for entity in document["@graph"] if entity["@id"] == "./")["hasPart"]
        assert {f"{stem}/{part['@id']}" for part in parts} | {f"{stem}/{crate.NAME}"} == set(opened.namelist())
