"""The training loop: pairs in batches, losses, AdamW, one validation an epoch; resumable to the same bits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from ..contract.components import Loss, LossInputs
from ..contract.features import TextFeatures, VideoFeatures
from ..contract.optimisation import Optimisation
from ..contract.terminal import duration, log, progress
from ..errors import RunError
from .efficiency import memory_growth
from .model import Model
from .resuming import load_resumed, save_resumed

Embed = Callable[[Tensor, Tensor, torch.Generator], tuple[TextFeatures, VideoFeatures]]


@dataclass
class Pairs:
    """Training pairs: text row i belongs to video row own[i]; relevance [B_t, B_v] sparse bool.

    embed(text rows, video rows, generator): encoder's features of a batch on the device, differentiable where the
    encoder is trained.
    """

    own: Tensor
    relevance: csr_array
    embed: Embed
    text_ids: tuple[str, ...] = ()
    video_ids: tuple[str, ...] = ()


@dataclass
class Fitted:
    """Weights by name, and one record an epoch: loss, each part, validation metric, seconds.

    peak_bytes: memory at its peak, since it was last resumed: weights, gradients, the optimiser's state and batches;
    None where the system does not tell.
    """

    state: dict[str, Tensor]
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    peak_bytes: int | None = None


class Trainee(nn.Module):
    """All that one fit changes; `losses` are among it."""

    def __init__(self, losses: Mapping[str, Loss]):
        super().__init__()
        self.losses = nn.ModuleDict(losses)
        self.encoder: nn.Module | None = None

    def __len__(self) -> int:
        """Training pairs."""
        raise NotImplementedError

    def batch(self, rows: Tensor, generator: torch.Generator, step: int) -> LossInputs:
        """Everything that the losses see of some training pairs, by index; `step` counts from 0 over all epochs."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where it is trained."""
        return next(self.parameters()).device

    def after_step(self) -> None:
        """Called after each optimiser step."""

    def facts(self) -> dict[str, float]:
        """What an epoch's record says besides its losses."""
        return {}

    def snapshot(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self.state_dict().items()}


class TrainedModel(Trainee):
    """The model, its losses and, where it is trainable, the encoder; batches of N pairs."""

    def __init__(self, model: Model, losses: Mapping[str, Loss], encoder: nn.Module | None, pairs: Pairs):
        super().__init__(losses)
        self.model, self.encoder, self.pairs = model, encoder, pairs

    def __len__(self) -> int:
        return len(self.pairs.own)

    def batch(self, rows: Tensor, generator: torch.Generator, step: int) -> LossInputs:
        pairs, model = self.pairs, self.model
        columns = pairs.own[rows]
        text, video = pairs.embed(rows, columns, generator)
        text, video = model.text(text), model.video(video)
        scores, auxiliary = {}, {}
        for name in model.interactions:
            interaction = model.interaction(name)
            sides = interaction.text_side(text), interaction.video_side(video)
            scores[name], auxiliary[name] = interaction.match(*sides)
        relevance = pairs.relevance[rows.numpy()][:, columns.numpy()].toarray()
        device = model.log_scale.device
        return LossInputs(
            scores=scores,
            relevance=torch.from_numpy(np.asarray(relevance, dtype=bool)).to(device),
            auxiliary=auxiliary,
            logit_scale=model.logit_scale,
            paired=torch.arange(len(rows), device=device),
            text_ids=tuple(pairs.text_ids[row] for row in rows.tolist()) if pairs.text_ids else (),
            video_ids=tuple(pairs.video_ids[row] for row in columns.tolist()) if pairs.video_ids else (),
            training_step=step,
        )

    def after_step(self) -> None:
        self.model.limit_scale()

    def facts(self) -> dict[str, float]:
        return {"logit_scale": self.model.logit_scale.item()}


