"""What git knows of the code that ran."""

from __future__ import annotations

import subprocess
from pathlib import Path

from core.contract.repository import git_state


def test_commit_changes_and_remote_are_told_and_nothing_outside_of_a_repository(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None

    def git(*command: str) -> None:
        who = ["-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *command], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    assert git_state(tmp_path) is None
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "a")
    found = git_state(tmp_path)
    assert found is not None
    assert (len(found.commit), found.dirty, found.remote) == (40, False, "")
    assert str(found) == f"commit {found.commit[:10]}"
    (tmp_path / "a").write_text("2")
    git("remote", "add", "origin", "https://someone:token@forge.example/x.git")
    changed = git_state(tmp_path)
    assert changed is not None
    assert (changed.commit, changed.dirty) == (found.commit, True)
    assert changed.remote == "https://forge.example/x.git"
    assert "changes" in str(changed)
