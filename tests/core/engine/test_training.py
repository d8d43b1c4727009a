import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from core import Levels, LevelShape, Loss, LossInputs, LossSettings, TextFeatures, VideoFeatures
from core.contract.settings import Spec
from core.engine.model import Model
from core.engine.training import Fitted, Pairs, TrainedModel, Trainee, fit, rate
from core.errors import RunError
from core.experiment.config import LogitScale, Train
from tests.engine import ToyLinear

PAIRS = 10


class Squared(Loss):
    """A loss with a buffer that remembers, as a queue does; `explode` makes it infinite at that step."""

    name = "squared"

    def __init__(self, explode: int | None = None):
        super().__init__(LossSettings(of={"linear": 1.0}))
        self.explode = explode
        self.register_buffer("seen", torch.zeros(()))
        self.steps: list[int] = []

    def forward(self, inputs: LossInputs) -> Tensor:
        self.steps.append(inputs.training_step)
        assert inputs.paired is not None
        target = torch.zeros_like(inputs.scores["linear"]).scatter(1, inputs.paired[:, None], 1.0)
        loss = (inputs.scores["linear"] - target).square().mean() + 0.01 * self.seen - 0.05 * inputs.logit_scale.log()
        return loss * (math.inf if inputs.training_step == self.explode else 1.0)

    def after_step(self) -> None:
        self.seen += 1


def model(toys: None, scale: LogitScale | None = None) -> Model:
    torch.manual_seed(0)
    shapes = {"sentence": LevelShape(None, 4), "frames": LevelShape(3, 4)}
    return Model({}, {"linear": Spec("toy_linear", ToyLinear.Config())}, shapes, scale or LogitScale())


