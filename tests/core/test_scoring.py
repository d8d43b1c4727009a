import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core import Interaction, Levels, Reranker, RerankerSettings, TextFeatures, VideoFeatures, create, score
from core import scoring as scoring_module
from core.scoring import blocks, candidates_of, rerank, score_candidates, score_settings
from tests.engine import COUNTS, ToyDot, ToyListwise

TINY = (1, 7, 100, 10_000)


def features(texts: int = 7, videos: int = 9) -> tuple[TextFeatures, VideoFeatures]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.rand(videos, 3, generator=generator) > 0.3
    mask[:, 0] = True
    frames = torch.randn(videos, 3, 4, generator=generator)
    text = TextFeatures(sentence=torch.randn(texts, 4, generator=generator), ids=[f"t{row}" for row in range(texts)])
    return text, VideoFeatures(frames=frames, frame_mask=mask, ids=[f"v{row}" for row in range(videos)])


def expected(text: TextFeatures, video: VideoFeatures, temperature: float = 1.0) -> Tensor:
    """Cosine with the mean of valid frames, a pair at a time."""
    frames = video.structured("frames")
    assert frames.mask is not None
    rows = []
    for sentence in text.structured("sentence").values:
        pooled = [values[mask].mean(0) for values, mask in zip(frames.values, frames.mask, strict=True)]
        rows.append(torch.stack([torch.cosine_similarity(sentence, vector, dim=0) for vector in pooled]))
    return torch.stack(rows) / temperature


@pytest.mark.parametrize("budget", TINY)
def test_scores_do_not_depend_on_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    monkeypatch.setattr(scoring_module, "BUDGET_FLOATS", budget)
    text, video = features()
    configs = [ToyDot.Config(temperature=t) for t in (1.0, 0.5)]
    made = score_settings(ToyDot(configs[0], {}), configs, text, video)
    for matrix, temperature in zip(made, (1.0, 0.5), strict=True):
        torch.testing.assert_close(matrix, expected(text, video, temperature))


@pytest.mark.parametrize("grouping", [0, 10**9], ids=["by video", "gathered"])
@pytest.mark.parametrize("budget", TINY)
def test_scores_of_candidates_are_those_of_all_pairs_at_their_places(
    monkeypatch: pytest.MonkeyPatch, budget: int, grouping: int
) -> None:
    monkeypatch.setattr(scoring_module, "BUDGET_FLOATS", budget)
    monkeypatch.setattr(scoring_module, "GROUPING", grouping)
    text, video = features()
    generator = torch.Generator().manual_seed(2)
    rows, columns = torch.randint(7, (30,), generator=generator), torch.randint(9, (30,), generator=generator)
    configs = [ToyDot.Config(temperature=t) for t in (1.0, 0.5)]
    made = score_candidates(ToyDot(configs[0], {}), configs, text, video, rows, columns)
    for vector, temperature in zip(made, (1.0, 0.5), strict=True):
        torch.testing.assert_close(vector, expected(text, video, temperature)[rows, columns])


def test_no_candidates_have_no_scores() -> None:
    text, video = features()
    none = torch.empty(0, dtype=torch.int64)
    config = ToyDot.Config()
    assert score_candidates(ToyDot(config, {}), [config], text, video, none, none)[0].shape == (0,)


def test_the_public_score_uses_the_evaluation_form_and_leaves_the_mode_as_it_was() -> None:
    class Dropping(ToyDot):
        def score(self, text: dict[str, Tensor], video: dict[str, Tensor]) -> Tensor:
            return torch.nn.functional.dropout(super().score(text, video), 0.5, self.training)

    text, video = features()
    interaction = Dropping(ToyDot.Config(), {})
    torch.testing.assert_close(score(interaction, text, video), expected(text, video))
    assert interaction.training


def test_built_in_interactions_score_candidates_as_they_score_all_pairs() -> None:
    text, video = features()
    rows, columns = (torch.tensor(r) for r in zip(*itertools.product(range(7), range(9)), strict=True))
    for interaction in (create("interaction", "mean_pooling"), create("interaction", "tib", temperature=0.1)):
        whole = score(interaction, text, video)
        made = score_candidates(interaction, [interaction.config], text, video, rows, columns)[0]
        torch.testing.assert_close(made.reshape(7, 9), whole)


