"""CLIP models drawn at random: the architecture from keywords, a tokenizer of whole words, seeded weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

PAD, UNKNOWN, START, END = "<pad>", "<unk>", "<|startoftext|>", "<|endoftext|>"


def clip_config(architecture: Mapping[str, Any], words: int) -> Any:
    """CLIPConfig of {vision: {…}, text: {…}, projection_dim: …} for a vocabulary of so many words.

    Raises ValueError that names the key at fault.
    """
    from transformers.models.clip.configuration_clip import CLIPConfig, CLIPTextConfig, CLIPVisionConfig

    ours = {"vocab_size": words + 4, "pad_token_id": 0, "bos_token_id": words + 2, "eos_token_id": words + 3}
    kinds = {"vision": CLIPVisionConfig, "text": CLIPTextConfig}
    _only(architecture, [*kinds, "projection_dim"], "architecture")
    built = {}
    for side, kind in kinds.items():
        given = architecture.get(side, {})
        if not isinstance(given, Mapping):
            raise ValueError(f"architecture.{side}: expected a mapping, got {given!r}")
        known = kind.__annotations__.keys() - ours.keys() - {"projection_dim", "num_channels"}
        _only(given, known, f"architecture.{side}")
        try:
            built[side] = kind(**given, **(ours if side == "text" else {}))
        except Exception as fault:  # the validators of transformers raise types of their own
            raise ValueError(f"architecture.{side}: {fault}") from fault
    width = architecture.get("projection_dim", 512)
    if not isinstance(width, int) or width < 1:
        raise ValueError(f"architecture.projection_dim: must be a whole number of at least 1, got {width!r}")
    return CLIPConfig(text_config=built["text"], vision_config=built["vision"], projection_dim=width)


def _only(given: Iterable[str], known: Iterable[str], key: str) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"{key}.{name}: unknown, or set by the encoder. Known: {', '.join(sorted(known))}")


def draw(architecture: Any, seed: int) -> Any:
    """CLIPModel with CLIP's own initialisation: the same seed, the same bits; the global generator stays as it was."""
    from transformers import CLIPModel

    architecture._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CLIPModel(architecture)


def word_splitter(vocabulary: Sequence[str]) -> Any:
    """A `tokenizers.Tokenizer` of whole words: lower case, split at spaces and around punctuation; others are <unk>.

    The end token has the highest id, as in CLIP. Raises ValueError for a word twice, or one that no text can hold.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    tokens = [PAD, UNKNOWN, *vocabulary, START, END]
    ids = {token: row for row, token in enumerate(tokens)}
    if len(ids) < len(tokens):
        twice = sorted({token for token in vocabulary if tokens.count(token) > 1})
        raise ValueError(f"vocabulary: given twice, or names of special tokens: {', '.join(twice)}")
    made = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    for word in vocabulary:
        pieces = [piece for piece, _ in made.pre_tokenizer.pre_tokenize_str(word.lower())]
        if pieces != [word]:
            raise ValueError(f"vocabulary: {word!r} is read as {pieces}; a word is lower case, of one piece")
    made.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, ids[START]), (END, ids[END])]
    )
    return made


def word_tokenizer(vocabulary: Sequence[str], positions: int) -> Any:
    """`word_splitter` as a tokenizer of transformers, for texts of at most `positions` tokens."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=word_splitter(vocabulary),
        model_max_length=positions,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=START,
        eos_token=END,
        padding_side="right",
    )
