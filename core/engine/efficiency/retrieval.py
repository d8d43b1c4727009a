"""What a variant's retrieval costs, with each video's side made beforehand. Q queries, N videos, K candidates."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from ...contract.components import Interaction, Levels, Reranker, TrainedReranker
from ...contract.features import TextFeatures, VideoFeatures
from ..model import Model
from ..scoring import Sides, candidates_of, match_candidates, pair_rows, rerank, score_candidates, score_settings
from ..scoring.blocks import loaded
from .measuring import TensorBytes, call_times, multiply_adds
from .prepared import Prepared, PreparedReranker, TextSide, VideoSide

RERANKER = ""
"""The reranker's place among interactions: none of them can have this name."""


@dataclass(frozen=True)
class Retrieval:
    """How a query finds videos, given the gallery's sides; all its modules are in evaluation mode on `device`.

    model: with the interactions that are used, each with its configuration after training. first_stage: those that
    score the whole gallery; mixed: their scores [Q, N] -> [Q, N]. top_k: candidates, or answers where nothing is
    re-ranked. gallery: what is kept of the N videos for each interaction and, under RERANKER, for the reranker: its
    side, or where it is not trained the levels that it reads.
    """

    model: Model
    first_stage: Sequence[str]
    mixed: Callable[[Sequence[Tensor]], Tensor]
    reranker: Reranker | None
    top_k: int
    device: torch.device
    gallery: Mapping[str, VideoFeatures] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Of feature transforms, interactions and reranker; the encoder and the losses' scale are not among them."""
        return sum(parameter.numel() for parameter in self._modules.parameters())

    @property
    def side_bytes(self) -> int:
        """Of what is kept of one video."""
        tensors = [tensor for features in self.gallery.values() for tensor in _tensors(features)]
        return sum(tensor[:1].numel() * tensor.element_size() for tensor in tensors)

    @property
    def _modules(self) -> nn.ModuleList:
        """Feature transforms, interactions, reranker."""
        return nn.ModuleList([*self.model.parts(), *([] if self.reranker is None else [self.reranker])])

    @torch.inference_mode()
    def offline(self, video: VideoFeatures) -> dict[str, VideoFeatures]:
        """The sides of some videos, from the encoder's features of them."""
        video = loaded(video, self.device)
        levels = self.model.video(video)
        sides = {name: self.model.interaction(name).video_side(levels) for name in self.model.interactions}
        if isinstance(self.reranker, TrainedReranker):
            sides[RERANKER] = self.reranker.video_side(video.only(self._read.video))
        return {name: VideoSide.made(side, len(video)) for name, side in sides.items()}

    @property
    def _read(self) -> Levels:
        """Levels that the reranker reads."""
        return Levels() if self.reranker is None else type(self.reranker).reads(self.reranker.config)

    def over(self, video: VideoFeatures, sides: Mapping[str, VideoFeatures] | None = None) -> Retrieval:
        """The same with a gallery; `sides` are those of all the videos, made here where they are not given."""
        raw = {} if isinstance(self.reranker, TrainedReranker) else {RERANKER: video.only(self._read.video)}
        return replace(self, gallery={**raw, **(sides or self.offline(video))})

    @torch.inference_mode()
    def search(self, text: TextFeatures) -> tuple[Tensor, Tensor]:
        """(scores [Q, K], rows of videos [Q, K]), best first, of texts as the encoder gave them."""
        levels = self.model.text(loaded(text, self.device))
        sides = {name: self._sides(name, levels) for name in self.model.interactions}
        matrix = self.mixed([score_settings(sides[name], [sides[name].part.config])[0] for name in self.first_stage])
        chosen = candidates_of(matrix, self.top_k)
        scores = matrix.gather(1, chosen).float()
        if self.reranker is not None:
            scores = self._reranked(text, sides, chosen, scores)
        best = scores.argsort(dim=1, descending=True, stable=True)
        return scores.gather(1, best), chosen.gather(1, best)

    def _sides(self, name: str, levels: TextFeatures) -> Sides[Interaction]:
        """One interaction's side of some texts, beside the gallery's."""
        interaction = self.model.interaction(name)
        text = TextSide.made(interaction.text_side(levels), len(levels))
        return Sides(Prepared(interaction), text, self.gallery[name], device=self.device)

    def _reranked(
        self, text: TextFeatures, sides: Mapping[str, Sides[Interaction]], chosen: Tensor, first: Tensor
    ) -> Tensor:
        """New scores [Q, K] of the candidates [Q, K]."""
        reranker, gallery = self.reranker, self.gallery[RERANKER]
        assert reranker is not None
        scores, pairs = {"first_stage": first}, pair_rows(chosen)
        for name in type(reranker).interactions(reranker.config):
            if name != "first_stage":
                scored = score_candidates(sides[name], [sides[name].part.config], *pairs)
                scores[name] = scored[0].view_as(chosen)
        if not isinstance(reranker, TrainedReranker):
            return rerank(reranker, text, gallery, chosen, scores)
        side = reranker.text_side(loaded(text.only(self._read.text), self.device))
        asked = TextSide.made(side, len(text))
        reranker_sides = Sides(PreparedReranker(reranker), asked, gallery, device=self.device)
        matching = match_candidates(reranker_sides, *pairs, {"first_stage": first.reshape(-1)})
        return reranker.fuse(matching.view_as(chosen), scores)

    def tensors(self) -> Iterator[Tensor]:
        """What it holds while nobody asks: of the gallery and of its modules."""
        for features in self.gallery.values():
            yield from _tensors(features)
        yield from self._modules.parameters()
        yield from self._modules.buffers()

    def on_cpu(self) -> Retrieval:
        """The same on the CPU, where every product is counted, whatever kernels a plugin brings for a GPU."""
        if self.device.type == "cpu":
            return self
        model, reranker = copy.deepcopy(self.model).cpu(), copy.deepcopy(self.reranker)
        gallery = {name: features.to("cpu") for name, features in self.gallery.items()}
        reranker = reranker if reranker is None else reranker.cpu()
        return replace(self, model=model, reranker=reranker, gallery=gallery, device=torch.device("cpu"))


