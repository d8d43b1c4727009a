"""What figures and reports rest on: the question, data, sizes, what is trained, what is compared."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from core.config import read_core
from core.findings import Result
from core.plugins import registry
from core.references import short_value


def question(file: str) -> str:
    """The question that the experiment file opens with, up to its question mark; "" without one."""
    path = Path(file)
    text = path.read_text() if path.is_file() else ""
    found = re.match(r"# Question: +((?:[^?\n]|\n# {2,})+\?)", text)
    asked = " ".join(re.sub(r"\n#", " ", found[1]).split()) if found else ""
    return asked[:1].upper() + asked[1:]


def facts(result: Result) -> dict[str, str]:
    """What the numbers rest on, by name: data, sizes, encoder, what is trained, what is compared."""
    settings, values = result.plan.experiment, read_core(result.plan.document)
    about = inspect.getdoc(registry().component("dataset", settings.data.dataset)) or ""
    sizes = [row.results[0].entry.json() for row in result.rows if row.results]
    counts = [_range([size[side] for size in sizes], side) for side in ("videos", "texts")]
    compared = [f"{name} = {short_value(spec)}" for name, spec in values["model"]["interactions"].items()]
    return {
        "Data set": f"{short_value(values['data']['dataset'])}: {about.partition(chr(10))[0]}",
        f"{settings.evaluate.split.capitalize()} split": f"n = {', '.join(counts)} at each setting",
        "Encoder": short_value(values["encoder"]),
        "Trained": _trained(result),
        "Interactions": "; ".join(compared),
    }


def ground(result: Result) -> list[str]:
    """The same in lines below a figure."""
    (data, about), (split, sizes), (_, encoder), (_, trained), (_, compared) = facts(result).items()
    return [
        f"{data} {about}",
        f"{split}: {sizes}. Encoder: {encoder}. {f'Trained: {trained}' if trained else 'Nothing is trained'}.",
        f"Interactions: {compared}. Intervals: over videos{' and seeds' if trained else ''}, each by itself.",
    ]


def _trained(result: Result) -> str:
    """What is trained and how often; "" for nothing."""
    steps = {step.name for trial in result.plan.trials for step in trial.last.walk()}
    encoders = [spec for variant in result.plan.variants for spec in variant.experiment.encoder.values()]
    parts = {
        "encoder": "fit" in steps and any(spec.fields.trainable for spec in encoders),
        "model": "fit" in steps,
        "reranker": "fit_reranker" in steps,
    }
    trained = ", ".join(part for part, fitted in parts.items() if fitted)
    return f"{trained}; seeds: {max(len(row.seeds) for row in result.rows)}" if trained else ""


def _range(numbers: list[int], what: str) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,} {what}" if low == high else f"{low:,} to {high:,} {what}"
