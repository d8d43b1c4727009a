"""Addresses of servers and databases without what opens them: user, password, token."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape
from itertools import groupby
from operator import itemgetter
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from .escaping import markdown

HIDDEN = "***"
SQLITE_FILE = re.compile(r"sqlite(\+\w+)?:///")
PLAIN_SETTINGS = ("sslmode", "timeout", "connect_timeout", "charset", "driver", "application_name", "mode", "cache")
"""Settings after a `?` that open nothing."""

HOST = r"([\w.-]+|\[[\da-fA-F:.]+\])(:\d+)?"
PLACE = re.compile(rf"({HOST}(,{HOST})*)?(/[\w.~%+/-]*)?")
SETTING = re.compile(rf"({'|'.join(PLAIN_SETTINGS)})=[\w.+ -]*")
NAME = re.compile(
    r"\w*(user|login|uid|pass|pwd|token|secret|key|auth|credential|signature|session)\w*", re.IGNORECASE | re.ASCII
)
"""Of a setting that opens something."""

SECRET_SETTING = re.compile(rf"[?&;#]{NAME.pattern}=.*", re.IGNORECASE)
WEB = re.compile(r"((\w+\+)?https?|sqlite(\+\w+)?|file|git|ssh)://")
"""Begins addresses in whose path an `@` may stand."""

SCHEME = re.compile(r"[a-zA-Z][\w+.-]{0,40}://")
END = r"\s\"'<>`"
"""What ends an address within a text."""

SPACED = rf"[^{END}:/?#@[]*:(?!\s|\d+([/,\s]|$))[^{END}@]*([ \t][^{END}@]*)+(@|&#64;)(?=[\w[])[^{END}]*"
"""An address whose password, which is no port, holds spaces: within it they do not end the address."""

ADDRESS = re.compile(rf"\b(?P<scheme>{SCHEME.pattern.replace(':', '(?::|&#58;)')})(?P<rest>{SPACED}|[^{END}]+)")
"""Within a text, also one that is Markdown already."""


def safe_address(address: str) -> str:
    """An address as it may be shown: `postgresql://***@host/db?sslmode=require`.

    What stands before the last `@` is hidden, and settings from the first that is not one of PLAIN_SETTINGS on. Of what
    is then no host with a path only the scheme is left, `http://***`; of what has none, nothing.
    """
    if file := SQLITE_FILE.match(address):
        path, _, settings = address[file.end() :].partition("?")
        return f"{file[0]}{path}{_settings(settings)}"
    begun = SCHEME.match(address)
    if not begun:
        return address if re.fullmatch(r"(file:)?[\w./~ -]*", address) else HIDDEN
    before, at, after = address[begun.end() :].rpartition("@")
    place, settings = re.fullmatch(r"([^?#;]*)(.*)", after, re.DOTALL).groups()  # type: ignore[union-attr]
    if not PLACE.fullmatch(place) or (at and _may_hold_settings(before)):
        return f"{begun[0]}{HIDDEN}"
    return f"{begun[0]}{f'{HIDDEN}@' if at else ''}{place}{_settings(settings[1:])}"


def _may_hold_settings(before: str) -> bool:
    """Whether what stands before an `@` may be a place with settings, the `@` within one, and not a user's password."""
    place, mark, settings = re.fullmatch(r"([^?#;]*)([?#;]?)(.*)", before, re.DOTALL).groups()  # type: ignore[union-attr]
    return bool(mark) and (bool(PLACE.fullmatch(place)) or "=" in settings)


def _settings(settings: str) -> str:
    """Settings as they may be shown, with the `?` before them."""
    if not settings:
        return ""
    safe = []
    for setting in settings.split("&"):
        if not SETTING.fullmatch(setting):
            safe.append(HIDDEN)
            break
        safe.append(setting)
    return "?" + "&".join(safe)