def fit(
    trainee: Trainee,
    settings: Optimisation,
    seed: int,
    validate: Callable[[], float] | None,
    higher_is_better: bool = True,
    resume: Path | None = None,
    label: str = "train",
) -> Fitted:
    """Train in place and return the weights kept.

    Each epoch's random numbers come from (seed, epoch) alone. `resume` is a file that holds the state after the last
    whole epoch; where it exists training goes on from there, to the same bits as without the stop.
    Raises RunError where the loss is not finite.
    """
    optimiser = torch.optim.AdamW(_groups(trainee, settings), betas=(0.9, 0.98), eps=1e-6)
    steps = max(1, len(trainee) // settings.batch_size)
    total = steps * settings.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate(step, total, settings.warmup))
    fitted, best, start = Fitted({}), -math.inf, 0
    kept = None if resume is None else load_resumed(resume)
    if kept is not None:
        trainee.load_state_dict(kept["trainee"])
        optimiser.load_state_dict(kept["optimiser"])
        schedule.load_state_dict(kept["schedule"])
        fitted = Fitted(kept["state"], kept["history"], kept["best_epoch"])
        best, start = kept["best"], kept["epoch"]
    for epoch in range(start, settings.epochs):
        began = time.monotonic()
        held = _held(trainee, optimiser)
        with memory_growth(trainee.device) as memory:
            record = _epoch(trainee, settings, optimiser, schedule, seed, epoch, label)
        if memory.peak is not None:
            fitted.peak_bytes = max(fitted.peak_bytes or 0, held + memory.peak)
        if validate is not None:
            trainee.eval()
            record["validation"] = validate()
            value = record["validation"] if higher_is_better else -record["validation"]
            if value > best:
                best, fitted.state, fitted.best_epoch = value, trainee.snapshot(), epoch + 1
        elif epoch + 1 == settings.epochs:
            fitted.state, fitted.best_epoch = trainee.snapshot(), epoch + 1
        record["seconds"] = round(time.monotonic() - began, 3)
        fitted.history.append(record)
        log(f"{label}: epoch {epoch + 1} of {settings.epochs}, {_in_words(record)}")
        if resume is not None:
            state: dict[str, Any] = {"trainee": trainee.state_dict(), "optimiser": optimiser.state_dict()}
            state |= {"schedule": schedule.state_dict(), "state": fitted.state, "history": fitted.history}
            state |= {"best_epoch": fitted.best_epoch, "best": best, "epoch": epoch + 1}
            save_resumed(resume, state)
    return fitted


def _in_words(record: Mapping[str, float]) -> str:
    """`loss 2.31, validation 41.2, 4 s`"""
    numbers = [f"{name} {record[name]:.4g}" for name in ("loss", "validation") if name in record]
    return ", ".join([*numbers, duration(record["seconds"])])


def _held(trainee: Trainee, optimiser: torch.optim.Optimizer) -> int:
    """Bytes of weights, gradients and the optimiser's state."""
    weights = list(trainee.parameters())
    tensors = [*weights, *(weight.grad for weight in weights if weight.grad is not None)]
    tensors += [value for state in optimiser.state.values() for value in state.values() if isinstance(value, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _groups(trainee: Trainee, settings: Optimisation) -> list[dict[str, Any]]:
    """Parameter groups: matrices decay, vectors and scalars do not; the encoder may have a rate of its own."""
    encoder = {id(parameter) for parameter in trainee.encoder.parameters()} if trainee.encoder else set()
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for parameter in trainee.parameters():
        if parameter.requires_grad:
            groups.setdefault((id(parameter) in encoder, parameter.ndim > 1), []).append(parameter)
    encoder_rate = getattr(settings, "encoder_learning_rate", None) or settings.learning_rate
    return [
        {
            "params": parameters,
            "lr": encoder_rate if of_encoder else settings.learning_rate,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (of_encoder, decays), parameters in groups.items()
    ]


def rate(step: int, total: int, warmup: float) -> float:
    """Factor of the learning rate: linear rise over `warmup` of the steps, then half a cosine to zero."""
    rising = max(1, round(warmup * total))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


def _epoch(
    trainee: Trainee,
    settings: Optimisation,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    seed: int,
    epoch: int,
    label: str,
) -> dict[str, float]:
    trainee.train()
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    torch.manual_seed(seed * 1_000_003 + epoch)
    sums: dict[str, float] = {}
    batches = list(_batches(len(trainee), settings.batch_size, generator))
    for step, rows in enumerate(progress(batches, f"{label}: epoch {epoch + 1} of {settings.epochs}")):
        inputs = trainee.batch(rows, generator, epoch * len(batches) + step)
        parts = {name: loss(inputs) for name, loss in trainee.losses.items()}
        total = torch.stack([trainee.losses[name].config.weight * part for name, part in parts.items()]).sum()  # type: ignore[union-attr]
        if not torch.isfinite(total):
            values = ", ".join(f"{name} {part.item():g}" for name, part in parts.items())
            raise RunError(
                f"{label}: the loss is not finite in epoch {epoch + 1}, step {step + 1} ({values}); "
                "lower train.learning_rate"
            )
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(trainee.parameters(), settings.clip_norm)
        optimiser.step()
        schedule.step()
        trainee.after_step()
        for loss in trainee.losses.values():
            loss.after_step()  # type: ignore[operator]
        for name, part in {"loss": total, **{f"loss/{name}": part for name, part in parts.items()}}.items():
            sums[name] = sums.get(name, 0.0) + part.item()
    means = {name: value / len(batches) for name, value in sums.items()}
    return {"epoch": epoch + 1, **means, **trainee.facts()}


def _batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    order = torch.randperm(count, generator=generator)
    whole = count // size * size or count
    yield from order[:whole].split(size)
