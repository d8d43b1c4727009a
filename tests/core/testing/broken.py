"""Components that break one rule of their contract each, beside the sound ones, and what is to be said of it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core import Levels, LevelShape, TextFeatures, Tokens, VideoFeatures, setting
from tests.engine import ToyEncoder

from .sound import Clips, Colours, Dot, Fused, Heard, Hinge, Judge, Sharpened, Shifted, Sound

NUMBERS = ("10 20 30", "200 100 0", "255 255 255")
BROKEN: list[Any] = []
"""pytest parameters: component, what check_component is given, the rule, a pattern of what is said."""
NUMBERED = itertools.count(1)


def broken(base: type, rule: str, words: str, given: Mapping[str, Any] | None = None, **members: Any) -> None:
    """A subclass with other members breaks a rule, and is told so in words that match a pattern."""
    cls = type("Broken", (base,), {"__doc__": "Breaks a rule.", "__module__": __name__, **members})
    BROKEN.append(pytest.param(cls, dict(given or {}), rule, words, id=f"{base.__name__}: {rule}: {words[:40]}"))


# ------------------------------------------------------------------------------------------------ interactions


def with_init(base, extra):
    """__init__ that does more, after the base's."""

    def __init__(self, *arguments):
        base.__init__(self, *arguments)
        extra(self)

    return __init__


def changed(method, change):
    """A method of Sound whose tensors are changed: `change(self, tensor)`."""

    def call(self, *arguments):
        made = getattr(Sound, method)(self, *arguments)
        if isinstance(made, dict):
            return {name: tensor if name == "mask" else change(self, tensor) for name, tensor in made.items()}
        return change(self, made)

    return call


def sees_padding(self, video):
    return {**Sound.video_side(self, video), "mask": torch.ones_like(video.level("frames").mask)}


def normalises_in_place(self, video):
    frames = video.structured("frames").values
    frames /= frames.norm(dim=-1, keepdim=True)
    return Sound.video_side(self, video)


def adds_words(self, text, always=True):
    vector = Sound.text_side(self, text)["vector"]
    return {"vector": vector + text.level("words").values[:, 0] if always or "words" in text else vector}


def one_setting_for_all(self, text, video, configs, *, lists=False):
    return [(self.score_lists if lists else self.score)(text, video)] * len(configs)


def matches(change):
    return lambda self, text, video: (change(self.score(text, video)), {"text_vector": text["vector"]})


def draws_an_offset(self):
    self.offset = torch.randn(len(self.matrix))


def counts_tokens(self):
    self.bias = nn.Parameter(torch.zeros(self.shapes["frames"].tokens))


def has_a_spare_parameter(self):
    self.spare = nn.Parameter(torch.ones(2))