def test_blocks_are_sized_by_what_an_interaction_keeps_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    largest: list[int] = []

    class Hungry(ToyDot):
        def pair_floats(self, text: dict[str, Tensor], video: dict[str, Tensor]) -> float:
            return 1000.0

        def score_pairs(self, text: dict[str, Tensor], video: dict[str, Tensor]) -> Tensor:
            largest.append(len(text["vector"]))
            return super().score_pairs(text, video)

    monkeypatch.setattr(scoring_module, "BUDGET_FLOATS", 5000)
    text, video = features()
    rows = torch.zeros(40, dtype=torch.int64)
    config = ToyDot.Config()
    score_candidates(Hungry(config, {}), [config], text, video, rows, rows)
    assert max(largest) <= 5


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(1, 14), st.sampled_from(TINY))
@settings(deadline=None, max_examples=40)
def test_candidates_are_the_best_in_order_and_equals_stand_by_column(row: list[int], top_k: int, budget: int) -> None:
    scores = torch.tensor([row, row[::-1]], dtype=torch.float32)
    wanted = [sorted(range(len(row)), key=lambda c, r=r: (-r[c], c))[:top_k] for r in scores.tolist()]
    before = scoring_module.BUDGET_FLOATS
    try:
        scoring_module.BUDGET_FLOATS = budget
        assert candidates_of(scores, top_k).tolist() == wanted
    finally:
        scoring_module.BUDGET_FLOATS = before


class Distance(Reranker):
    """Minus the distance of the sentence from the first frame, plus the first stage."""

    name = "toy_distance"
    Config = RerankerSettings

    @classmethod
    def reads(cls, config: object) -> Levels:
        return Levels(("sentence",), ("frames",))

    def forward(self, text: TextFeatures, video: VideoFeatures, scores: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        COUNTS["reranked"] += len(text)
        gap = text.structured("sentence").values - video.structured("frames").values[:, 0]
        return scores["first_stage"] - gap.norm(dim=-1)


@pytest.mark.parametrize("budget", TINY)
@pytest.mark.parametrize("videos_ask", [False, True])
def test_rerank_gives_each_candidate_of_either_direction_the_score_of_its_own_pair(
    monkeypatch: pytest.MonkeyPatch, budget: int, videos_ask: bool
) -> None:
    monkeypatch.setattr(scoring_module, "BUDGET_FLOATS", budget)
    text, video = features()
    queries, gallery = (9, 7) if videos_ask else (7, 9)
    first = torch.randn(queries, gallery, generator=torch.Generator().manual_seed(3))
    chosen = candidates_of(first, 4)
    made = rerank(
        Distance(RerankerSettings(), {}), text, video, chosen, {"first_stage": first.gather(1, chosen)}, videos_ask
    )
    for query in range(queries):
        for place, item in enumerate(chosen[query].tolist()):
            t, v = (item, query) if videos_ask else (query, item)
            gap = text.structured("sentence").values[t] - video.structured("frames").values[v, 0]
            assert made[query, place].item() == pytest.approx((first[query, item] - gap.norm()).item(), abs=1e-5)


@pytest.mark.parametrize("budget", TINY)
def test_a_listwise_reranker_sees_one_querys_whole_list(monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    monkeypatch.setattr(scoring_module, "BUDGET_FLOATS", budget)
    text, video = features()
    first = torch.randn(7, 5, generator=torch.Generator().manual_seed(3))
    chosen = torch.arange(5).expand(7, 5)
    made = rerank(ToyListwise(ToyListwise.Config(), {}), text, video, chosen, {"first_stage": first})
    torch.testing.assert_close(made, first - first.mean(1, keepdim=True))


@given(st.integers(0, 20), st.integers(-1, 25))
def test_blocks_cover_everything_once(total: int, size: int) -> None:
    covered = [row for block in blocks(total, size) for row in range(block.start, block.stop)]
    assert covered == list(range(total))


def test_default_pair_scores_come_from_the_matrix() -> None:
    text, video = features(9, 9)
    interaction: Interaction = ToyDot(ToyDot.Config(), {})
    pairs = interaction.score_pairs(interaction.text_side(text), interaction.video_side(video))
    torch.testing.assert_close(pairs, expected(text, video).diagonal())
