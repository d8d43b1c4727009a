"""Shell completion of `retrieval-ablations`, the command that `python -m core.run` is too, by shtab."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..errors import UserError

COMMAND = "retrieval-ablations"
SHELLS = ("bash", "zsh", "tcsh")

FILES = {"file": ("yaml", "yml"), "more": ("yaml", "yml"), "registered": ("json",)}
"""{argument: endings of the files that complete it}"""
FOLDERS = ("store", "runs")
DEVICES = ("auto", "cuda", "mps", "cpu")


Words = dict[str, Sequence[str]]
"""{argument: the words that complete it}"""


class PrintCompletion(argparse.Action):
    """Prints the completion of its parser for a shell, and ends the command. Raises UserError without shtab.

    outputs: gives the names that complete `--only`.
    """

    def __init__(self, *names: Any, outputs: Callable[[], Sequence[str]], **options: Any):
        super().__init__(*names, **options)
        self.outputs = outputs

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: object, values: Any, option_string: str | None = None
    ) -> None:
        try:
            import shtab
        except ImportError:
            install = "pip install 'retrieval-ablations[completion]'"
            raise UserError(f"{option_string} needs shtab, which is not installed; run: {install}") from None
        parser.prog = COMMAND
        words = {"device": DEVICES, "only": self.outputs()}
        for action in parser._actions:
            if completed := _completed(action, words):
                action.complete = completed  # type: ignore[attr-defined]
        print(shtab.complete(parser, values, preamble={"bash": _bash(parser, words)}))  # type: ignore[arg-type]
        parser.exit()


def add_completion(parser: argparse.ArgumentParser, outputs: Callable[[], Sequence[str]]) -> None:
    parser.add_argument(
        "--print-completion",
        choices=SHELLS,
        action=partial(PrintCompletion, outputs=outputs),  # type: ignore[arg-type]
        help=f"print what completes the words of `{COMMAND}` in a shell, and stop (needs shtab)",
    )


def _completed(action: argparse.Action, words: Words) -> dict[str, str] | None:
    """What completes an argument, for each shell; None for what is left to its choices."""
    if action.dest in FILES:
        endings = FILES[action.dest]
        patterns = [f"*.{ending}" for ending in endings]
        return {
            "bash": _function(action),
            "zsh": f"_files -g '({'|'.join(patterns)})'",
            "tcsh": f"f:{{{','.join(patterns)}}}" if len(patterns) > 1 else f"f:{patterns[0]}",
        }
    if action.dest in FOLDERS:
        return {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"}
    if choices := words.get(action.dest):
        return {"bash": _function(action), "zsh": f"({' '.join(choices)})", "tcsh": f"({' '.join(choices)})"}
    return None


def _function(action: argparse.Action) -> str:
    return f"_{COMMAND.replace('-', '_')}_{action.dest}"


def _bash(parser: argparse.ArgumentParser, words: Words) -> str:
    """The functions that complete arguments in bash."""
    functions = []
    for action in parser._actions:
        lines = [f"  compgen -f -X '!*.{ending}' -- \"$1\"" for ending in FILES.get(action.dest, ())]
        if lines:
            lines.append('  compgen -d -- "$1"')
        elif choices := words.get(action.dest):
            lines = [f"  compgen -W '{' '.join(choices)}' -- \"$1\""]
        if lines:
            functions.append("\n".join([f"{_function(action)}() {{", *lines, "}"]))
    return "\n".join(functions)