def _tensors(features: TextFeatures | VideoFeatures) -> Iterator[Tensor]:
    for tokens in map(features.structured, features.names):
        yield from (tensor for tensor in (tokens.values, tokens.mask) if tensor is not None)


def retrieval_costs(
    retrieval: Retrieval, text: TextFeatures, video: VideoFeatures, batch: int = 100
) -> dict[str, float]:
    """Costs by name, of texts [Q] that ask the retrieval's gallery; both sides as the encoder gave them.

    video: the gallery, of which the first one's side is counted. Up to `batch` texts are asked at a time, and alone.
    Latency and throughput are of the clock; peak bytes: the gallery's, and of tensors that are alive beside it while
    a batch is asked.
    """
    asked = text[: min(batch, len(text))]
    alone = [partial(retrieval.search, asked[row : row + 1]) for row in range(len(asked))]
    together = partial(retrieval.search, asked)
    counted = retrieval.on_cpu()
    offline, _ = multiply_adds(partial(counted.offline, video[:1]))
    online, _ = multiply_adds(partial(counted.search, asked[:1]))
    latencies, rounds = call_times(alone, at_least=20, warm_up=3), call_times([together], at_least=3, warm_up=1)
    with TensorBytes([*_tensors(asked), *retrieval.tensors()]) as memory:
        together()
    return {
        "cost/parameters": retrieval.parameters,
        "cost/side_bytes": retrieval.side_bytes,
        "cost/offline_multiply_adds": offline,
        "cost/online_multiply_adds": online,
        "cost/latency_ms": 1e3 * float(np.median(latencies)),
        "cost/latency_p95_ms": 1e3 * float(np.percentile(latencies, 95)),
        "cost/throughput": len(asked) / float(np.median(rounds)),
        "cost/peak_bytes": len(video) * retrieval.side_bytes + memory.peak,
    }
