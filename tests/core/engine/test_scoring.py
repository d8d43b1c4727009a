import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core import Interaction, Levels, Reranker, RerankerSettings, TextFeatures, Tokens, VideoFeatures, create, score
from core.engine.model import Model
from core.engine.scoring import (
    Sides,
    best_videos,
    blocks,
    candidates_of,
    diagnose_pairs,
    limit_memory,
    match_candidates,
    memory,
    nearest,
    pair_rows,
    rerank,
    score_candidates,
    score_settings,
    vectors_of,
)
from core.engine.scoring.candidates import _Block
from core.errors import ConfigError, RunError
from tests.engine import COUNTS, ToyDot, ToyListwise, ToyMatcher

TINY = (1, 7, 100, 10_000)
FORMS = (_Block.whole, _Block.one_by_one, _Block.in_lists)


def allow(monkeypatch: pytest.MonkeyPatch, floats: int) -> None:
    """Blocks of so many floats."""
    monkeypatch.setattr(memory, "_limit", 8 * floats)


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
    allow(monkeypatch, budget)
    text, video = features()
    configs = [ToyDot.Config(temperature=t) for t in (1.0, 0.5)]
    made = score_settings(Sides(ToyDot(configs[0], {}), text, video), configs)
    for matrix, temperature in zip(made, (1.0, 0.5), strict=True):
        torch.testing.assert_close(matrix, expected(text, video, temperature))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("budget", TINY)
def test_scores_of_candidates_are_those_of_all_pairs_at_their_places(
    monkeypatch: pytest.MonkeyPatch, budget: int, form: Any
) -> None:
    allow(monkeypatch, budget)
    monkeypatch.setattr(_Block, "scores", form)
    text, video = features()
    generator = torch.Generator().manual_seed(2)
    rows, columns = torch.randint(7, (30,), generator=generator), torch.randint(9, (30,), generator=generator)
    configs = [ToyDot.Config(temperature=t) for t in (1.0, 0.5)]
    made = score_candidates(Sides(ToyDot(configs[0], {}), text, video), configs, rows, columns)
    for vector, temperature in zip(made, (1.0, 0.5), strict=True):
        torch.testing.assert_close(vector, expected(text, video, temperature)[rows, columns])


def test_no_candidates_have_no_scores() -> None:
    text, video = features()
    none = torch.empty(0, dtype=torch.int64)
    config = ToyDot.Config()
    assert score_candidates(Sides(ToyDot(config, {}), text, video), [config], none, none)[0].shape == (0,)


def test_the_public_score_uses_the_evaluation_form_and_leaves_the_mode_as_it_was() -> None:
    class Dropping(ToyDot):
        def score(self, text: dict[str, Tensor], video: dict[str, Tensor]) -> Tensor:
            return torch.nn.functional.dropout(super().score(text, video), 0.5, self.training)

    text, video = features()
    interaction = Dropping(ToyDot.Config(), {})
    torch.testing.assert_close(score(interaction, text, video), expected(text, video))
    assert interaction.training


@pytest.mark.parametrize("form", FORMS)
def test_built_in_interactions_score_candidates_as_they_score_all_pairs(
    monkeypatch: pytest.MonkeyPatch, form: Any
) -> None:
    monkeypatch.setattr(_Block, "scores", form)
    text, video = features()
    every = torch.tensor(list(itertools.product(range(7), range(9))))
    rows, columns = every[torch.randperm(63, generator=torch.Generator().manual_seed(4))[:50]].T
    for interaction in (
        create("interaction", "mean_pooling"),
        create("interaction", "weighted_similarity"),
        create("interaction", "tib", temperature=0.1),
        create("interaction", "tib", unit_vectors=False, temperature=0.1),
    ):
        whole = score(interaction, text, video)
        made = score_candidates(Sides(interaction, text, video), [interaction.config], rows, columns)[0]
        torch.testing.assert_close(made, whole[rows, columns])


