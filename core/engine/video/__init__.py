"""Frames from video files and from folders of images: reading, frame sampling, faults.

`read_clip` reads one, `read_clips` many in worker processes, `check_videos` lists those that cannot be used.

The source of these modules is in no key: a change of which frames come out, or of their pixels, needs a higher VERSION
in steps/decode.py and in steps/encode.py.
"""

from core.engine.video.reading import Clip, read_clip
from core.engine.video.sampling import SAMPLERS, Sampling
from core.engine.video.workers import check_videos, read_clips

__all__ = ["SAMPLERS", "Clip", "Sampling", "check_videos", "read_clip", "read_clips"]
