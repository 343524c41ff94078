"""Writing files whole, and saying which are damaged."""

import errno
import os

import pytest
import torch

from metamerlib.writing import check_archive, first_line, write_atomic


def test_a_full_disk_is_named_and_the_old_file_stays(tmp_path, monkeypatch):
    path = write_atomic(tmp_path / "a.bin", b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device; it is not written, .*a\.bin") as caught:
        write_atomic(path, b"new")
    assert caught.value.errno == errno.ENOSPC and path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]


def test_a_folder_that_vanishes_meanwhile_is_made_again(tmp_path, monkeypatch):
    from metamerlib import writing

    path, gone = tmp_path / "points" / "a.bin", []

    def vanish(folder):
        if not gone:
            gone.append(folder.rmdir())

    monkeypatch.setattr(writing, "sweep", vanish)
    assert write_atomic(path, b"new").read_bytes() == b"new" and gone


def test_one_bit_of_a_saved_tensor_is_missed(tmp_path):
    path = tmp_path / "t.pt"
    torch.save({"a": torch.ones(1000)}, path)
    check_archive(path)
    content = bytearray(path.read_bytes())
    place = content.index(torch.ones(8).numpy().tobytes())
    content[place + 2] ^= 0x40
    path.write_bytes(bytes(content))
    assert torch.load(path)["a"].sum() == 1000.5  # PyTorch reads it all the same
    with pytest.raises(ValueError, match=r"t\.pt is damaged: the checksum of its part t/data/0 is wrong"):
        check_archive(path)
    path.write_bytes(b"no archive")
    check_archive(path)


def test_the_first_line_of_an_error():
    assert first_line(ValueError("one\ntwo")) == "one" and first_line(KeyError()) == "KeyError"
