"""A disk that is full or may not be written ends the run at once, as nobody's fault."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from core.contract.store import Draft
from tests.engine import Lab, without_log

from .odd import OddLoss, OddVideos, command, records, variants, written


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_store_that_cannot_be_written_ends_the_run_at_once_with_one_message(
    wide: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    tries = []

    def full(draft: Draft, *_: object) -> None:
        if draft.folder.parent.name == "fit":
            tries.append(draft.folder)
            raise OSError(number, os.strerror(number), str(draft.folder / "tensors.safetensors"))
        save(draft, *_)

    save = Draft.save
    monkeypatch.setattr(Draft, "save", full)
    assert command(wide, variants()) == 1
    shown = capsys.readouterr()
    assert len(tries) == 1
    assert without_log(shown.err).count("\n") == 1
    assert f"error: {wide.store}: the store cannot be written: " in shown.err
    assert "name another place (--store, --runs)" in shown.err
    assert written(wide) == ["registration.json"]
    assert records(wide) == []


FULL_DISK = {
    "python": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "safetensors": SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    "torch": RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
}
"""As they were raised on a disk that was really full."""


@pytest.mark.parametrize("fault", FULL_DISK.values(), ids=FULL_DISK)
def test_a_full_disk_is_known_by_what_each_library_says_of_it(
    wide: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    tries = []

    def full(*_: object) -> None:
        tries.append(1)
        raise fault

    monkeypatch.setattr(OddLoss, "after_step", full)
    assert command(wide, variants()) == 1
    assert len(tries) == 1
    assert f"error: {wide.store}: the store cannot be written: " in capsys.readouterr().err


def test_a_disk_that_is_full_while_data_are_made_is_no_fault_of_the_data_set(
    wide: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: OddVideos, folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "made"))

    monkeypatch.setattr(OddVideos, "prepare", full)
    data = {"name": "odd_videos", "root": str(wide.videos)}
    assert command(wide, variants() | {"data.dataset": data}) == 1
    told = capsys.readouterr().err
    assert "/made: the disk is full: free some space" in told
    assert "odd_videos` (" not in told
