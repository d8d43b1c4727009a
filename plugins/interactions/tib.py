"""The text-gated interaction block: each text pools the video's tokens by its own attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from core import Interaction, Levels, Shapes, Side, TextFeatures, Tokens, VideoFeatures, setting
from plugins.layers.entropy import relative_entropy
from plugins.layers.fused_gate import fused_cosines
from plugins.layers.gating import mean_vector, require_one_width, token_weights, unit, unit_tokens, video_blocks


class TextGatedBlock(Interaction):
    """cos(t, Σ_j a_j v_j) with a = softmax_j(t̂·g_j / temperature): v unit tokens of `level`, g those of `gate`.

    Reads a video level [B_v, N, D], a gate level with as many tokens, and a text level, usually the sentence
    [B_t, D]. Scores [B_t, B_v] are cosines. There are no parameters. A video without a valid token scores 0 and gets
    no gradient. With `unit_vectors: false` a = softmax_j(t·g_j / temperature), and t, g and v are as the encoder gave
    them: long tokens weigh more. Raises ValueError where widths or token counts of the levels differ.

    The pooled vectors [B_t, B_v, D] are not formed: with s_j = t̂·v_j the score is (a·s) / sqrt(aᵀGa), where
    G = V Vᵀ [N, N] belongs to the video side; on a GPU all that follows the dot products is one kernel. Where N > D
    the weighted sum is cheaper than G and is formed for a block of videos at a time, by torch's attention.

    In training `gate_by: own_caption` pools each video once, with detached weights from its own paired text, and
    compares that vector with all texts: the released EERCF. `gate_by: query` trains the evaluation form.
    Auxiliary: text_vector and video_vector [N, D], unit, the latter pooled by the own caption in either form.
    Diagnostic: gate_entropy.

    Source: EERCF (Tian et al., AAAI 2024, arXiv 2401.00701), the text-gated interaction block: frames at
    temperature 0.1 with the gate read before the temporal encoder, patches at 0.01. With `unit_vectors: false` the
    global interaction of GLSCL (Zhang et al. 2024, arXiv 2405.12710), at temperature 3 for CLIP's vectors, which are
    about 10 long. Its code masks after the softmax and does not renormalise, which the cosine undoes.
    """

    name = "tib"
    after_training = frozenset({"temperature"})
    diagnostics = ("gate_entropy",)

    @dataclass(frozen=True)
    class Config:
        level: str = setting("frames", "video level whose tokens are pooled")
        gate: str | None = setting(None, "level that the attention weights come from; null: `level` itself")
        text_level: str = setting("sentence", "text level; the mean of its tokens where it has several")
        temperature: float = setting(
            0.1, "divides the dot products before the softmax; small: the best token alone", gt=0
        )
        unit_vectors: bool = setting(True, "false: gate and pool vectors as they come; `temperature` is on their scale")
        gate_by: str = setting(
            "query",
            "whose attention pools a video in training: each text's (query) or its own caption's, detached",
            choices=("query", "own_caption"),
        )
        ignore_mask: bool = setting(False, "attend to padding tokens too")

    def __init__(self, config: Any, shapes: Shapes):
        super().__init__(config, shapes)
        levels = self.reads(config)
        require_one_width(shapes, levels)
        counts = {name: shapes[name].tokens for name in levels.video if name in shapes and shapes[name].tokens}
        if len(set(counts.values())) > 1:
            sizes = ", ".join(f"`{name}` {count}" for name, count in counts.items())
            raise ValueError(f"`gate` must have one token for each token of `level`: {sizes}")

    @classmethod
    def reads(cls, config: Any) -> Levels:
        video = (config.level, config.gate or config.level)
        return Levels(text=(config.text_level,), video=tuple(dict.fromkeys(video)))

    @classmethod
    def provides(cls, config: Any) -> frozenset[str]:
        return frozenset({"text_vector", "video_vector"})

    def text_side(self, text: TextFeatures) -> Side:
        """vector [B_t, D], unit; without `unit_vectors` also the length [B_t, 1] it had."""
        tokens = text.structured(self.config.text_level)
        if self.config.unit_vectors:
            return {"vector": mean_vector(tokens)}
        values, mask = _valid_tokens(tokens)
        mean = values.sum(1) / mask.sum(1, keepdim=True).clamp_min(1)
        return {"vector": unit(mean), "length": mean.norm(dim=1, keepdim=True)}

    def video_side(self, video: VideoFeatures) -> Side:
        """values [B_v, N, D], unit where `unit_vectors`; mask [B_v, N]; gate [B_v, N, D] where it is another level;
        gram [B_v, N, N] where N <= D."""
        config, read = self.config, unit_tokens if self.config.unit_vectors else _valid_tokens
        values, mask = read(video.structured(config.level), config.ignore_mask)
        side = {"values": values, "mask": mask}
        if config.gate not in (None, config.level):
            side["gate"], gate_mask = read(video.structured(config.gate), config.ignore_mask)
            side["mask"] = mask & gate_mask
            side["values"] = values = values.masked_fill(~side["mask"][:, :, None], 0)
        if values.shape[1] <= values.shape[2]:
            side["gram"] = values @ values.transpose(1, 2)
        return side

    def score(self, text: Side, video: Side) -> Tensor:
        return self.score_settings(text, video, [self.config])[0]

    def score_lists(self, text: Side, video: Side) -> Tensor:
        return self.score_settings(text, video, [self.config], lists=True)[0]

    def score_settings(self, text: Side, video: Side, configs: Sequence[Any], *, lists: bool = False) -> list[Tensor]:
        """One score tensor for each temperature; the dot products are computed once for all of them."""
        temperatures = [config.temperature for config in configs]
        if lists:
            return _gated_cosines({name: tensor.transpose(1, 2) for name, tensor in text.items()}, video, temperatures)
        queries = {name: tensor.T for name, tensor in text.items()}
        floats = len(text["vector"]) * int(self.pair_floats(text, video))
        blocks = [_gated_cosines(queries, block, temperatures) for block in video_blocks(video, floats)]
        return [torch.cat(scores).T for scores in zip(*blocks, strict=True)]

    def match(self, text: Side, video: Side) -> tuple[Tensor, Side]:
        weights = self._own_weights(text, video)
        if self.config.gate_by == "own_caption":
            weights = weights.detach()
        pooled = unit((weights * video["values"]).sum(1))
        scores = text["vector"] @ pooled.T if self.config.gate_by == "own_caption" else self.score(text, video)
        return scores, {"text_vector": text["vector"], "video_vector": pooled}

    def diagnose(self, text: Side, video: Side) -> Side:
        return {"gate_entropy": self.gate_entropy(text, video)}

    def gate_entropy(self, text: Side, video: Side) -> Tensor:
        """Entropy of the weights that row p's text gives to row p's video, over the log of its valid tokens: [P].

        0: one token alone; 1: all alike; 0 where fewer than two tokens are valid.
        """
        return relative_entropy(self._own_weights(text, video)[:, :, 0], video["mask"])

    def token_weights(self, text: Side, video: Side) -> Side:
        return {self.config.level: self._own_weights(text, video)[:, :, 0]}

    def _own_weights(self, text: Side, video: Side) -> Tensor:
        """Weights [P, N, 1] of row p's text over the tokens of row p's video."""
        gate_dots, _ = _dots({name: tensor[:, :, None] for name, tensor in text.items()}, video)
        return token_weights(gate_dots, video["mask"], self.config.temperature)

    def pair_floats(self, text: Side, video: Side) -> float:
        """Dot products, weights and products of both with N floats each; the pooled vector where there is no Gram."""
        _, tokens, width = video["values"].shape
        return 4.0 * tokens + (0 if "gram" in video else 2 * width)


def _valid_tokens(tokens: Tokens, ignore_mask: bool = False) -> tuple[Tensor, Tensor]:
    """Values [B, N, D] as they come, zero where masked, and the mask [B, N]."""
    values, mask = tokens.flat().values, tokens.flat().mask
    if mask is None or ignore_mask:
        mask = values.new_ones(values.shape[:2], dtype=torch.bool)
    return values.masked_fill(~mask[:, :, None], 0), mask


def _dots(queries: Side, video: Side) -> tuple[Tensor, Tensor]:
    """What is divided by the temperature, and dot products with the unit query: [B, N, Q] each, one where they are."""
    gate_dots = dots = video.get("gate", video["values"]) @ queries["vector"]
    if "gate" in video:
        dots = video["values"] @ queries["vector"]
    return gate_dots * queries["length"] if "length" in queries else gate_dots, dots


def _gated_cosines(queries: Side, video: Side, temperatures: Sequence[float]) -> list[Tensor]:
    """For each temperature the cosines [B, Q] of queries, [D, Q] for all videos or [B, D, Q] of each."""
    gram = video.get("gram")
    if gram is None:
        return [_pooled_cosines(queries, video, temperature) for temperature in temperatures]
    gate_dots, dots = _dots(queries, video)
    fused = fused_cosines(gate_dots, dots, video["mask"], gram, temperatures)
    if fused is not None:
        return fused
    scores = []
    for temperature in temperatures:
        weights = token_weights(gate_dots, video["mask"], temperature)
        scores.append(_cosine((weights * dots).sum(1), (weights * (gram @ weights)).sum(1)))
    return scores


def _pooled_cosines(queries: Side, video: Side, temperature: float) -> Tensor:
    """The same by way of the pooled vectors [B, Q, D], from torch's attention: it reads the tokens once."""
    query = queries["vector"].transpose(-2, -1)
    asked = query * queries["length"].transpose(-2, -1) if "length" in queries else query
    values, mask = video["values"], video["mask"]
    mask = mask | ~mask.any(1, keepdim=True)  # tokens that are not valid are zero, and so is what is pooled of them
    pooled = F.scaled_dot_product_attention(
        asked.expand(len(values), 1, *asked.shape[-2:]) if asked.ndim == 2 else asked[:, None],
        video.get("gate", values)[:, None],
        values[:, None],
        attn_mask=mask[:, None, None],
        scale=1 / temperature,
    )[:, 0]
    return _cosine((pooled * query).sum(2), pooled.square().sum(2))


def _cosine(along: Tensor, square: Tensor) -> Tensor:
    return along * square.clamp_min(torch.finfo(square.dtype).eps ** 2).rsqrt()