def pairs(batches: list[list[int]] | None = None) -> Pairs:
    generator = torch.Generator().manual_seed(5)
    text = TextFeatures(sentence=torch.randn(PAIRS, 4, generator=generator))
    video = VideoFeatures(frames=torch.randn(PAIRS // 2, 3, 4, generator=generator))
    own = torch.arange(PAIRS) // 2

    def embed(texts: Tensor, videos: Tensor, draws: torch.Generator) -> tuple[TextFeatures, VideoFeatures]:
        if batches is not None:
            batches.append(texts.tolist())
        noise = torch.randn(len(texts), 4, generator=draws) * 0.01 + torch.randn(1) * 0.01
        return TextFeatures(sentence=text[texts].structured("sentence").values + noise), video[videos]

    relevance = csr_array((np.ones(PAIRS, bool), (np.arange(PAIRS), own.numpy())), shape=(PAIRS, PAIRS // 2))
    return Pairs(own, relevance, embed)


def settings(**changes: object) -> Train:
    return Train(**{"epochs": 4, "batch_size": 4, "learning_rate": 0.05, "keep": "last", **changes})  # type: ignore[arg-type]


def trained(trainee: Trainee, epochs: Train | None = None, seed: int = 0, **options: object) -> Fitted:
    return fit(trainee, epochs or settings(), seed, options.pop("validate", None), **options)  # type: ignore[arg-type]


def trainee(
    explode: int | None = None, encoder: nn.Module | None = None, batches: list[list[int]] | None = None
) -> TrainedModel:
    return TrainedModel(model(None), {"squared": Squared(explode)}, encoder, pairs(batches))


def same(one: Fitted, other: Fitted) -> bool:
    return all(torch.equal(one.state[name], other.state[name]) for name in one.state)


def test_training_lowers_the_loss(toys: None) -> None:
    losses = [record["loss"] for record in trained(trainee(), settings(epochs=10)).history]
    assert losses[-1] < 0.8 * losses[0]


def test_one_seed_gives_one_result_and_another_seed_another(toys: None) -> None:
    first = trained(trainee())
    torch.randn(7)
    assert same(first, trained(trainee()))
    assert not same(first, trained(trainee(), seed=1))


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_going_on_after_a_kill_gives_the_bits_of_an_undisturbed_run(
    toys: None, tmp_path: Path, killed_after: int
) -> None:
    values = [3.0, 9.0, 5.0, 9.0]
    whole = trained(trainee(), validate=iter(values).__next__)
    following = iter(values).__next__
    with pytest.raises(RunError):
        trained(trainee(explode=killed_after * 2), validate=following, resume=tmp_path / "resume.pt")
    resumed = trainee()
    again = trained(resumed, validate=following, resume=tmp_path / "resume.pt")
    assert same(whole, again)
    assert (again.best_epoch, len(again.history)) == (2, 4)
    assert resumed.losses["squared"].steps == list(range(killed_after * 2, 8))
    assert [r["loss"] for r in again.history] == [r["loss"] for r in whole.history]
    assert again.state["losses.squared.seen"] == whole.state["losses.squared.seen"]


def test_best_keeps_the_first_best_epoch_and_last_the_last(toys: None) -> None:
    values = iter([1.0, 5.0, 5.0, 2.0])
    best = trained(trainee(), validate=lambda: next(values))
    assert best.best_epoch == 2
    assert [record["validation"] for record in best.history] == [1.0, 5.0, 5.0, 2.0]
    assert best.state["losses.squared.seen"] == 4
    last = trained(trainee())
    assert last.best_epoch == 4
    assert last.state["losses.squared.seen"] == 8


def test_where_lower_is_better_the_lowest_is_kept(toys: None) -> None:
    values = iter([4.0, 5.0, 2.0, 3.0])
    assert trained(trainee(), validate=lambda: next(values), higher_is_better=False).best_epoch == 3


def test_validation_sees_the_model_in_evaluation_mode(toys: None) -> None:
    modes = []
    made = trainee()

    def validate() -> float:
        modes.append(made.model.training)
        return 0.0

    trained(made, settings(epochs=2), validate=validate)
    assert modes == [False, False]


def test_a_loss_that_is_not_finite_ends_the_run_with_epoch_step_and_parts(toys: None) -> None:
    with pytest.raises(RunError, match=r"train: .* epoch 2, step 1 \(squared -?inf\).*learning_rate"):
        trained(trainee(explode=2))


def test_batches_are_whole_drawn_without_repetition_and_new_in_each_epoch(toys: None) -> None:
    batches: list[list[int]] = []
    fit(trainee(batches=batches), settings(epochs=2), 0, None)
    assert [len(batch) for batch in batches] == [4] * 4
    first, second = batches[0] + batches[1], batches[2] + batches[3]
    assert len(set(first)) == len(set(second)) == 8
    assert first != second


def test_fewer_pairs_than_a_batch_are_one_batch(toys: None) -> None:
    batches: list[list[int]] = []
    fit(trainee(batches=batches), settings(epochs=1, batch_size=64), 0, None)
    assert [sorted(batch) for batch in batches] == [list(range(PAIRS))]


def test_other_captions_of_the_same_video_are_relevant_in_a_batch(toys: None) -> None:
    seen: list[Tensor] = []

    class Watching(Squared):
        def forward(self, inputs: LossInputs) -> Tensor:
            seen.append(inputs.relevance)
            return super().forward(inputs)

    batches: list[list[int]] = []
    made = TrainedModel(model(None), {"squared": Watching()}, None, pairs(batches))
    fit(made, settings(epochs=1, batch_size=PAIRS), 0, None)
    own = torch.tensor(batches[0]) // 2
    assert torch.equal(seen[0], own[:, None] == own[None, :])


def test_the_ids_of_a_batch_are_those_of_its_texts_and_of_their_videos(toys: None) -> None:
    made = trainee()
    made.pairs.text_ids = tuple(f"t{row}" for row in range(PAIRS))
    made.pairs.video_ids = tuple(f"v{row}" for row in range(PAIRS // 2))
    batch = made.batch(torch.tensor([7, 2, 3]), torch.Generator(), 0)
    assert (batch.text_ids, batch.video_ids) == (("t7", "t2", "t3"), ("v3", "v1", "v1"))


class Listed(Squared):
    """Remembers its values; counts `weight` times."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.config = LossSettings(of={"linear": 1.0}, weight=weight)
        self.values: list[float] = []

    def forward(self, inputs: LossInputs) -> Tensor:
        made = super().forward(inputs)
        self.values.append(made.item())
        return made


def test_each_loss_counts_by_its_weight_and_an_epochs_record_is_the_mean_over_its_batches(toys: None) -> None:
    losses = {"strong": Listed(2.0), "weak": Listed(0.25)}
    history = trained(TrainedModel(model(None), losses, None, pairs()), settings(epochs=2)).history
    for epoch, record in enumerate(history):
        strong, weak = (np.mean(loss.values[2 * epoch : 2 * epoch + 2]) for loss in losses.values())
        assert record["loss/strong"] == pytest.approx(strong)
        assert record["loss/weak"] == pytest.approx(weak)
        assert record["loss"] == pytest.approx(2 * strong + 0.25 * weak)


def test_a_gradient_is_clipped_to_the_norm_that_is_given(toys: None) -> None:
    """AdamW forgets a factor of all gradients unless they are far below its epsilon, 1e-6."""
    moved = {}
    for norm in (1e-9, 1.0):
        made = trainee()
        before = made.snapshot()
        after = trained(made, settings(clip_norm=norm, weight_decay=0.0)).state
        name = "model.interactions.linear.matrix.weight"
        moved[norm] = (after[name] - before[name]).abs().max().item()
    assert moved[1e-9] < 1e-3
    assert moved[1.0] > 0.05


def test_only_what_asks_for_gradients_changes(toys: None) -> None:
    encoder = nn.Linear(2, 2)
    encoder.weight.requires_grad_(False)
    made = trainee(encoder=encoder)
    before = made.snapshot()
    made.model.interaction("linear").matrix.bias.requires_grad_(False)  # type: ignore[union-attr]
    after = trained(made).state
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"model.log_scale", "model.interactions.linear.matrix.weight", "losses.squared.seen"}


def test_the_scale_stays_under_its_limit_and_can_leave_it_again(toys: None) -> None:
    rising = TrainedModel(model(None, LogitScale(100.0, 100.0)), {"squared": Squared()}, None, pairs())
    trained(rising)
    assert rising.model.logit_scale.item() == pytest.approx(100.0, rel=1e-5)
    scale = model(None, LogitScale(100.0, 100.0))
    scale.logit_scale.backward()
    assert scale.log_scale.grad is not None
    assert scale.log_scale.grad.item() == pytest.approx(100.0, rel=1e-5)


def test_weight_decay_shrinks_matrices_and_leaves_vectors_alone(toys: None) -> None:
    class Idle(Squared):
        def forward(self, inputs: LossInputs) -> Tensor:
            return 0 * super().forward(inputs)

    made = TrainedModel(model(None), {"idle": Idle()}, None, pairs())
    before = made.snapshot()
    after = trained(made, settings(weight_decay=0.5)).state
    matrix, bias = (f"model.interactions.linear.matrix.{name}" for name in ("weight", "bias"))
    shrunk = math.prod(1 - 0.05 * 0.5 * rate(step, 8, 0.1) for step in range(8))
    torch.testing.assert_close(after[matrix], before[matrix] * shrunk)
    assert torch.equal(after[bias], before[bias])


def test_a_trained_encoder_has_a_rate_of_its_own(toys: None) -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.offset = nn.Parameter(torch.zeros(1))

    encoder = Encoder()
    given = pairs()
    made = TrainedModel(model(None), {"squared": Squared()}, encoder, given)
    plain = given.embed

    def embed(texts: Tensor, videos: Tensor, draws: torch.Generator) -> tuple[TextFeatures, VideoFeatures]:
        text, video = plain(texts, videos, draws)
        return TextFeatures(sentence=text.structured("sentence").values + encoder.offset), video

    given.embed = embed
    fit(made, settings(epochs=1, batch_size=64, encoder_learning_rate=1e-3), 0, None)
    assert 0 < abs(encoder.offset.item()) <= 1.01e-3


def test_the_rate_rises_over_the_warmup_and_falls_as_a_cosine() -> None:
    rates = [rate(step, 100, 0.1) for step in range(101)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0)
    assert rate(0, 1, 0.0) == 1.0


def test_the_levels_of_a_model_are_those_its_interactions_read(toys: None) -> None:
    assert model(None).raw == Levels(("sentence",), ("frames",))
