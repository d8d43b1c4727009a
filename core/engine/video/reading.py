"""One video: a file through decord, or a folder of images through Pillow.

Files are decoded from the first frame on, in order. Seeking saves time on long videos only (of 12 frames, none in 10
seconds, five sixths in three minutes with a key frame every two seconds), and after a seek decord returns frames that
are off by up to some dozens in videos with an open GOP, intra refresh, MPEG-4 B-frames or an edit list. In order, with
a fault tolerance of zero, every frame is the one its timestamp says, or an error. Frames that are not sampled are
decoded, because later ones are made from them, but not converted to RGB.

Each sampled frame is scaled as soon as it is there, by Pillow's bicubic filter: CLIP's preprocessing to the byte. Only
the scaled frame is kept and sent on. decord's own scaling filters otherwise, which moves pixels by 3 to 4 of 255.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from core.contract.inputs import FOLDER, no_file
from core.engine.video.containers import REENCODE, refuse_unusable, unopened
from core.engine.video.sampling import SAMPLERS, Sampling
from core.errors import DataError, ReadingError, VideoError

_REASONS = {
    "Error reading": "is not a video, or is damaged where it says what it holds",
    "ERROR getting stream info": "is damaged where it says what it holds",
    "cannot find video stream": "has no video that decord can decode: audio only, or a codec such as AV1",
    "recovered from nearest frames": "has fewer frames than it says: data is missing, or an edit list hides its end",
    "broken metadata": "does not say how many frames it has: an image, a live recording or a bare stream",
    "Error sending packet": "holds damaged data that cannot be decoded",
    "run_.load()": "holds damaged data that cannot be decoded",
}
NO_MEMORY = "needs more memory to decode than there is", "Free some or raise the limit (`ulimit -v`), and start again"
_NEEDED = 256 << 20  # bytes that no decoder of ours takes at once; nothing is written to them
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_NO_FAULTS = 1e-9  # decord reads 0 as "any number"
_BEFORE_START = -1e-4  # seconds: timestamps are float32
_NO_TIME = -1e9  # anything below is FFmpeg's mark for a frame without a timestamp


@dataclass(frozen=True, eq=False)
class Clip:
    """What was read of a video: `frames` [T, H, W, 3] uint8 RGB; `mask` [T] bool, False where a frame is padding."""

    frames: np.ndarray
    mask: np.ndarray


def read_clip(path: str | Path, sampling: Sampling) -> Clip:
    """The sampled frames of the video file, or folder of JPEG or PNG frames, at `path`.

    Rotation metadata is applied.
    Raises VideoError, with the path and the reason, for whatever cannot be read, or not read correctly, because of what
    it is; ReadingError where memory, the disk or the system is in the way.
    """
    path = Path(path)
    if no_file(path) == FOLDER:
        return _read_folder(path, sampling)
    refuse_unusable(path)
    return _read_file(path, sampling)


def _read_file(path: Path, sampling: Sampling) -> Clip:
    """decord's part. The reader lives in this call alone: a fork or a second thread that met it would hang."""
    decord = _decord()
    try:
        reader = decord.VideoReader(str(path), num_threads=1, fault_tol=_NO_FAULTS)
        times, distinct = _timestamps(path, reader)
        decoded = _in_order(reader, _sample(path, times, sampling).tolist(), distinct)
        frames = [_scaled(_pixels(frame), sampling.size) for frame in decoded]
    except (RuntimeError, AssertionError, StopIteration, decord.DECORDError, decord.DECORDLimitReachedError) as error:
        if _memory_is_short():
            raise ReadingError(path, *NO_MEMORY) from None
        raise VideoError(path, *_reason(error)) from None
    return _clip(path, frames, sampling)


def _memory_is_short() -> bool:
    """Whether this process may have met the limit of its memory (`ulimit -v`): decord calls a video damaged then."""
    try:
        mmap.mmap(-1, _NEEDED).close()
    except (OSError, MemoryError, ValueError):
        return True
    return False


@cache
def _decord() -> Any:
    """decord, imported when first needed. It reads its limits from the environment while it is loaded."""
    os.environ.setdefault("DECORD_EOF_RETRY_MAX", "512")
    try:
        import decord
    except (ImportError, OSError) as error:
        raise DataError(
            f"decord, which reads video files, cannot be imported ({error}): `pip install decord`"
        ) from None
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def _in_order(reader: Any, indices: list[int], distinct: bool) -> Iterator[np.ndarray]:
    """The frames at rising indices, rows padded, one by one.

    decord's `skip_frames` decodes frames and drops them by their times, so these must be distinct. It seeks where it
    would pass a key frame; therefore it is asked to go as far as the frame before one at most, and key frames are read.
    """
    keys = [*(sorted(reader.get_key_indices()) if distinct else []), len(reader) + 1]
    position = 0
    for index in indices:
        while position < index:
            passed = bisect_right(keys, position)
            dropped = min(index, keys[passed] - 1) - position if passed else 0
            if dropped > 0:
                reader.skip_frames(dropped)
            else:
                reader.next()
            position += max(dropped, 1)
        yield reader.next().asnumpy()
        position += 1


