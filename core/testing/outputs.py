"""Checks of an output: what can be told of it without an experiment."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path
from typing import Any

from ..contract.components import Output
from ..errors import UserError
from .contract import Faults

NO_RUN = "the name of nothing"


class OutputCase:
    """An output, and a folder for its files."""

    def __init__(self, cls: type[Output], config: Any, folder: Path):
        self.cls, self.config, self.folder = cls, config, folder

    def build(self) -> Output:
        return self.cls(self.config)


def building_it_writes_nothing(case: OutputCase) -> Faults:
    with chdir(case.folder):
        case.build()
    written = [path.name for path in case.folder.iterdir()]
    if written:
        yield f"its constructor wrote {', '.join(written)}", "A dry run builds it too: write in `finished`"


def it_says_whether_it_is_there_unasked(case: OutputCase) -> Faults:
    if not isinstance(case.cls.by_default, bool):
        yield f"by_default is {case.cls.by_default!r}", "Say True or False"
    elif case.cls.by_default:
        try:
            case.cls.Config()
        except TypeError as fault:
            yield f"it is there by default, but {fault}", "Give every field a default"


def what_is_none_of_its_runs_is_no_trial(case: OutputCase) -> Faults:
    try:
        key = case.build().trial_of(NO_RUN)
    except UserError:
        return
    if key is not None:
        yield f"trial_of({NO_RUN!r}) is {key!r}", "Return None for what is not the name of one of its runs"


FIRST = (building_it_writes_nothing,)
CHECKS = (it_says_whether_it_is_there_unasked, what_is_none_of_its_runs_is_no_trial)
