from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from topcoat.schedulers.local.status_file import save_status

REPLICA = {
    "role": "w" * 50,
    "id": 10**6,
    "state": "CANCELLED",
    "exit_code": -(2**31),
    "pid": 2**31,
    "start": "9" * 20,
    "started_at": 1795803785.8605747,
    "ended_at": 1795803785.8605747,
}


def status(**changes: Any) -> dict[str, Any]:
    empty = dict.fromkeys(REPLICA) | {"role": REPLICA["role"], "id": 0, "state": "PENDING"}
    return {"state": "SUBMITTED", "msg": "", "pid": None, "replicas": [empty, empty], **changes}


def test_a_status_is_replaced_and_keeps_its_size(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    save_status(str(path), status())
    size = path.stat().st_size
    longest = status(state="CANCELLED", msg="\u2028" * 9000, pid=2**31, replicas=[REPLICA, REPLICA])
    save_status(str(path), longest)
    assert path.stat().st_size == size
    assert json.loads(path.read_text())["replicas"] == [REPLICA, REPLICA]
    assert os.listdir(tmp_path) == ["status.json"]


def test_without_room_for_another_file_the_status_is_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "status.json"
    save_status(str(path), status())
    inode = path.stat().st_ino
    real = os.open

    def full(path: str, flags: int, *mode: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(28, "No space left on device")
        return real(path, flags, *mode)

    monkeypatch.setattr(os, "open", full)
    save_status(str(path), status(state="FAILED", msg="x"))
    monkeypatch.undo()
    assert json.loads(path.read_text())["state"] == "FAILED"
    assert path.stat().st_ino == inode


def test_the_first_status_needs_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        save_status(str(tmp_path / "none" / "status.json"), status())