def test_the_form_follows_the_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cheap heads score blocks whole where candidates are dense, and in lists where they are few; dear ones a video at
    a time."""
    used: list[str] = []
    for form in FORMS:
        monkeypatch.setattr(_Block, form.__name__, lambda self, form=form: used.append(form.__name__) or form(self))
    generator = torch.Generator().manual_seed(0)

    def form_of(texts: int, videos: int, tokens: int, width: int, share: float) -> set[str]:
        used.clear()
        text = TextFeatures(sentence=torch.randn(texts, width, generator=generator))
        video = VideoFeatures(frames=torch.randn(videos, tokens, width, generator=generator))
        pairs = (torch.rand(texts, videos, generator=generator) < share).nonzero()
        interaction = create("interaction", "tib")
        score_candidates(Sides(interaction, text, video), [interaction.config], *pairs.T)
        return set(used)

    assert form_of(50, 60, 2, 16, 0.3) == {"whole"}
    assert form_of(200, 4000, 12, 64, 0.005) == {"in_lists"}
    assert form_of(200, 8, 400, 512, 0.05) == {"one_by_one"}


def test_each_video_is_read_once_and_only_if_it_has_a_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, 200)
    seen: list[float] = []

    class Watching(ToyDot):
        def video_side(self, video: VideoFeatures) -> dict[str, Tensor]:
            seen.extend(video.structured("frames").values[:, 0, 0].tolist())
            return super().video_side(video)

    text, video = features()
    rows, columns = torch.tensor([0, 1, 2, 3, 0, 1, 5]), torch.tensor([8, 2, 2, 8, 3, 3, 2])
    config = ToyDot.Config()
    score_candidates(Sides(Watching(config, {}), text, video), [config], rows, columns)
    assert seen == video.structured("frames").values[[2, 3, 8], 0, 0].tolist()


class Shifting(Model):
    """Adds one to every token, without any part of an experiment's model."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def text(self, features: TextFeatures) -> TextFeatures:
        return features.with_level("sentence", Tokens(features.structured("sentence").values + 1))

    def video(self, features: VideoFeatures) -> VideoFeatures:
        frames = features.structured("frames")
        return features.with_level("frames", Tokens(frames.values + 1, frames.mask))


