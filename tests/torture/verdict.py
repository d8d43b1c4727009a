"""One attempt judged: the right result, or one message; never anything else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .facts import Facts, facts
from .world import Outcome, World

CLASSES = (
    "survived",  # the right result, without a word
    "message",  # one message, then the right result by the same command, or after what it names was taken away
    "skipped",  # what was to be tried did not come about
    "again",  # more than one message before the right result
    "lost",  # something that was there is gone, and nothing said so
    "wrong",  # exit status 0, and a number or a file is another
    "outside",  # a byte outside the named folders
    "traceback",
    "crash",  # ended by a signal that nobody sent, or with a status of no meaning
    "hang",  # nothing written for 30 s; 90 where it said that it waits, as for a lease of an unknown owner (60 s)
    "stuck",  # the same command never comes right, and its message names nothing to take away
    "orphan",  # a process that outlives the command
)
GOOD = CLASSES[:3]
RERUNS = 2
SUPERSEDED = "mlflow/runs/superseded FAILED active"


@dataclass
class Verdict:
    """kind, seed: repeat it by `python -m tests.torture KIND --seed SEED --count 1`."""

    kind: str
    seed: int
    tried: str
    result: str
    detail: str = ""
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return self.result in GOOD

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"again": f"python -m tests.torture {self.kind} --seed {self.seed} --count 1"}


@dataclass
class Judge:
    """What is right in a world, and how an attempt on it ended."""

    world: World
    right: Facts
    names: set[str]
    outside: dict[str, str] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)

    def look(self) -> None:
        """What is outside the named folders now must be so at the end."""
        self.outside = self.world.outside()

    def judge(
        self,
        first: Sequence[Outcome],
        *,
        sent: bool = False,
        harmed: Path | None = None,
        run: Callable[[], Outcome] | None = None,
    ) -> tuple[str, str]:
        """(class, detail) after the disturbed runs `first`, running the same command again until it comes right.

        sent: those were sent signals, so that their end is no message. harmed: what was damaged.
        """
        self.faults = []
        run = run or self.world.run
        outcomes = list(first)
        for outcome in first:
            self._look(outcome, sent)
        told = [] if sent else [one for one in first if one.status != 0]
        while not outcomes or sent or outcomes[-1].status != 0:
            sent = False
            outcomes.append(run())
            self._look(outcomes[-1], False)
            if outcomes[-1].status == 0 or outcomes[-1].hung:
                break
            told.append(outcomes[-1])
            if len(told) > RERUNS:
                break
        if outcomes[-1].status != 0 and not outcomes[-1].hung:
            self._take_away(harmed, outcomes[-1])
        elif outcomes[-1].status == 0 and len(told) > 1:
            self.faults.append(("again", f"{len(told)} messages: " + " | ".join(_said(one) for one in told)))
        self._compare(any(one.stdout.count("\nfailed: ") for one in outcomes))
        changed = _changes(self.outside, self.world.outside())
        if changed:
            self.faults.append(("outside", f"changed: {', '.join(changed[:5])}"))
        if self.faults:
            worst = max(self.faults, key=lambda fault: _gravity(fault[0]))
            rest = [f"{name}: {detail}" for name, detail in self.faults if (name, detail) != worst]
            return worst[0], "; also ".join([worst[1], *rest])
        return ("message", _said(told[0])) if told else ("survived", "")

    def _look(self, outcome: Outcome, sent: bool) -> None:
        """Faults of one run by itself."""
        if outcome.hung:
            self.faults.append(("hang", f"{outcome.seconds:.0f} s; {_tail(outcome.stderr)}; {_place(outcome.stacks)}"))
        elif "Traceback (most recent call last)" in outcome.stderr:
            self.faults.append(("traceback", _last_frames(outcome.stderr)))
        elif outcome.status not in (0, 1, 2) and not (sent and outcome.status in (130, -9, -15, -2)):
            self.faults.append(("crash", f"exit status {outcome.status}: {_tail(outcome.stderr)}"))
        elif outcome.status in (1, 2) and not _messages(outcome):
            self.faults.append(("crash", f"exit status {outcome.status} without a message: {_tail(outcome.stderr)}"))
        if outcome.orphans:
            self.faults.append(("orphan", outcome.orphans[0]))

    def _take_away(self, harmed: Path | None, last: Outcome) -> None:
        """The message must name what to take away; that done, the same command comes right."""
        if harmed is None or not _names(" ".join(_messages(last)), harmed):
            self.faults.append(("stuck", _said(last)))
            return
        if harmed.is_dir() and not harmed.is_symlink():
            shutil.rmtree(harmed)
        else:
            for name in (harmed.name, f"{harmed.name}-wal", f"{harmed.name}-shm"):
                harmed.with_name(name).unlink(missing_ok=True)
        again = self.world.run()
        self._look(again, False)
        if again.status != 0:
            self.faults.append(("stuck", f"even without {harmed.name}: {_said(again)}"))

    def _compare(self, trials_failed: bool) -> None:
        """The facts against those that are right. A trial that failed, as was told, has left its run of MLflow."""
        if any(name in ("stuck", "hang") for name, _ in self.faults):
            return
        found = facts(self.world.cwd)
        missing = sorted(self.names - found.keys())
        if missing:
            self.faults.append(("lost", f"missing: {', '.join(missing[:4])} ({len(missing)})"))
        doubled = sorted(name for name in found.keys() - self.names if name.startswith("mlflow/runs/"))
        if doubled and not (trials_failed and doubled == [SUPERSEDED]):
            self.faults.append(("wrong", f"runs of MLflow: {', '.join(f'{n}: {found[n]}' for n in doubled)}"))
        other = [name for name, value in self.right.items() if found.get(name, value) != value]
        if other:
            self.faults.append(("wrong", f"{self._difference(other[0])} ({len(other)} differ: {other[:4]})"))

    def _difference(self, name: str) -> str:
        """The first lines in which a text file differs from the right one."""
        right, found = self.world.base / "done" / "cwd" / name, self.world.cwd / name
        if not (right.is_file() and found.is_file()) or right.suffix not in (".csv", ".md", ".json", ".tex"):
            return f"{name} is another"
        pairs = zip(right.read_text().splitlines(), found.read_text(errors="replace").splitlines(), strict=False)
        for one, two in pairs:
            if one != two:
                at = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), 0)
                return f"{name}: …{one[max(0, at - 30) : at + 40]}… became …{two[max(0, at - 30) : at + 40]}…"
        return f"{name} has another length"


def _gravity(name: str) -> int:
    order = ("again", "stuck", "orphan", "traceback", "crash", "hang", "outside", "lost", "wrong")
    return order.index(name)


def _names(text: str, path: Path) -> bool:
    """Whether a message names a path, by itself or by its folder."""
    flat = " ".join(text.split())
    return any(str(one) in flat or one.name in flat for one in (path, path.parent) if len(one.name) > 5)


def _changes(before: dict[str, str], now: dict[str, str]) -> list[str]:
    names = sorted(before.keys() | now.keys())
    return [name for name in names if before.get(name) != now.get(name)]


def _messages(outcome: Outcome) -> list[str]:
    """Lines that say what failed: on standard error, or where trials failed and the others were reported, at the end
    of the report."""
    failed = [line for line in outcome.stdout.splitlines() if line.startswith(("failed: ", "not written: "))]
    return [line for line in outcome.stderr.splitlines() if "error: " in line] + failed


def _said(outcome: Outcome) -> str:
    lines = _messages(outcome) or [line for line in outcome.stderr.splitlines() if line.strip()]
    at = max(0, len(lines) - 3)
    return f"[{outcome.status}] " + " / ".join(lines[at : at + 3])[:400]


def _tail(text: str) -> str:
    return " / ".join(text.strip().splitlines()[-2:])[:300]


def _place(stacks: str) -> str:
    lines = [line.strip() for line in stacks.splitlines() if "/core/" in line or "/plugins/" in line]
    return " < ".join(lines[:3])


def _last_frames(text: str) -> str:
    """The exception, and the last places of ours on its way."""
    after = text.rpartition("Traceback (most recent call last)")[2].strip().splitlines()
    own = [line.strip() for line in after if "/core/" in line or "/plugins/" in line]
    last = next((line for line in reversed(after) if line and not line.startswith(" ")), "")
    return f"{last[:200]} at {' < '.join(reversed(own[-2:]))}"