interaction = partial(broken, Sound)
SCORES, READS, GRADIENTS = (
    "scores are one number for each pair",
    "it reads the levels it declares",
    "gradients are finite and reach every parameter",
)
interaction(SCORES, r"\[6, 5\]\. It must be \[B_t, B_v\] = \[5, 6\]", score=changed("score", lambda _, s: s.T))
interaction(SCORES, "torch.int64", score=changed("score", lambda _, s: s.argsort()))
interaction(SCORES, "NaN or infinite", score=changed("score", lambda _, s: s / 0))
interaction(
    "sides have a row for each item",
    r"`count` of text_side is \[\]",
    text_side=lambda self, text: {**Sound.text_side(self, text), "count": torch.tensor(1.0)},
)
interaction(
    "it can be built from shapes alone",
    "meta.*Read no tensor's value",
    __init__=with_init(Sound, lambda self: float(self.matrix.detach().sum())),
)
interaction(READS, "no level `words`.*Name every level", text_side=adds_words)
interaction(
    READS, "differ by.* when there are further levels", text_side=lambda self, text: adds_words(self, text, False)
)
interaction(
    READS,
    "declares `words` and runs without it",
    reads=classmethod(lambda cls, config: Levels(("sentence", "words"), ("frames",))),
)
interaction(
    "masked tokens change nothing", "masked tokens of `frames` have other.*`ignore_mask`", video_side=sees_padding
)
interaction("appended padding changes nothing", "tokens are appended.*`ignore_mask`", video_side=sees_padding)
interaction(
    "appended padding changes nothing",
    "TypeError.*raise ValueError that names",
    __init__=with_init(Sound, counts_tokens),
)
interaction(
    "a video without valid tokens is finite",
    "scores are NaN",
    weights=lambda self, dots, mask: dots.masked_fill(~mask, -torch.inf).softmax(-1),
)
interaction("features are left as they are", "`frames` was written to", video_side=normalises_in_place)
interaction(
    "evaluation is deterministic",
    "from one call to the next.*self.training",
    score=changed("score", lambda _, s: s + 0.1 * torch.rand_like(s)),
)
interaction(GRADIENTS, "parameter `spare` gets none", __init__=with_init(Sound, has_a_spare_parameter))
interaction(GRADIENTS, "none reaches the video levels frames", match=matches(lambda scores: scores.detach()))
interaction(GRADIENTS, "gradient of matrix is NaN", match=matches(lambda scores: (0 * scores).sqrt()))
interaction(
    "bfloat16 is close to float32",
    "with bfloat16 features and weights: .*dtype of those read",
    score=changed("score", lambda _, s: s @ torch.eye(s.shape[1])),
)
interaction("bfloat16 is close to float32", "in the mean.*in float32", score=changed("score", lambda _, s: s + 99 - 99))
interaction(
    "state dict holds all that counts",
    "after its state was saved and loaded.*parameters or buffers",
    __init__=with_init(Sound, draws_an_offset),
    text_side=changed("text_side", lambda self, t: t + self.offset.to(t)),
)
interaction(
    "blocks equal the whole",
    "texts 0:2 and videos 0:1 alone.*neighbours",
    text_side=changed("text_side", lambda _, t: t - t.mean(0)),
)
interaction(
    "blocks equal the whole",
    "for the sides of texts 2: and videos 1:",
    score=changed("score", lambda _, s: s / s.amax()),
)
interaction(
    "lists equal their places in the whole",
    "for lists of 3.*score_lists gives what score gives",
    score_lists=changed("score_lists", lambda _, s: 2 * s),
)
interaction(
    "order does not matter", "in another order", score=changed("score", lambda _, s: s + 0.1 * torch.arange(s.shape[1]))
)
AFTER = "settings after training equal one at a time"
interaction(AFTER, "for `temperature`: 0.05 with lists=True", score_settings=one_setting_for_all)
interaction(
    AFTER,
    "The sides must not depend on it",
    video_side=changed("video_side", lambda self, t: t / self.config.temperature),
)
MATCH = "match gives scores and the auxiliaries declared"
interaction(
    MATCH,
    "tensors: text_vector; `provides` says video_vector",
    provides=classmethod(lambda cls, config: frozenset({"video_vector"})),
)
interaction(MATCH, r"scores of 5 pairs are \[2, 5\]", match=matches(lambda scores: scores[:2]))
interaction("an inner product is one", "no `vector`", inner_product=True)
interaction("pair floats are positive", "gives 0", pair_floats=lambda self, text, video: 0)
interaction("diagnostics are those declared", "gives none. `diagnostics` says entropy", diagnostics=("entropy",))
interaction(
    "diagnostics are those declared",
    r"`entropy` is \[1\]",
    diagnostics=("entropy",),
    diagnose=lambda self, text, video: {"entropy": torch.zeros(1)},
)
interaction(
    "token weights are shares",
    "`token_weights` of `frames`: sum .*sums to 1",
    token_weights=lambda self, text, video: {"frames": torch.ones(len(text["vector"]), 3)},
)


broken(
    Dot,
    "an inner product is one",
    "text @ video differ",
    score=lambda self, text, video: 2 * Dot.score(self, text, video),
)


# ------------------------------------------------------------------------------------------------ descriptions


