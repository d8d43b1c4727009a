"""Interactions that break a rule, and descriptions of components."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from core import Levels, setting
from tests.core.testing.sound import Dot, Sound

from .breaking import broken, changed, has_a_spare_parameter, with_init


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
