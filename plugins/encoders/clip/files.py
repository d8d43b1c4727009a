"""Where a CLIP comes from: its folder or hub snapshot, the files in it, their digests, and reading them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from core import DataError, UserError

TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
    *("special_tokens_map.json", "added_tokens.json"),
)
SMALL_FILES = ("config.json", "preprocessor_config.json", "processor_config.json", *TOKENIZER_FILES)
SIZES = {
    "vision_config": ("image_size", "patch_size", "hidden_size"),
    "text_config": ("max_position_embeddings", "vocab_size"),
}
WEIGHTS, WEIGHT_INDEX = "model.safetensors", "model.safetensors.index.json"
ALL_FILES = (*SMALL_FILES, WEIGHTS, WEIGHT_INDEX, "model-*.safetensors")


def locate(model: str, revision: str | None, names: Sequence[str]) -> Path:
    """The folder that holds `model`: itself, or the snapshot of a hub id (fetched where it is not in the cache).

    names: patterns of the files needed. Raises DataError where neither is there.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if model.startswith((".", "/", "~")) or model.count("/") > 1 or Path(path.parts[0]).exists():
        raise DataError(f"encoder.model: no folder {model} (looked in {Path.cwd()})")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        with quiet():
            return Path(snapshot_download(model, revision=revision, allow_patterns=list(names)))
    except (OSError, HfHubHTTPError, HFValidationError) as fault:
        raise DataError(
            f"encoder.model: {model} is no folder here, and as a hub id it could not be had: it needs a network or a "
            f"filled cache (HF_HOME). A folder saved by transformers' save_pretrained works without.\n{fault}"
        ) from fault


def files_of(folder: Path) -> list[Path]:
    """Every file in `folder` that decides features. Raises DataError where there are no safetensors weights."""
    if (folder / WEIGHTS).is_file():
        weights = [folder / WEIGHTS]
    elif (folder / WEIGHT_INDEX).is_file():
        with explained(folder, WEIGHT_INDEX):
            shards = sorted(set(read_json(folder / WEIGHT_INDEX)["weight_map"].values()))
        weights = [folder / WEIGHT_INDEX, *(folder / shard for shard in shards)]
    else:
        raise DataError(
            f"encoder.model: {folder} has no {WEIGHTS}, and pickled weights (pytorch_model.bin) are not read. Convert "
            "them once, where you trust them: CLIPModel.from_pretrained(model).save_pretrained(folder), and the same "
            "with CLIPProcessor; or name a `revision` of the hub id that has them"
        )
    return [file for file in (folder / name for name in SMALL_FILES) if file.is_file()] + weights


def digest(file: Path) -> str:
    """sha256 of a file's content; remembered in this process by path, size and time."""
    state = file.stat()
    return _digest(str(file.resolve()), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise DataError(f"encoder.model: cannot read {file}: {fault}") from fault
    if not isinstance(found, dict):
        raise DataError(f"encoder.model: {file}: expected an object {{…}}, got {str(found)[:60]}")
    return found


def read_sizes(folder: Path) -> Any:
    """The sizes of a folder's CLIP, named as in its CLIPConfig: from config.json alone where all stand there, because
    to import CLIPConfig takes a second. Raises as `read_config` does."""
    given = _clip_json(folder)
    parts = {part: given[part] if isinstance(given.get(part), dict) else {} for part in SIZES}
    found = {part: {name: parts[part].get(name) for name in names} for part, names in SIZES.items()}
    numbers = [given.get("projection_dim"), *(value for part in found.values() for value in part.values())]
    if not all(type(number) is int and number > 0 for number in numbers):
        return read_config(folder)
    return SimpleNamespace(
        projection_dim=given["projection_dim"], **{part: SimpleNamespace(**values) for part, values in found.items()}
    )


def read_config(folder: Path) -> Any:
    """The CLIPConfig of a folder. Raises DataError for one that is missing, broken or of another architecture."""
    given = _clip_json(folder)
    from transformers.models.clip.configuration_clip import CLIPConfig

    with quiet(), explained(folder, "config.json"):
        return CLIPConfig.from_dict(given)


def _clip_json(folder: Path) -> dict[str, Any]:
    """config.json of a CLIP's folder."""
    if not (folder / "config.json").is_file():
        raise DataError(f"encoder.model: {folder} has no config.json: not a model in transformers' layout")
    given = read_json(folder / "config.json")
    if given.get("model_type") != "clip":
        raise DataError(
            f"encoder.model: {folder} is a model of type {given.get('model_type')!r}; only CLIP architectures "
            "(model_type 'clip') are read"
        )
    return given


def read_weights(folder: Path) -> Any:
    """CLIPModel in float32. Raises DataError for weights that are missing, damaged or incomplete."""
    from transformers import CLIPModel

    files_of(folder)
    with explained(folder, "weights"):
        read: Any = CLIPModel.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation="sdpa",
            output_loading_info=True,
        )
    model, report = read
    if report["missing_keys"]:
        some = ", ".join(sorted(report["missing_keys"])[:3])
        raise DataError(f"encoder.model: {folder}: {len(report['missing_keys'])} weights are missing ({some}, …)")
    return model


@contextmanager
def explained(folder: Path, what: str) -> Iterator[None]:
    """Whatever transformers raises inside becomes a DataError that names the folder and what was read."""
    try:
        yield
    except UserError:
        raise
    except Exception as fault:  # its types are many: OSError, validators' and safetensors' own
        raise DataError(f"encoder.model: {folder}: cannot read its {what}: {fault}") from fault


@contextmanager
def quiet() -> Iterator[None]:
    """Without the messages and progress bars of transformers and its hub client; both as before afterwards."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    level, bars, hub_bars = logging.get_verbosity(), logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
        if hub_bars:
            enable_progress_bars()
