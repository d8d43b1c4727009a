"""What a video file says about itself, read from a few bytes without decoding: is it whole, can decord be trusted?"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from core.errors import VideoError

REENCODE = "Write it anew: `ffmpeg -i in -an -c:v libx264 -g 30 -pix_fmt yuv420p out.mp4`"

_UNRELIABLE = {
    "an MPEG transport stream": (".ts", ".m2ts", ".mts", ".m2t", ".tp", ".trp"),
    "an MPEG program stream": (".mpg", ".mpeg", ".mpe", ".vob", ".m2p", ".mod"),
    "a Windows Media file": (".wmv", ".asf"),
}
_UNRELIABLE_SUFFIXES = {suffix: name for name, suffixes in _UNRELIABLE.items() for suffix in suffixes}
_MPEG_TS_PACKETS = ((0, 188), (4, 192))  # first sync byte, packet length: plain, and with the time code of .m2ts
_MP4_BOXES = set(b"ftyp moov mdat moof free skip wide sidx styp mfra uuid pnot".split())


def refuse_unusable(path: Path) -> None:
    """Raises VideoError for a file that is missing, empty, cut off, or of a kind that decord reads wrongly."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise VideoError(path, "is empty (0 bytes)")
            head = file.read(4096)
            kind = _unreliable(path, head)
            if kind:
                raise VideoError(path, f"is {kind}, and decord returns wrong frames of such files", REENCODE)
            promised = _promised_size(file, head, size)
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be opened: {error.strerror}"
        raise VideoError(path, reason) from None
    if promised > size:
        raise VideoError(path, f"is cut off: {size:,} of {promised:,} bytes are there", "Fetch or copy it again")


def _unreliable(path: Path, head: bytes) -> str | None:
    """The name of the unreliable container that the file's suffix or its first bytes tell."""
    if head.startswith(b"\0\0\1\xba"):
        return "an MPEG program stream"
    if head.startswith(bytes.fromhex("3026b2758e66cf11")):
        return "a Windows Media file"
    if any(len(sync := head[start::step]) > 3 and set(sync) == {0x47} for start, step in _MPEG_TS_PACKETS):
        return "an MPEG transport stream"
    return _UNRELIABLE_SUFFIXES.get(path.suffix.lower())


def _promised_size(file: BinaryIO, head: bytes, size: int) -> int:
    """How many bytes the file must have by its own account; 0 where its container does not say."""
    if head[:4] == b"RIFF":
        length = struct.unpack_from("<I", head, 4)[0]
        return 8 + length if length < 0xFFFFFFFF else 0
    if head[:4] == b"\x1aE\xdf\xa3":
        return _matroska_size(head)
    if head[4:8] in _MP4_BOXES:
        return max(_mp4_box_ends(file, size), default=0)
    return 0


def _mp4_box_ends(file: BinaryIO, size: int) -> Iterator[int]:
    """Where each top-level box ends. Stops at what is no box: trailing bytes are harmless."""
    start = 0
    while start < size:
        file.seek(start)
        header = file.read(16)
        name, length = header[4:8], int.from_bytes(header[:4], "big")
        if name not in _MP4_BOXES:
            return
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < 8:
            return
        start += length
        yield start


def _matroska_size(head: bytes) -> int:
    """Where the segment of a Matroska or WebM file ends; 0 where a live recording left its length open."""
    _, header_start, header_size = _matroska_element(head, 0)
    name, start, length = _matroska_element(head, header_start + (header_size or 0))
    return start + length if name == b"\x18S\x80g" and length is not None else 0


def _matroska_element(data: bytes, at: int) -> tuple[bytes, int, int | None]:
    """Name, start of the content and its length (None: unknown) of the element at `at`."""
    lead = data[at] if at < len(data) else 0
    start = at + (9 - lead.bit_length())
    width = 9 - (data[start].bit_length() if start < len(data) else 0)
    value = int.from_bytes(data[start : start + width], "big") & ((1 << 7 * width) - 1)
    unknown = width > 8 or value == (1 << 7 * width) - 1
    return data[at:start], start + width, None if unknown else value