def _timestamps(path: Path, reader: Any) -> tuple[np.ndarray, bool]:
    """When each frame is shown, [N] float64 seconds; and whether the file itself gives every frame another time.

    Frames that an edit list hides have negative times. decord never returns them, but miscounts what is left of some
    such cuts, so that frames could shift unnoticed: they are refused. AVI keeps no times for most codecs, but a
    constant rate: there the frame's number does as well.
    """
    times: np.ndarray = reader.get_frame_timestamp(np.arange(len(reader)))[:, 0].astype(np.float64)
    if (times < _NO_TIME).any():
        return np.arange(len(times), dtype=np.float64), False
    hidden = int((times < _BEFORE_START).sum())
    if hidden:
        raise VideoError(path, f"was cut with an edit list, which hides {hidden} of its {len(times)} frames", REENCODE)
    steps = np.diff(times)
    if not len(times) or not (steps >= 0).all() or (len(times) > 1 and times[0] == times[-1]):
        raise VideoError(path, "has timestamps that do not rise from frame to frame", REENCODE)
    return times, bool((steps > 0).all())


def _pixels(frame: np.ndarray) -> np.ndarray:
    """[H, W, 3] of decord's frame. Its rows end in padding, which decord takes for channels where W is small."""
    height, width, _ = frame.shape
    return frame.reshape(height, -1)[:, : 3 * width].reshape(height, width, 3)


def _reason(error: BaseException) -> tuple[str, str]:
    """What decord's error means to the owner of the video, and what to do."""
    if isinstance(error, StopIteration):
        return _REASONS["recovered from nearest frames"], REENCODE
    for words, reason in _REASONS.items():
        if words in str(error):
            return reason, REENCODE
    message = re.sub(r"\[\d\d:\d\d:\d\d\] \S+: |\[/.*?\] ?", "", str(error)).strip()
    return f"cannot be decoded ({message.splitlines()[0] if message else type(error).__name__})", REENCODE


def _read_folder(path: Path, sampling: Sampling) -> Clip:
    """The sampled images of a folder, sorted naturally by name: `2.jpg` before `10.jpg`."""
    try:
        names = os.listdir(path)
    except OSError as error:
        raise unopened(path, error) from None
    images = [name for name in sorted(names) if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")]
    if not images:
        raise VideoError(path, "is a folder without JPEG or PNG images")
    images.sort(key=lambda name: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)])
    chosen = [path / images[index] for index in _sample(path, np.arange(len(images), dtype=np.float64), sampling)]
    return _clip(path, [_scaled(_image(file), sampling.size) for file in chosen], sampling)


def _image(path: Path) -> np.ndarray:
    """[H, W, 3] uint8 RGB of an image file."""
    from PIL import Image

    if wrong := no_file(path):
        raise VideoError(path, f"{wrong}, not an image")
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except MemoryError:
        raise ReadingError(path, *NO_MEMORY) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # it: a place that no image has
            raise unopened(path, error) from None
        raise VideoError(path, f"is not an image that can be read ({error})") from None


def _scaled(frame: np.ndarray, size: int | None) -> np.ndarray:
    """[H, W, 3] with the shorter side `size`, the longer one rounded down: the resize of CLIP's own preprocessing."""
    height, width, _ = frame.shape
    short = min(height, width)
    if size is None or short == size:
        return frame
    from PIL import Image

    target = (width * size // short, height * size // short)
    return np.asarray(Image.fromarray(frame).resize(target, Image.Resampling.BICUBIC))


def _sample(path: Path, timestamps: np.ndarray, sampling: Sampling) -> np.ndarray:
    """Indices of the frames to read. VideoError where there are too few and `short_videos` is `fail`."""
    count, wanted = len(timestamps), sampling.num_frames
    if count < wanted and sampling.short_videos == "fail":
        have = f"has {count} {'frame' if count == 1 else 'frames'} where {wanted} are wanted"
        raise VideoError(path, have, "`data.short_videos: pad` masks the missing ones")
    return SAMPLERS[sampling.sampler](timestamps, wanted)


def _clip(path: Path, frames: list[np.ndarray], sampling: Sampling) -> Clip:
    """A clip of `num_frames`: what was read, then zeros that the mask marks. VideoError where frame sizes differ."""
    sizes = {frame.shape for frame in frames}
    if len(sizes) != 1:
        different = " and ".join(f"{width}x{height}" for height, width, _ in sorted(sizes))
        raise VideoError(path, f"has frames of different sizes: {different}", REENCODE)
    pixels = np.zeros((sampling.num_frames, *sizes.pop()), np.uint8)
    pixels[: len(frames)] = frames
    return Clip(pixels, np.arange(sampling.num_frames) < len(frames))