@pytest.mark.parametrize("budget", TINY)
def test_whatever_is_scored_goes_through_the_transforms_of_the_model_first(
    monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    allow(monkeypatch, budget)
    text, video = features()
    wanted = expected(Shifting().text(text), Shifting().video(video))
    interaction = ToyDot(ToyDot.Config(), {})
    sides, configs = Sides(interaction, text, video, Shifting()), [interaction.config]
    torch.testing.assert_close(score_settings(sides, configs)[0], wanted)
    rows, columns = torch.tensor([0, 6, 3, 3]), torch.tensor([8, 2, 0, 7])
    torch.testing.assert_close(score_candidates(sides, configs, rows, columns)[0], wanted[rows, columns])
    found, places = best_videos(interaction, text, video, 3, model=Shifting())
    torch.testing.assert_close(found, wanted.gather(1, places))
    queries, gallery = vectors_of(sides)
    cosines = torch.stack([torch.cosine_similarity(query[None], gallery) for query in queries])
    torch.testing.assert_close(cosines, wanted)


@pytest.mark.parametrize("budget", TINY)
def test_what_is_measured_of_a_text_is_measured_with_its_own_video(
    monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    class Measuring(ToyDot):
        diagnostics = ("cosine",)

        def diagnose(self, text: dict[str, Tensor], video: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"cosine": torch.cosine_similarity(text["vector"], video["vector"])}

    allow(monkeypatch, budget)
    text, video = features()
    own = torch.tensor([3, 0, 8, 3, 1, 0, 3])
    found = diagnose_pairs(Sides(Measuring(ToyDot.Config(), {}), text, video), own)
    torch.testing.assert_close(found, {"cosine": expected(text, video)[torch.arange(7), own]})


@pytest.mark.parametrize("budget", TINY)
def test_a_trained_reranker_matches_each_pair_with_its_own_first_stage_score(
    monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    class Adding(ToyMatcher):
        def score_pairs(self, text: dict[str, Tensor], video: dict[str, Tensor], scores: Any) -> Tensor:
            return super().score_pairs(text, video, scores) + scores["first_stage"]

    allow(monkeypatch, budget)
    text, video = features()
    reranker = Adding(None, {})
    rows, columns = torch.tensor([5, 0, 6, 0, 2]), torch.tensor([4, 4, 8, 0, 1])
    first = torch.arange(5.0)
    found = match_candidates(Sides(reranker, text, video), rows, columns, {"first_stage": first})
    sentences, frames = text.structured("sentence").values, video.structured("frames").values
    for pair, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
        asked = reranker.matrix.weight @ sentences[row] + reranker.matrix.bias
        assert found[pair].item() == pytest.approx((asked @ frames[column].mean(0) + pair).item(), abs=1e-4)


@pytest.mark.parametrize("videos_ask", [False, True])
def test_pairs_of_candidates_stand_query_by_query_on_the_side_that_asks(videos_ask: bool) -> None:
    candidates = [[4, 0, 2], [1, 3, 0]]
    asking, asked = zip(*[(query, item) for query, row in enumerate(candidates) for item in row], strict=True)
    texts, videos = pair_rows(torch.tensor(candidates), videos_ask)
    assert (tuple(texts.tolist()), tuple(videos.tolist())) == ((asked, asking) if videos_ask else (asking, asked))


# ------------------------------------------------------------------------------------------------ memory


class Greedy(ToyDot):
    """As a GPU would, refuses more than some videos, or more than some pairs, at a time."""

    most_videos, most_pairs = 10**9, 10**9

    def video_side(self, video: VideoFeatures) -> dict[str, Tensor]:
        if len(video) > self.most_videos:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().video_side(video)

    def score(self, text: dict[str, Tensor], video: dict[str, Tensor]) -> Tensor:
        if len(text["vector"]) * len(video["vector"]) > self.most_pairs:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().score(text, video)


@pytest.mark.parametrize(("most_videos", "most_pairs"), [(2, 10**9), (1, 1), (10**9, 3), (5, 1)])
def test_where_memory_runs_out_blocks_are_halved_and_scores_stay(most_videos: int, most_pairs: int) -> None:
    text, video = features()
    greedy = Greedy(ToyDot.Config(), {})
    greedy.most_videos, greedy.most_pairs = most_videos, most_pairs
    torch.testing.assert_close(score(greedy, text, video), expected(text, video))
    every = torch.tensor(list(itertools.product(range(7), range(9)))).T
    made = score_candidates(Sides(greedy, text, video), [greedy.config], *every)[0]
    torch.testing.assert_close(made.view(7, 9), expected(text, video))


def test_where_one_pair_is_too_many_an_error_says_what_helps() -> None:
    greedy = Greedy(ToyDot.Config(), {})
    greedy.most_videos = 0
    with pytest.raises(RunError, match=r"score: the GPU has no memory left .* --device cpu"):
        score(greedy, *features())


def test_half_precision_features_are_scored_in_float32() -> None:
    text, video = features()
    config = ToyDot.Config()
    for dtype in (torch.float16, torch.bfloat16):
        halves = text.to(dtype=dtype), video.to(dtype=dtype)
        wanted = expected(*(side.to(dtype=torch.float32) for side in halves))
        made = score(ToyDot(config, {}), *halves)
        assert made.dtype == torch.float32
        torch.testing.assert_close(made, wanted)
        pairs = torch.arange(7), torch.arange(7)
        found = score_candidates(Sides(ToyDot(config, {}), *halves), [config], *pairs)[0]
        torch.testing.assert_close(found, wanted[pairs])


@pytest.mark.parametrize(
    ("given", "bytes_"),
    [("512MiB", 512 * 2**20), ("4GB", 4 * 2**30), ("2.5g", 5 * 2**29), ("100", 100), (" 1 k ", 1024)],
)
def test_sizes_of_memory_are_read_as_people_write_them(
    monkeypatch: pytest.MonkeyPatch, given: str, bytes_: int
) -> None:
    monkeypatch.setattr(memory, "_limit", None)
    limit_memory(given)
    assert memory.allowed_floats() == bytes_ // 4


@pytest.mark.parametrize("given", ["", "much", "-1GB", "0", "4XB", "1e9"])
def test_other_sizes_are_refused(given: str) -> None:
    with pytest.raises(ConfigError, match=r"--memory.*such as 512MiB"):
        limit_memory(given)


def test_without_a_limit_it_is_a_quarter_of_what_the_machine_or_its_container_has_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2500000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 500000\n")
    machine, container = memory._machine(tmp_path / "meminfo"), memory._container(tmp_path)
    assert (machine, container) == (4000 * 1024, 1_000_000)
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._container(tmp_path) is None
    assert memory._machine(tmp_path / "nothing") is None
    monkeypatch.setattr(memory, "_limit", None)
    monkeypatch.setattr(memory, "_machine", lambda: machine)
    monkeypatch.setattr(memory, "_container", lambda: container)
    memory._free_here.cache_clear()
    assert memory.allowed_floats() == 1_000_000 // 16
    memory._free_here.cache_clear()


# -------------------------------------------------------------------------------------------- best videos


@given(
    st.integers(1, 40), st.integers(1, 5), st.integers(1, 12), st.sampled_from(["float32", "float16", "bfloat16"]),
    st.sampled_from(TINY), st.sampled_from([None, 3.5]),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_nearest_finds_what_a_sort_of_all_products_finds(
    rows: int, queries: int, top_k: int, dtype: str, budget: int, longest: float | None
) -> None:
    generator = torch.Generator().manual_seed(rows)
    vectors = torch.randint(-2, 3, (rows, 3), generator=generator).to(getattr(torch, dtype))  # many ties
    asked = torch.randint(-2, 3, (queries, 3), generator=generator).float()
    with pytest.MonkeyPatch.context() as monkeypatch:
        allow(monkeypatch, budget)
        monkeypatch.setattr("core.engine.scoring.gallery.CACHED", {"cpu": 9, "cuda": 9})
        monkeypatch.setattr("core.engine.scoring.gallery.RUN", 8)
        scores, found = nearest(asked, vectors, top_k, longest=longest)
    products = (asked.double() @ vectors.double().T).tolist()
    wanted = [sorted(range(rows), key=lambda row, p=p: (-p[row], row))[:top_k] for p in products]
    assert found.tolist() == wanted
    assert scores.tolist() == [[p[row] for row in best] for p, best in zip(products, wanted, strict=True)]


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6])
def test_rough_products_of_float16_vectors_hide_none_of_the_best(spread: float) -> None:
    """Also where the products differ by less than float16 can tell apart."""
    generator = torch.Generator().manual_seed(0)
    query = torch.nn.functional.normalize(torch.randn(1, 512, generator=generator))
    vectors = torch.nn.functional.normalize(query + spread * torch.randn(5000, 512, generator=generator)).half()
    scores, rows = nearest(query, vectors, 20, longest=1.01)
    products = vectors.double() @ query[0].double()
    least = products.sort(descending=True).values[19]
    assert len(set(rows[0].tolist())) == 20
    assert (products[rows[0]] >= least - 1e-6).all()
    torch.testing.assert_close(scores[0].double(), products[rows[0]], rtol=0, atol=1e-6)


@pytest.mark.parametrize("budget", TINY)
def test_search_gives_the_best_of_the_whole_matrix(monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    allow(monkeypatch, budget)
    text, video = features()
    scores, rows = best_videos(ToyDot(ToyDot.Config(), {}), text, video, 4)
    wanted = expected(text, video).sort(dim=1, descending=True, stable=True)
    assert rows.tolist() == wanted.indices[:, :4].tolist()
    torch.testing.assert_close(scores, wanted.values[:, :4])


def test_blocks_are_sized_by_what_an_interaction_keeps_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    largest: list[int] = []

    class Hungry(ToyDot):
        def pair_floats(self, text: dict[str, Tensor], video: dict[str, Tensor]) -> float:
            return 1000.0

        def score(self, text: dict[str, Tensor], video: dict[str, Tensor]) -> Tensor:
            largest.append(len(text["vector"]) * len(video["vector"]))
            return super().score(text, video)

    allow(monkeypatch, 5000)
    text, video = features()
    rows = torch.zeros(40, dtype=torch.int64)
    config = ToyDot.Config()
    score_candidates(Sides(Hungry(config, {}), text, video), [config], rows, rows)
    assert max(largest) <= 5


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(1, 14), st.sampled_from(TINY))
@settings(deadline=None, max_examples=40)
def test_candidates_are_the_best_in_order_and_equals_stand_by_column(row: list[int], top_k: int, budget: int) -> None:
    scores = torch.tensor([row, row[::-1]], dtype=torch.float32)
    wanted = [sorted(range(len(row)), key=lambda c, r=r: (-r[c], c))[:top_k] for r in scores.tolist()]
    with pytest.MonkeyPatch.context() as monkeypatch:
        allow(monkeypatch, budget)
        assert candidates_of(scores, top_k).tolist() == wanted


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
    allow(monkeypatch, budget)
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
    allow(monkeypatch, budget)
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
