"""Plugins that watch an experiment. What one raises costs neither a trial, nor the report, nor another one's watch."""

from __future__ import annotations

from collections import Counter
from traceback import extract_tb

from .failures import failure_of
from .plugins import registry


class Observers:
    """Tells every plugin what happens; `faults` of theirs, each once with its number of times, are told at the end."""

    def __init__(self) -> None:
        self._faults: Counter[str] = Counter()

    def tell(self, hook: str, **facts: object) -> None:
        """Call a hook of every plugin that has it, the last registered first."""
        manager = registry().manager
        plugins = [own.plugin for own in reversed(getattr(manager.hook, hook).get_hookimpls())]
        for plugin in dict.fromkeys(plugins):
            others = [other for other in manager.get_plugins() if other is not plugin]
            try:
                manager.subset_hook_caller(hook, others)(**facts)
            except (Exception, SystemExit) as fault:  # a plugin may fail in any way
                name = getattr(plugin, "__name__", type(plugin).__qualname__)
                last = extract_tb(fault.__traceback__)[-1]
                self._faults[f"{hook} of {name} ({last.filename} line {last.lineno}): {failure_of(fault)}"] += 1

    @property
    def faults(self) -> list[str]:
        return [f"{told} ({times} times)" if times > 1 else told for told, times in self._faults.items()]
