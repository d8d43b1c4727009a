"""Encoders, data sets and outputs that break a rule."""

from __future__ import annotations

import dataclasses
import itertools
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from core import LevelShape, TextFeatures, Tokens, setting
from tests.core.testing.sound import Clips, Colours, Heard
from tests.engine import ToyEncoder

from .breaking import NUMBERS, broken, with_init

NUMBERED = itertools.count(1)


# ------------------------------------------------------------------------------------------------ encoders, data sets


def after(method, change):
    """A method of the encoder whose result is changed."""
    return lambda self, *arguments: change(getattr(ToyEncoder, method)(self, *arguments))


def frames_of(change):
    def call(features):
        tokens = features.structured("frames")
        return features.with_level("frames", change(tokens))

    return call


encoder = partial(broken, Colours, given={"captions": NUMBERS})
encoder(
    "its levels are known before it is loaded",
    "`frame_size` is 0",
    __init__=with_init(ToyEncoder, lambda self: setattr(self, "frame_size", 0)),
)
encoder(
    "levels have the shapes declared",
    r"`sentence` is \[3, 4\]",
    __init__=with_init(ToyEncoder, lambda self: self.shapes.update(sentence=LevelShape(None, 5))),
)
encoder(
    "masks tell padding",
    "mask of `frames` is not that",
    forward_video=after("forward_video", frames_of(lambda t: Tokens(t.values))),
)
encoder(
    "texts are padded to one length",
    "`colour` of a text depends on the others",
    prepare_texts=after("prepare_texts", lambda made: {"colour": made["colour"] / made["colour"].amax()}),
)
encoder(
    "frames become one crop",
    r"prepare_frames gives torch.float32",
    prepare_frames=after("prepare_frames", lambda made: made.float()),
)
encoder(
    "rows do not depend on the batch",
    "video/frames differ.* for one item alone",
    forward_video=after("forward_video", frames_of(lambda t: Tokens(t.values - t.values.mean(0), t.mask))),
)
encoder(
    "it writes the levels asked for",
    "video/frames differ.* when only `frames` is asked for",
    forward_video=lambda self, frames, mask, levels: frames_of(lambda t: Tokens(t.values * len(levels), t.mask))(
        ToyEncoder.forward_video(self, frames, mask, levels)
    ),
)
encoder(
    "weights depend on the seed where it says so",
    "another seed changes nothing, and random_start is True",
    random_start=True,
    load=lambda self, seed: ToyEncoder.load(self, 0),
)
encoder("the fingerprint is plain and stable", "no plain data", fingerprint=lambda self: torch.ones(1))
encoder("the fingerprint is plain and stable", "it holds a path", fingerprint=lambda self: str(Path.cwd() / "model"))
encoder(
    "it can be trained",
    "no gradient comes from text/sentence",
    forward_text=after("forward_text", lambda f: TextFeatures(sentence=f.structured("sentence").values.detach())),
)
encoder(
    "what is exported can be read again",
    "after `export`",
    _encode=lambda self, colour: ToyEncoder._encode(self, colour) + len(self.config.model),
)


def split_with(change):
    """prepare, with each item or the split changed."""
    return lambda self, folder: {name: change(split) for name, split in Clips.prepare(self, folder).items()}


def writes_again(self, folder):
    (folder / "list.json").write_text(json.dumps(list(range(len(list(folder.iterdir()))))))
    return Clips.prepare(self, folder)


def texts_as(**changes):
    return split_with(lambda s: dataclasses.replace(s, texts=tuple(dataclasses.replace(t, **changes) for t in s.texts)))


def videos_as(**changes):
    return split_with(
        lambda s: dataclasses.replace(s, videos=tuple(dataclasses.replace(v, **changes) for v in s.videos))
    )


dataset = partial(broken, Clips)
dataset(
    "it gives splits",
    "`dev` is Split. Give Split objects named among train, val, test",
    prepare=lambda self, folder: {"dev": Clips.prepare(self, folder)["test"]},
)
dataset("ids are unique", "1 ids of texts of `test` stand twice, as `same`", prepare=texts_as(id="same"))
dataset("texts point to videos", "text 0 of `test` has the video 7 of 2", prepare=texts_as(video=7))
dataset("texts point to videos", "text 0 of `test` is empty", prepare=texts_as(text=" "))
dataset(
    "texts point to videos",
    r"also_relevant of `test` has \(9, 0\)",
    prepare=split_with(lambda s: dataclasses.replace(s, also_relevant=((9, 0),))),
)
dataset("videos are there", "2 files of `test` are missing, as /nowhere", prepare=videos_as(path="/nowhere"))
dataset(
    "videos are there", "have the texts `tags`. Name them in `video_texts`", prepare=videos_as(texts={"tags": ("a",)})
)
dataset("preparing again gives the same", "files are written again, as .*list.json", prepare=writes_again)
dataset(
    "preparing again gives the same",
    "other splits the second time",
    prepare=split_with(lambda s: dataclasses.replace(s, also_relevant=((0, 1),) * next(NUMBERED))),
)
dataset("it is ready afterwards", "`ready` is False", ready=lambda self, folder: False)


# ------------------------------------------------------------------------------------------------ outputs


@dataclass(frozen=True)
class Asked:
    project: str = setting(doc="where it goes")


output = partial(broken, Heard)
output(
    "building it writes nothing",
    r"its constructor wrote note\.txt",
    __init__=with_init(Heard, lambda self: Path("note.txt").write_text("here")),
)
output("it says whether it is there unasked", "by_default is None. Say True or False", by_default=None)
output(
    "it says whether it is there unasked",
    "it is there by default, but .* 'project'. Give every field a default",
    {"project": "x"},
    by_default=True,
    Config=Asked,
)
output(
    "what is none of its runs is no trial",
    "is '0123'. Return None",
    trial_of=lambda self, text: "0123",
)
