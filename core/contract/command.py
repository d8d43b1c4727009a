"""What all commands of the framework share: how they end, and what they may read of the environment."""

from __future__ import annotations

import argparse
import functools
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from ..errors import UserError
from .addresses import hidden_addresses
from .escaping import plain_line
from .places import place_fault
from .processors import wait_passively

Main = Callable[[Sequence[str] | None], int]


def command(main: Main) -> Callable[..., int]:
    """`main` with quiet ends: a fault of the user is one message and its exit status, 130 for an interruption, 1 where
    nobody reads what is printed any more."""

    @functools.wraps(main)
    def ended(arguments: Sequence[str] | None = None) -> int:
        wait_passively()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            with _interruptions_kept():
                return _printed(main, arguments)
        except UserError as fault:
            print_fault(fault)
            return fault.exit_code
        except BrokenPipeError:
            return 1
        except OSError as fault:
            if (told := place_fault(fault)) is None:
                raise
            print_fault(told)
            return told.exit_code
        except KeyboardInterrupt:
            print("stopped; results so far are kept, and the same command resumes", file=sys.stderr)
            return 130
        finally:
            _drop_unread()

    return ended


def _printed(main: Main, arguments: Sequence[str] | None) -> int:
    """The status of `main`, once all that it printed is read; also where it ends by SystemExit, as after --help."""
    try:
        status = main(arguments)
    except SystemExit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return status


def _drop_unread() -> None:
    """Send what nobody reads any more nowhere, so that the interpreter says nothing of it at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def _interruptions_kept() -> Iterator[None]:
    """Have Ctrl-C raise KeyboardInterrupt also where a library that it met, as while being imported, made another error
    of it."""
    came: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.default_int_handler(number, frame)

    before = signal.getsignal(signal.SIGINT)
    ours = before is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception:
        if came:
            raise KeyboardInterrupt from None
        raise
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


def print_fault(fault: Exception) -> None:
    """On standard error, in lines on which nothing is hidden but what opens an address."""
    told = hidden_addresses(str(fault))
    print("error: " + "\n".join(plain_line(line) for line in told.split("\n")), file=sys.stderr)


def add_allow_env(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow-env",
        metavar="NAME",
        action="append",
        default=[],
        help="let ${oc.env:NAME} in the file read this environment variable; its value is stored with the results",
    )
