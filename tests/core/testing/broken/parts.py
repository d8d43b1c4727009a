"""Feature transforms, losses, rerankers and score transforms that break a rule."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from core import Levels, LevelShape, Tokens, VideoFeatures
from tests.core.testing.sound import Fused, Hinge, Judge, Sharpened, Shifted

from .breaking import broken, has_a_spare_parameter, with_init

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
