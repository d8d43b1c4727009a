"""What a video file says about itself, read from a few bytes without decoding: is it whole, can decord be trusted?"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from core.contract.inputs import is_absent, special_file
from core.errors import ReadingError, VideoError

REENCODE = "Write it anew: `ffmpeg -i in -an -c:v libx264 -g 30 -pix_fmt yuv420p out.mp4`"

_UNRELIABLE = {
    "an MPEG transport stream": (".ts", ".m2ts", ".mts", ".m2t", ".tp", ".trp"),
    "an MPEG program stream": (".mpg", ".mpeg", ".mpe", ".vob", ".m2p", ".mod"),
    "a Windows Media file": (".wmv", ".asf"),
}
_UNRELIABLE_SUFFIXES = {suffix: name for name, suffixes in _UNRELIABLE.items() for suffix in suffixes}
_MPEG_TS_PACKETS = ((0, 188), (4, 192))  # first sync byte, packet length: plain, and with the time code of .m2ts
_TRIMMED = 0.1  # seconds: less is rounding between the clocks of movie and media
_MP4_BOXES = set(b"ftyp moov mdat moof free skip wide sidx styp mfra uuid pnot".split())


def refuse_unusable(path: Path) -> None:
    """Raises VideoError for a file that is missing, empty, cut off, no file at all, or of a kind that decord reads
    wrongly; ReadingError where it cannot be told."""
    if wrong := special_file(path):
        raise VideoError(path, f"{wrong}, not a video file or a folder of images")
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
            edited = head[4:8] in _MP4_BOXES and promised <= size and _reorders_or_trims(file, size)
    except OSError as error:
        raise unopened(path, error) from None
    if promised > size:
        raise VideoError(path, f"is cut off: {size:,} of {promised:,} bytes are there", "Fetch or copy it again")
    if edited:
        raise VideoError(path, "was cut with an edit list, which hides or reorders some of its frames", REENCODE)


def unopened(path: Path, error: OSError) -> VideoError | ReadingError:
    """What it means that a video's file or folder cannot be opened or read: it is not there, or something is in the
    way. Where its folder is not there either, most likely a disk or share is away."""
    if not is_absent(error):
        return ReadingError(path, f"cannot be opened: {error.strerror}", "Put that right and start again")
    if not path.parent.is_dir():
        there = "Is its disk or share mounted? A folder that is there makes it a missing video"
        return ReadingError(path, f"cannot be looked for: there is no folder {path.parent}", there)
    return VideoError(path, "does not exist")


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


def _reorders_or_trims(file: BinaryIO, size: int) -> bool:
    """Whether some track's edit list holds several edits, or ends before its media does. Hidden frames at the start
    show in the timestamps instead."""
    moov = _inside(file, b"moov", 0, size)
    if moov is None:
        return False
    movie_rate = _rate_and_duration(_boxes(moov), b"mvhd")[0]
    for track in (body for name, body in _boxes(moov) if name == b"trak"):
        parts = dict(_boxes(track))
        edits = _edits(dict(_boxes(parts.get(b"edts", b""))).get(b"elst", b""))
        rate, duration = _rate_and_duration(_boxes(parts.get(b"mdia", b"")), b"mdhd")
        if len(edits) > 1:
            return True
        if edits and rate and movie_rate and edits[0][0] and duration:
            left = (duration - max(0, edits[0][1])) / rate
            if left - edits[0][0] / movie_rate > _TRIMMED:
                return True
    return False


def _inside(file: BinaryIO, wanted: bytes, start: int, end: int) -> bytes | None:
    """The content of a top-level box."""
    while start + 8 <= end:
        file.seek(start)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        skipped = 16 if length == 1 else 8
        length = int.from_bytes(header[8:16], "big") if length == 1 else length or end - start
        if length < 8:
            return None
        if header[4:8] == wanted:
            file.seek(start + skipped)
            return file.read(length - skipped)
        start += length
    return None


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of the boxes in a row."""
    start = 0
    while start + 8 <= len(data):
        length = int.from_bytes(data[start : start + 4], "big")
        if length < 8:
            return
        yield data[start + 4 : start + 8], data[start + 8 : start + length]
        start += length


def _edits(elst: bytes) -> list[tuple[int, int]]:
    """(length in movie ticks, first media tick) of each edit that shows something."""
    if len(elst) < 8:
        return []
    entry = struct.Struct(">QqI" if elst[0] == 1 else ">IiI")
    count = min(int.from_bytes(elst[4:8], "big"), (len(elst) - 8) // entry.size)
    edits = [entry.unpack_from(elst, 8 + index * entry.size)[:2] for index in range(count)]
    return [(length, first) for length, first in edits if first >= 0]


def _rate_and_duration(boxes: Iterator[tuple[bytes, bytes]], name: bytes) -> tuple[int, int]:
    """Ticks a second and ticks in all, of a movie or media header; zeros where it has none."""
    header = dict(boxes).get(name, b"")
    if len(header) < 20:
        return 0, 0
    layout, at = (">IQ", 20) if header[0] == 1 else (">II", 12)
    return struct.unpack_from(layout, header, at) if len(header) >= at + 12 else (0, 0)


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