interaction("it has a name", "`name` is 'My Block'", name="My Block")
interaction("it has a docstring", "Say what it computes", __doc__=None)
interaction("its fields after training exist", "names `beta`", after_training=frozenset({"beta"}))
interaction("its config is a dataclass", "frozen dataclass", Config=dict)


@dataclass(frozen=True)
class Undescribed(Sound.Config):
    top: int = 3
    share: float = setting(2.0, "of it", le=1)


interaction("its fields are described", "field `top` has no doc line", Config=Undescribed)
interaction("its fields are described", "default of `share` is refused: must be at most 1", Config=Undescribed)


# ------------------------------------------------------------------------------------------------ feature transforms


def over_the_mean(self, frames):
    return frames.values + self.shift - frames.values.mean(1, keepdim=True)


def without_ids(self, features):
    return VideoFeatures.of(
        {name: Shifted.video(self, features).structured(name) for name in (*features.names, "shifted")}
    )


transform = partial(broken, Shifted)
WRITES = "it writes the levels it declares"
transform(WRITES, "video level `shifted` is written", writes=classmethod(lambda cls, config: Levels(video=("frames",))))
transform(
    WRITES, "level `more` is not there", writes=classmethod(lambda cls, config: Levels(video=("shifted", "more")))
)
transform(
    WRITES,
    "text level `sentence` is written",
    text=lambda self, text: text.with_level("sentence", Tokens(2 * text.structured("sentence").values)),
)
transform(WRITES, "rows of the video side change", video=without_ids)
transform(
    "written shapes are true",
    "is said to have 9 tokens of width 3. It is written with 4 of width 16",
    written_shapes=lambda self: {"shifted": LevelShape(9, 3)},
)
transform(
    "masked tokens change nothing",
    "video/shifted differ.* masked tokens of `frames`",
    video=lambda self, f: f.with_level("shifted", Tokens(self.values(f.structured("frames")))),
)
transform("masked tokens change nothing", "masked tokens of `frames`", values=over_the_mean)
transform(
    "rows do not depend on their neighbours",
    "for rows 0:1 alone",
    values=lambda self, frames: frames.values + self.shift - frames.values.mean(0),
)
transform(
    "padding is written finite",
    "`video/shifted` holds NaN",
    values=lambda self, f: (f.values + self.shift).masked_fill(~f.mask[..., None], torch.nan),
)
transform(
    "state dict holds all that counts",
    "after its state",
    __init__=with_init(Shifted, lambda self: setattr(self, "drawn", torch.randn(16))),
    values=lambda self, frames: frames.values + self.shift + self.drawn.to(frames.values),
)


# ------------------------------------------------------------------------------------------------ losses


def of_hinge(change):
    return lambda self, inputs: change(Hinge.forward(self, inputs), self, inputs)


def refuses(self, inputs):
    raise ValueError("no")


def remembers(self):
    self.seen = 0.0


def forgets(value, self, inputs):
    self.seen += 1
    return value * self.seen


