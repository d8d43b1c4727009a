"""What to say of a key that a file does not have: other programs call it otherwise, keep it elsewhere, or let it be
chosen where it is fixed here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..errors import nearest
from .keys import join

TEMPERATURE = ("model.interactions.<name>.temperature",)

SYNONYMS: dict[str, tuple[str, ...]] = {
    "alpha": ("retrieve.rerank.alpha", "model.losses.<name>.weight"),
    "backbone": ("encoder.model",),
    "batch": ("train.batch_size",),
    "batchsize": ("train.batch_size",),
    "bs": ("train.batch_size",),
    "captions": ("data.dataset.path",),
    "checkpoint": ("encoder.model",),
    "ckpt": ("encoder.model",),
    "clip_grad": ("train.clip_norm",),
    "dataset": ("data.dataset",),
    "encoder.learning_rate": ("train.encoder_learning_rate",),
    "encoder.lr": ("train.encoder_learning_rate",),
    "encoder.weights": ("encoder.model",),
    "encoder_lr": ("train.encoder_learning_rate",),
    "epoch": ("train.epochs",),
    "eval": ("evaluate",),
    "evaluation": ("evaluate",),
    "frames": ("data.num_frames",),
    "grad_clip": ("train.clip_norm",),
    "grid": ("ablate",),
    "index": ("retrieve.index",),
    "interaction": ("model.interactions",),
    "k": ("retrieve.rerank.top_k", "model.transforms.<name>.keep"),
    "lambda": ("model.losses.<name>.weight", "retrieve.rerank.alpha"),
    "logit_scale": ("model.logit_scale",),
    "loss": ("model.losses",),
    "loss_weight": ("model.losses.<name>.weight",),
    "lr": ("train.learning_rate",),
    "margin": ("hypotheses.<name>.margin", "model.losses.<name>.margin"),
    "max_epochs": ("train.epochs",),
    "max_frames": ("data.num_frames",),
    "max_grad_norm": ("train.clip_norm",),
    "metric": ("evaluate.primary", "evaluate.metrics"),
    "mlflow": ("outputs.mlflow",),
    "n_epochs": ("train.epochs",),
    "n_frames": ("data.num_frames",),
    "nframes": ("data.num_frames",),
    "num_epochs": ("train.epochs",),
    "num_frames": ("data.num_frames", "train.num_frames"),
    "post_processing": ("retrieve.transforms",),
    "rerank": ("retrieve.rerank",),
    "reranker": ("retrieve.rerank",),
    "retrieval": ("retrieve",),
    "sampling": ("data.sampler", "train.sampler"),
    "score_transforms": ("retrieve.transforms",),
    "seed": ("seeds",),
    "select_best": ("train.keep",),
    "sweep": ("ablate",),
    "tau": TEMPERATURE,
    "temp": TEMPERATURE,
    "temperature": TEMPERATURE,
    "top_k": ("retrieve.rerank.top_k",),
    "topk": ("retrieve.rerank.top_k", "model.transforms.<name>.keep"),
    "training": ("train",),
    "warmup_proportion": ("train.warmup",),
    "warmup_ratio": ("train.warmup",),
    "wd": ("train.weight_decay",),
}
"""{what others call a key, or a full key: the full keys that it has here}; `<name>` stands for a name of one's own."""

OPTION = "it is no part of an experiment; the command has it: `{}`"
ADAMW = "the optimiser is always AdamW; `train.learning_rate`, `train.weight_decay` and `train.clip_norm` set it"
SCHEDULE = "the schedule is always a linear warm-up and then a cosine to zero; `train.warmup` sets the warm-up's share"
WARMUP = "the warm-up is a share of all steps, `train.warmup`"
KEPT = "all `train.epochs` are run, and `train.keep` says whether the best or the last is kept"

ABSENT: dict[str, str] = {
    "amp": "training computes in float32; what is stored of an encoder has `encoder.stored`",
    "betas": f"AdamW's betas are always 0.9 and 0.98; {ADAMW}",
    "device": OPTION.format("--device"),
    "early_stopping": KEPT,
    "evaluate.k": "recalls are named one by one: `evaluate.metrics`",
    "evaluate.topk": "recalls are named one by one: `evaluate.metrics`",
    "fp16": "training computes in float32; what is stored of an encoder has `encoder.stored`",
    "lr_scheduler": SCHEDULE,
    "model.encoder": "the encoder is a section of its own, `encoder`",
    "model.logit_scale.temperature": "the scale is one over a temperature, `model.logit_scale.init` at the start",
    "model.model": "the weights are those of the encoder, `encoder.model`",
    "model.name": "a model is put together under `model.interactions`; the encoder is named by `encoder.name`, its "
    "weights by `encoder.model`",
    "num_workers": OPTION.format("--workers"),
    "optim": ADAMW,
    "optimizer": ADAMW,
    "optimiser": ADAMW,
    "out": OPTION.format("--runs"),
    "output_dir": OPTION.format("--runs"),
    "patience": KEPT,
    "pretrained": "the weights are those that `encoder.model` names",
    "save_dir": OPTION.format("--runs"),
    "schedule": SCHEDULE,
    "scheduler": SCHEDULE,
    "store": OPTION.format("--store"),
    "warmup_epochs": WARMUP,
    "warmup_steps": WARMUP,
    "workers": OPTION.format("--workers"),
}
"""{what others call a key, or a full key: why there is none, and what there is instead}"""


def unknown_key(name: str, above: str, here: Sequence[str], everywhere: Sequence[str] | None) -> str:
    """What is wrong with the key `name` under the key `above`: that there is none, and which one is meant.

    here: the full keys that there are under `above`, at any depth; everywhere: those of a whole file, without the
    fields of its components; None where there is no file.
    """
    word = name.lower().replace("-", "_")
    in_file = everywhere is not None
    if in_file and (reason := ABSENT.get(join(above, word)) or ABSENT.get(word)):
        return f"there is no such key; {reason}"
    meant = SYNONYMS.get(join(above, word)) or SYNONYMS.get(word) or ()
    in_component = in_file and not set(here) <= set(everywhere or ())
    names = [_last(target) for target in meant] or [word]
    places = [key for key in (join(above, last) for last in names) if key in here and (above or not meant)]
    if not places and in_component:
        places = [key for key in here if _last(key) in names]
    if not places and in_file and not any(_is_beside(target, above) for target in meant):
        places = list(meant)
        if not meant and not in_component:
            places = [key for key in everywhere or () if _last(key) == word]
    if places:
        return f"unknown key; here it is {' or '.join(map(_placed, places))}"
    return f"unknown key.{nearest(name, _fields(here, above))}"


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _placed(key: str) -> str:
    return f"`{key}`" if "." in key else f"`{key}`, at the top"


def _is_beside(target: str, above: str) -> bool:
    """Whether a key that stands under `above` is meant, where the component there has none."""
    parent = re.escape(target.rpartition(".")[0]).replace("<name>", r"[^.]+")
    return bool(parent) and re.fullmatch(parent, above) is not None


def _fields(keys: Iterable[str], above: str) -> list[str]:
    """The fields that stand under a key themselves."""
    names = [key.removeprefix(above).removeprefix(".") for key in keys]
    return [name for name in names if "." not in name]
