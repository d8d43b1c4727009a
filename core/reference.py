"""`python -m core.reference` writes docs/experiment_file.md: every key that an experiment file may have."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .contract.catalogue import first_sentence
from .contract.command import command
from .contract.components import KINDS, EncoderSettings, LossSettings, RerankerSettings, TrainedRerankerSettings
from .contract.fields import FieldWords, fields_in_words, plural
from .contract.store import write_atomically
from .experiment.config import Experiment
from .experiment.hypotheses import GUARDED
from .experiment.hypotheses import KINDS as CLAIMS
from .measure.metrics import COSTS
from .plugins import DISTRIBUTION, registry

FILE = "docs/experiment_file.md"
COMMAND = "python -m core.reference"

EXAMPLE = """\
name: first                                # runs/first/ holds its report
data: {dataset: {name: folder, path: my/captions.jsonl}, num_frames: 12}
encoder: {name: clip, model: openai/clip-vit-base-patch32}
model:
  interactions:                            # each under a name of yours
    video: {name: mean_pooling}
    frame: {name: tib, temperature: 0.1}
  losses: {contrast: {name: info_nce, of: [video, frame]}}
train: {epochs: 5, learning_rate: 1e-4}
retrieve: {first_stage: video, rerank: {name: score_fusion, weights: {frame: 1}, top_k: 50}}
evaluate: {metrics: [R1, R5, R10], primary: t2v/R1}
seeds: [0, 1, 2]
ablate: {retrieve.rerank.top_k: [10, 50]}  # a grid: every combination
baseline: {retrieve.rerank: null}          # what the others are compared with
hypotheses: {helps: {better: {retrieve.rerank.top_k: 50}, than: baseline}}
"""

WRITTEN = """\
- `extends: base.yaml` starts from another file, beside this one or below the working directory. Mappings are merged,
  everything else is replaced; so are a component of another name, the sweeps, `seeds`, `baseline` and `hypotheses`.
- `null` takes a named item out: `model: {losses: {pearson: null}}`.
- `${train.epochs}` repeats the value of another key. `${oc.env:NAME}` reads an environment variable that `--allow-env
  NAME` allows.
- On the command line `train.epochs=3` sets a key, `'ablate[retrieve.rerank.top_k]=[1, 5]'` one with dots in its name.
- A component is `{name: …}` with its fields. **A mixture** is a name, a list of names, or `{name: weight}`.
- A relative path starts at the working directory; `package:file.yaml` is a file inside an installed package.
"""

METRICS = """\
Metrics: `R1`, `R5`, `R10` or any `R<k>`, `RSum`, `MRR`, `mAP`, `nDCG10` or any `nDCG<k>`, in percent; `MdR`, `MnR`, in
ranks. `evaluate.primary` and a hypothesis put the direction in front: `t2v/R1`. `evaluate.efficiency: true` measures:

"""

SWEEPS = [
    ("`ablate`", "`{key: [values]}`", "a grid: every combination"),
    ("`ablate`", "`{grid: {key: [values]}}`", "grids under names of yours, not crossed with each other"),
    ("`one_at_a_time`", "`{key: [values]}`", "each key by itself, around the file as written"),
    ("`variants`", "`{name: {key: value}}`", "variants one by one, under names of yours"),
    ("`baseline`", "`as written`, a name, or `{key: value}`", "what the others are compared with; added if it is new"),
    ("`hypotheses`", "`{name: claim}`", "claims on them, written before the run: the next table"),
]

COMPARED = {
    "better": "the first exceeds the other by more than `by`",
    "no_worse": "it falls short of it by less than `margin`",
    "equivalent": "they differ by less than `within`, either way",
    "larger_gain": "a gain is larger than another by more than `by`; both are written `{of: A, over: C}`",
    "cheaper": "the other takes at least `ratio` times as much; `metric` is a cost, and there is no p",
    "higher": "as `better`, for a diagnostic, of which neither more nor less is better",
    "lower": "the same, the other way round",
}
"""What each kind of claim says."""


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit status 0."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description="Write the reference of all keys that an experiment file may have."
    )
    parser.add_argument("file", nargs="?", default=FILE, help=f"Markdown file to write (default: {FILE})")
    write_atomically(Path(parser.parse_args(arguments).file), reference())
    return 0


def reference() -> str:
    """The page, in Markdown; of components that come with this distribution alone."""
    rows = list(fields_in_words(Experiment))
    sections = {row.key: row for row in rows if row.default in ("", None) and _below(rows, row.key)}
    swept = {"ablate", "one_at_a_time", "variants", "baseline", "hypotheses"}
    top = [row for row in rows if "." not in row.key and row.key not in swept]
    parts = [
        f"# The experiment file\n\nEvery key, with its type, default and limits. Written by `{COMMAND}`.",
        f"A complete file:\n\n```yaml\n{EXAMPLE}```",
        f"## How it is written\n\n{WRITTEN.rstrip()}",
        f"## At the top\n\n{_fields(top)}",
        *(
            f"## `{key}`\n\n{row.doc}\n\n{_fields(_below(rows, key))}"
            for key, row in sections.items()
            if "." not in key
        ),
    ]
    return "\n\n".join([*parts, *_components(), *_design()]) + "\n"


def _below(rows: Iterable[FieldWords], key: str) -> list[FieldWords]:
    return [row for row in rows if row.key.startswith(f"{key}.")]


def _components() -> Iterator[str]:
    """The fields that all components of a kind share, those of each output, and the names of all."""
    yield f"## Fields of every encoder\n\n{_fields(fields_in_words(EncoderSettings, 'encoder'))}"
    yield f"## Fields of every loss\n\n{_fields(fields_in_words(LossSettings, 'model.losses.<name>'))}"
    shared = {field.key for field in fields_in_words(RerankerSettings, "retrieve.rerank")}
    told = list(fields_in_words(TrainedRerankerSettings, "retrieve.rerank"))
    yield f"## Fields of every reranker\n\n{_fields(field for field in told if field.key in shared)}"
    yield f"### Of every reranker that is trained\n\n{_fields(field for field in told if field.key not in shared)}"
    outputs = [(f"`outputs.{name}`", sentence) for name, sentence in _named("output")]
    fields = [
        field
        for (kind, name), item in sorted(registry().found.items())
        if kind == "output" and item.package == DISTRIBUTION
        for field in fields_in_words(item.component.Config, f"outputs.{name}")
    ]
    yield f"## Outputs and their fields\n\n{_table(('output', 'what it does'), outputs)}\n\n{_fields(fields)}"
    names = [
        (plural(kind).replace("_", " "), ", ".join(f"`{name}`" for name, _ in _named(kind)))
        for kind in KINDS
        if kind != "output"
    ]
    told_by = "Fields, levels, source and an example of one: `python -m core.plugins show NAME`."
    yield f"## Components\n\n{told_by}\n\n{_table(('kind', 'names'), names)}"


def _named(kind: str) -> list[tuple[str, str]]:
    """(name, first sentence) of each component of a kind."""
    return [
        (name, first_sentence(item.component))
        for (of_kind, name), item in sorted(registry().found.items())
        if of_kind == kind and item.package == DISTRIBUTION
    ]


def _design() -> Iterator[str]:
    """Sweeps, hypotheses, metrics."""
    yield f"## Sweeps, the baseline and claims\n\n{_table(('key', 'value', 'what it describes'), SWEEPS)}"
    claims = []
    for kind, (relation, bound, default) in CLAIMS.items():
        seeds = ", `seeds: as seen`" if kind in GUARDED else ""
        needed = "must be given" if default is None else f"{default:g}"
        claims.append((f"`{kind}: …, {relation}: …`", f"`{bound}`: {needed}{seeds}", COMPARED[kind]))
    head = (
        "Each under a name: `hypotheses: {name: {better: A, than: B, by: 0, metric: t2v/R1}}`, A and B a variant's\n"
        "name or `{key: value}` that selects it. Without `metric` it is `evaluate.primary`; bounds are in its unit."
    )
    yield f"## Hypotheses\n\n{head}\n\n{_table(('claim', 'bound and default', 'what it says'), claims)}"
    yield f"## Metrics\n\n{METRICS}" + "\n".join(f"- `{cost}`" for cost in COSTS)


def _fields(fields: Iterable[FieldWords]) -> str:
    rows = []
    for field in fields:
        default = "must be given" if field.default is None else f"`{field.default}`" if field.default else ""
        rows.append((f"`{field.key}`", field.type, default, field.limits.replace(" | ", ", "), field.doc))
    return _table(("key", "type", "default", "limits or choices", "what it is"), rows)


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown, in whose cells `|` and `<` stay letters."""
    lines = [headings, tuple("---" for _ in headings), *(tuple(map(_cell, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """Outside of backticks `<` begins no HTML; `|` ends no cell anywhere."""
    pieces = text.replace("|", "\\|").split("`")
    return "`".join(piece if number % 2 else piece.replace("<", "&lt;") for number, piece in enumerate(pieces))


if __name__ == "__main__":
    sys.exit(main())
