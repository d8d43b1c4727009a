"""The encoder `clip`.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", arXiv 2103.00020;
patch and word features through the same projections as in CLIP4Clip, X-CLIP and EERCF.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core import (
    DataError,
    Encoder,
    EncoderSettings,
    Levels,
    LevelShape,
    TextFeatures,
    Tokens,
    VideoFeatures,
    setting,
)

from .files import (
    ALL_FILES,
    SMALL_FILES,
    TOKENIZER_FILES,
    WEIGHT_INDEX,
    digest,
    explained,
    files_of,
    locate,
    quiet,
    read_config,
    read_sizes,
    read_weights,
)
from .pixels import Pixels
from .untrained import clip_config, draw, word_splitter, word_tokenizer

AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class ClipSettings(EncoderSettings):
    model: str | None = setting(None, "a folder in transformers' layout, or a hub id")
    revision: str | None = setting(None, "branch, tag or commit of a hub id")
    init: str = setting(
        "pretrained", "random: the weights are drawn, not read from `model`", choices=("pretrained", "random")
    )
    architecture: dict[str, Any] = setting(
        factory=dict, doc="with init random and no model: {vision: {…}, text: {…}, projection_dim: …} of CLIPConfig"
    )
    vocabulary: list[str] = setting(
        factory=list, doc="with init random and no model: the words that its tokenizer knows"
    )
    max_words: int = setting(
        32, "tokens a text, start and end included; no more than the model has positions", ge=3, le=100_000
    )
    pad_token: int | None = setting(
        None, "token id that fills texts up; null: the tokenizer's own; CLIP's first release has 0", ge=0
    )
    precision: str = setting(
        "auto", "auto: bfloat16 on CUDA, else float32", choices=("auto", "float32", "bfloat16", "float16")
    )

    def __post_init__(self) -> None:
        own = bool(self.architecture or self.vocabulary)
        if self.init == "pretrained" and not self.model:
            raise ValueError("`model` is needed (a folder or a hub id) unless `init` is random")
        if own and (self.model or self.init == "pretrained"):
            raise ValueError("`architecture` and `vocabulary` are for `init: random` without `model`")
        if not self.model and not self.vocabulary:
            raise ValueError("`vocabulary` is needed for `init: random` without `model`")
        if self.trainable and self.precision == "float16":
            raise ValueError("`precision: float16` underflows in training; take bfloat16 or float32")
        if own:
            clip_config(self.architecture, len(self.vocabulary))
            word_splitter(self.vocabulary)


class Clip(Encoder):
    """CLIP: `sentence` [B, D], `words` [B, L, D]; `frames` [B, T, D], `patches` [B, T, N, D]; D = projection_dim.
    `frame_states` [B, T, D_v], `patch_states` [B, T, N, D_v]; D_v = the vision tower's width.

    sentence: the text tower's last hidden state, after its final layer norm, at the end token, projected; words: the
    same at every token, start and end included, as in CLIP4Clip and its successors (mask: False on padding). frames:
    the vision tower's class token after its last layer norm, projected; patches: its N other tokens, likewise, though
    CLIP's training never projected them. frame_states, patch_states: both before the projection.
    All float32 and un-normalised. Padding frames are encoded like others: the mask says which they are.

    Attention over a text is causal alone: no token sees the padding after it, so that `sentence` and valid words do
    not depend on `pad_token`; words at padding, which see all before them, padding too, do.

    Raises DataError for a model that is missing, is not a CLIP, or has no safetensors weights, and for a `pad_token`
    that its vocabulary does not have.
    """

    name = "clip"
    Config = ClipSettings
    config: ClipSettings

    def __init__(self, config: ClipSettings):
        super().__init__(config)
        self.folder = locate(config.model, config.revision, SMALL_FILES) if config.model else None
        if self.folder:
            self.architecture = read_sizes(self.folder)
        else:
            self.architecture = clip_config(config.architecture, len(config.vocabulary))
        text, vision = self.architecture.text_config, self.architecture.vision_config
        if not isinstance(vision.image_size, int) or not isinstance(vision.patch_size, int):
            raise DataError(
                f"encoder: image_size {vision.image_size} and patch_size {vision.patch_size} must be one number"
            )
        self.pixels = Pixels.read(self.folder, vision.image_size)
        self.max_words = min(config.max_words, text.max_position_embeddings)
        if config.pad_token is not None and config.pad_token >= text.vocab_size:
            raise DataError(f"encoder.pad_token: {config.pad_token}, but token ids end at {text.vocab_size - 1}")
        width, patches = self.architecture.projection_dim, (vision.image_size // vision.patch_size) ** 2
        self.frame_size = self.pixels.short_side
        self.levels = Levels(text=("sentence", "words"), video=("frames", "patches", "frame_states", "patch_states"))
        self.shapes = {
            "sentence": LevelShape(None, width),
            "words": LevelShape(self.max_words, width),
            "frames": LevelShape(None, width),
            "patches": LevelShape(patches, width),
            "frame_states": LevelShape(None, vision.hidden_size),
            "patch_states": LevelShape(patches, vision.hidden_size),
        }
        factor, shift = self.pixels.factor_and_shift()
        self.register_buffer("pixel_factor", factor, persistent=False)
        self.register_buffer("pixel_shift", shift, persistent=False)

    def load(self, seed: int) -> None:
        """Read the weights (safetensors only) or draw them. Raises DataError for ones that are missing or damaged."""
        with quiet():
            if self.config.init == "random":
                self.clip = draw(read_config(self.folder) if self.folder else self.architecture, seed)
            else:
                self.clip = read_weights(self._with_weights())
        self.clip.requires_grad_(self.config.trainable)
        self.clip.logit_scale.requires_grad_(False)  # the model has a scale of its own
        self.clip.train(self.config.trainable)

    def fingerprint(self) -> dict[str, Any]:
        """Digests of the files read, or the architecture and words drawn from; and what else decides the numbers."""
        config = self.config
        settings: dict[str, Any] = {"init": config.init, "precision": config.precision}
        settings |= {"max_words": self.max_words, "pad_token": config.pad_token}
        if self.folder is None:
            return {**settings, "architecture": config.architecture, "vocabulary": list(config.vocabulary)}
        random = config.init == "random"
        files = [self.folder / name for name in SMALL_FILES] if random else files_of(self._with_weights())
        return {**settings, "files": {file.name: digest(file) for file in files if file.is_file()}}

    def _with_weights(self) -> Path:
        return locate(str(self.config.model), self.config.revision, ALL_FILES)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of transformers; padding on the right, where a causal model does not see it."""
        if self.folder is None:
            return self._word_tokenizer()
        from transformers import AutoTokenizer

        with quiet(), explained(self.folder, "tokenizer"):
            return AutoTokenizer.from_pretrained(
                self.folder, local_files_only=True, trust_remote_code=False, padding_side="right"
            )

    def _word_tokenizer(self) -> Any:
        return word_tokenizer(self.config.vocabulary, self.architecture.text_config.max_position_embeddings)

    def prepare_texts(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """input_ids and attention_mask, int64 [B, max_words]. A long text loses its last words, never the end token."""
        if not texts:
            empty = torch.zeros(0, self.max_words, dtype=torch.int64)
            return {"input_ids": empty, "attention_mask": empty}
        made = self.tokenizer(list(texts), padding="max_length", truncation=True, max_length=self.max_words)
        tokens = {name: torch.tensor(made[name], dtype=torch.int64) for name in ("input_ids", "attention_mask")}
        if self.config.pad_token is not None:
            tokens["input_ids"].masked_fill_(tokens["attention_mask"] == 0, self.config.pad_token)
        return tokens

    def prepare_frames(self, frames: Tensor) -> Tensor:
        """uint8 [..., H, W, 3] -> uint8 [..., 3, h, w]: short side to size, then the centre crop."""
        return self.pixels.crop(frames)

    def forward_text(self, tokens: dict[str, Tensor], levels: Iterable[str]) -> TextFeatures:
        """input_ids and attention_mask [B, L] -> sentence [B, D], words [B, L, D] with word_mask [B, L]."""
        wanted = set(levels)
        ids, mask = tokens["input_ids"], tokens["attention_mask"].bool()
        if "words" not in wanted:
            ids = ids[:, : max(int(mask.sum(1).amax()), 1)] if len(ids) else ids
        sentence = words = None
        with self._autocast(ids.device):
            seen = self.clip.text_model(input_ids=ids)
            if "sentence" in wanted:
                sentence = self.clip.text_projection(seen.pooler_output).float()
            if "words" in wanted:
                words = self.clip.text_projection(seen.last_hidden_state).float()
        return TextFeatures(sentence=sentence, words=words, word_mask=mask)

    def forward_video(self, frames: Tensor, mask: Tensor, levels: Iterable[str]) -> VideoFeatures:
        """uint8 [B, T, 3, h, w], mask [B, T] -> frames [B, T, D], patches [B, T, N, D] and the states of either, all
        with frame_mask [B, T]."""
        wanted, made = set(levels), {}
        pixels = frames.flatten(0, 1) * self.pixel_factor - self.pixel_shift
        with self._autocast(frames.device):
            seen = self.clip.vision_model(pixel_values=pixels)
            if wanted & {"frames", "frame_states"}:
                made["frame_states"] = seen.pooler_output
            if wanted & {"patches", "patch_states"}:
                made["patch_states"] = self.clip.vision_model.post_layernorm(seen.last_hidden_state[:, 1:])
            for level, states in (("frames", "frame_states"), ("patches", "patch_states")):
                if level in wanted:
                    made[level] = self.clip.visual_projection(made[states])
        rows = frames.shape[:2]
        return VideoFeatures(
            more={name: Tokens(made[name].float().unflatten(0, rows), mask) for name in made if name in wanted}
        )

    def _autocast(self, device: torch.device) -> torch.autocast:
        precision = self.config.precision
        if precision == "auto":
            precision = "bfloat16" if device.type == "cuda" else "float32"
        dtype = AUTOCAST[precision]
        return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)

    def start_weights(self) -> dict[str, Tensor]:
        """`text_positions` [L, W] and `text_blocks.{i}.{name}`, names as in transformers' CLIPEncoderLayer; copies."""
        tower = self.clip.text_model
        found = {f"text_blocks.{name}": tensor for name, tensor in tower.encoder.layers.state_dict().items()}
        found["text_positions"] = tower.embeddings.position_embedding.weight
        return {name: tensor.detach().clone() for name, tensor in found.items()}

    def export(self, folder: Path) -> None:
        """Write model (float32), tokenizer and preprocessing as transformers' CLIPModel, AutoTokenizer and
        CLIPImageProcessor read them. Each file is replaced whole; files in `folder` that are none of these stay."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            made = Path(scratch)
            with quiet():
                self.clip.save_pretrained(made)
            self._export_tokenizer(made)
            preprocessor = json.dumps(self.pixels.as_written(), indent=2) + "\n"
            (made / "preprocessor_config.json").write_text(preprocessor, encoding="utf-8")
            folder.mkdir(exist_ok=True)
            written = sorted(file.name for file in made.iterdir())
            for name in written:
                (made / name).chmod(0o644)
                os.replace(made / name, folder / name)
        for name in {*SMALL_FILES, WEIGHT_INDEX}.difference(written):
            (folder / name).unlink(missing_ok=True)

    def _export_tokenizer(self, folder: Path) -> None:
        if self.folder is None:
            self._word_tokenizer().save_pretrained(folder)
            return
        for file in (self.folder / name for name in TOKENIZER_FILES):
            if file.is_file():
                shutil.copyfile(file, folder / file.name)