loss = partial(broken, Hinge)
loss("it is a finite scalar", r"batch of pairs gives \[1\]", forward=of_hinge(lambda v, *_: v[None]))
loss("it is a finite scalar", "batch of pairs gives nan", forward=of_hinge(lambda v, *_: v * torch.nan))
loss("it is a finite scalar", r"it takes no batch \(pairs: no; candidates: no\).*`auxiliary=`", forward=refuses)
loss(
    "gradients are finite and flow", "no input of a batch of pairs gets any", forward=of_hinge(lambda v, *_: v.detach())
)
loss(
    "gradients are finite and flow",
    "scores of one is NaN",
    forward=of_hinge(lambda v, s, i: v + (0 * i.scores["one"]).sqrt().sum()),
)
loss("gradients are finite and flow", "parameter `spare` gets none", __init__=with_init(Hinge, has_a_spare_parameter))
loss(
    "odd batches are finite",
    "pairs, one row: the loss",
    forward=of_hinge(lambda v, s, i: v + v / (len(i.relevance) - 1.0)),
)
loss(
    "odd batches are finite",
    "pairs, all relevant: the loss",
    forward=of_hinge(lambda v, s, i: v / (~i.relevance).any().float()),
)
loss(
    "order of the batch does not matter", "Go by `paired`", forward=of_hinge(lambda v, s, i: v + i.scores["one"][0, 0])
)
loss(
    "it needs the auxiliaries it declares",
    "declares `video_vector` and runs without it",
    needs=classmethod(lambda cls, config: frozenset({"text_vector", "video_vector"})),
)
loss("it is a finite scalar", "KeyError: text_vector", needs=classmethod(lambda cls, config: frozenset()))
loss(
    "its weight is left to the trainer", "when `weight` changes", forward=of_hinge(lambda v, s, i: v * s.config.weight)
)
loss(
    "inputs are left as they are",
    "Work on a copy",
    forward=of_hinge(lambda v, s, i: v + 0 * i.relevance.fill_(True).sum()),
)
loss(
    "state dict holds all that counts",
    "queues and momentum in buffers",
    __init__=with_init(Hinge, remembers),
    forward=of_hinge(forgets),
)


# ------------------------------------------------------------------------------------------------ rerankers


def of_fused(change):
    return lambda self, text, video, scores: change(Fused.forward(self, text, video, scores), scores)


reranker = partial(broken, Fused)
reranker(
    "new scores are one number for each pair",
    r"\[12\] pairs have scores \[12, 1\]",
    forward=of_fused(lambda s, _: s[:, None]),
)
reranker(
    "it takes the scores it declares",
    "declares `more` and runs without it",
    interactions=classmethod(lambda cls, config: ("fine", "more")),
)
reranker(
    "it reads the levels it declares", "no level `frames`", reads=classmethod(lambda cls, config: Levels(("sentence",)))
)
reranker(
    "candidates in another order have the same scores",
    "must move with its pair",
    forward=of_fused(lambda s, _: s + torch.arange(len(s))),
)
reranker("pairs do not depend on the list", "Say `pairwise = False`", forward=of_fused(lambda s, _: s - s.mean()))
trained = partial(broken, Judge)
trained(
    "fields after training need no training",
    "score_pairs: .* for `alpha`: 0.5. Use it in `fuse` alone",
    score_pairs=lambda self, t, v, s: Judge.score_pairs(self, t, v, s) * self.config.alpha,
)
trained(
    "fields after training need no training",
    "`top_k`: 51 needs other weights.*Take `top_k` out",
    __init__=with_init(Judge, lambda self: setattr(self, "rank", nn.Parameter(torch.ones(self.config.top_k)))),
    score_pairs=lambda self, t, v, s: Judge.score_pairs(self, t, v, s) * self.rank.mean(),
)
trained(
    "sides computed once give the same",
    "by way of text_side",
    forward=lambda self, t, v, s: Judge.forward(self, t, v, s) * 2,
)
trained(
    "sides computed once give the same",
    "`fuse` of one candidate a query",
    fuse=lambda self, matching, scores: matching - matching.mean(-1, keepdim=True),
)


# ------------------------------------------------------------------------------------------------ score transforms


score_transform = partial(broken, Sharpened)
score_transform("it gives a finite matrix", r"\[5, 6\] become \[6, 5\]", __call__=lambda self, scores: scores.T)
score_transform("scores are left as they are", "were written to", __call__=lambda self, scores: scores.mul_(2))
score_transform("it is deterministic", "Draw no random", __call__=lambda self, scores: scores + torch.rand_like(scores))
score_transform(
    "order does not matter", "another order", __call__=lambda self, scores: scores + torch.arange(scores.shape[1])
)
score_transform(
    "queries do not depend on each other",
    "queries are scored alone. Say so by `transductive`",
    __call__=lambda self, scores: scores.softmax(0),
)
score_transform(
    "it reads the bank that it needs",
    "another bank changes nothing",
    needs_bank=True,
    __call__=lambda self, scores, bank: scores,
)


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