def hidden_addresses(text: str) -> str:
    """A text in which of every address user, password, token are hidden: `https://***@host`, `…?password=***`."""
    return ADDRESS.sub(_hidden, text)


def _hidden(match: re.Match[str]) -> str:
    scheme, rest = match["scheme"], match["rest"].replace("&#64;", "@")
    secret = SECRET_SETTING.search(rest)
    visible = f"{rest[: secret.start()]}{secret[0].partition('=')[0]}={HIDDEN}" if secret else rest
    if "@" not in rest or (WEB.fullmatch(scheme.replace("&#58;", ":")) and re.match(rf"({HOST})?(/|$)", rest)):
        return scheme + visible if secret else match[0]
    if "@" not in visible:
        return scheme + HIDDEN
    return f"{scheme}{HIDDEN}@{visible.rpartition('@')[2]}"


def is_cut_short(address: str) -> bool:
    """Whether what opens an address goes on behind what would end the address within a text, as a space."""
    begun = SCHEME.match(address)
    if not begun:
        return False
    rest = address[begun.end() :]
    login, setting = rest.rpartition("@")[0], SECRET_SETTING.search(rest)
    secrets = []
    if re.match(rf"[^{END}/?#]*:", login):
        secrets.append(login)
    if setting:
        secrets.append(rest[setting.start() :])
    return any(re.search(f"[{END}]", secret) for secret in secrets)


def without(text: str, address: str) -> str:
    """A text, such as what a driver says of its failure, without what opens an address: neither the address nor a part
    of its user, password, token."""
    text = hidden_addresses(with_safe(text, address))
    secret_at = bytearray(len(text))
    for secret in set(_secrets(address)):
        pattern = re.escape(secret)
        whole = pattern if len(secret) > 7 else rf"(?<!\w){pattern}(?!\w)"
        for spot in re.finditer(f"(?={whole})", text):  # also where two overlap
            secret_at[spot.start() : spot.start() + len(secret)] = b"1" * len(secret)
    runs = groupby(zip(text, secret_at, strict=True), key=itemgetter(1))
    return "".join(HIDDEN if hidden else "".join(sign for sign, _ in run) for hidden, run in runs)


def with_safe(text: str, address: str) -> str:
    """A text with an address that is known in its safe form, as plain text, JSON, HTML and Markdown write it."""
    safe = safe_address(address)
    if safe == address:
        return text
    spellings = (address, json.dumps(address)[1:-1], json.dumps(address, ensure_ascii=False)[1:-1], escape(address))
    for written in (*spellings, escape(address, quote=False), markdown(address)):
        text = text.replace(written, safe)
    return text


def _secrets(address: str) -> Iterator[str]:
    """What an address may hold of user, password, token, whole and in the parts that a driver may take it for."""
    file = SQLITE_FILE.match(address)
    begun = file or SCHEME.match(address)
    rest = address[begun.end() :] if begun else address
    before, _, after = ("", "", rest) if file else rest.rpartition("@")
    place, settings = re.fullmatch(r"([^?#;]*)(.*)", after, re.DOTALL).groups()  # type: ignore[union-attr]
    unclear = "" if file or (PLACE.fullmatch(place) and not _may_hold_settings(before)) else rest
    while plain := re.match(rf"[?&]{SETTING.pattern}(?=&|$)", settings):
        settings = settings[plain.end() :]
    for secret in (before, settings, unclear):
        values = re.sub(rf"(?<=[?&;#]){NAME.pattern}(?==)", "", secret, flags=NAME.flags)
        for part in (secret, secret.partition(":")[2], secret.partition("=")[2], *re.split(r"[:/@?#&;=]", values)):
            yield from _written(part)


def _written(part: str) -> Iterator[str]:
    """A part of an address as a message may write it."""
    for written in (part, unquote(part), unquote_plus(part), quote(unquote(part)), quote_plus(unquote(part))):
        if written:
            escaped = repr(written)[1:-1]
            yield from (written, escaped, escaped.replace("'", r"\'"))
