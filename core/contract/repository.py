"""The state of the code, as git knows it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class GitState:
    """commit: its digest; dirty: whether tracked files differ from it; remote: its origin without user, "" for none."""

    commit: str
    dirty: bool
    remote: str

    def __str__(self) -> str:
        return f"commit {self.commit[:10]}" + (", with changes that are in none" if self.dirty else "")


def git_state(folder: Path) -> GitState | None:
    """Of the repository that a folder is in; None outside of one, without a commit, or without git."""

    def git(*command: str) -> str:
        done = subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        dirty = bool(git("status", "--porcelain", "--untracked-files=no"))
        remote = git("remote", "get-url", "origin") if "origin" in git("remote").split() else ""
    except (OSError, subprocess.SubprocessError):
        return None
    return GitState(commit, dirty, re.sub(r"//[^/@]*@", "//", remote))
