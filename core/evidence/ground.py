"""What findings rest on: question, files, data, training; and the commands that compute and write them again."""

from __future__ import annotations

import copy
import inspect
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..contract.addresses import hidden_addresses, safe_address
from ..contract.keys import assign, lookup, split_key
from ..contract.settings import plain
from ..contract.store import digest
from ..engine.plan import Plan
from ..experiment.config import Document, allowed_environment, read_core
from ..experiment.selection import short_value
from ..plugins import registry
from .naming import named_as_written
from .results import Result


def question(file: str) -> str | None:
    """The question that the experiment file opens with, up to its question mark; None without one."""
    path = Path(file)
    text = path.read_text() if path.is_file() else ""
    match = re.match(r"# Question: +((?:[^?\n]|\n# {2,})+\?)", text)
    asked = " ".join(re.sub(r"\n#", " ", match[1]).split()) if match else ""
    return asked[:1].upper() + asked[1:] or None


def facts(plan: Plan, result: Result) -> dict[str, str]:
    """What the numbers rest on, by name: data, sizes, encoder, what is trained, what is compared."""
    settings, values = plan.experiment, read_core(plan.document)
    about = inspect.getdoc(registry().component("dataset", settings.data.dataset)) or ""
    sizes = [row.results[0].stored for row in result.rows if row.results]
    counts = [_range([size[side] for size in sizes], side) for side in ("videos", "texts")]
    compared = [f"{name} = {short_value(spec)}" for name, spec in values["model"]["interactions"].items()]
    return {
        "Data set": f"{named_as_written(values['data']['dataset'])}: {about.partition(chr(10))[0]}",
        f"{settings.evaluate.split.capitalize()} split": f"n = {', '.join(counts)} at each setting",
        "Encoder": named_as_written(values["encoder"]),
        "Trained": _trained(plan, result),
        "Interactions": "; ".join(compared),
    }


def data_and_encoders(plan: Plan) -> list[str]:
    """The data sets and encoders of an experiment, as its file and its variants write them."""
    lines = []
    base = read_core(plan.document)
    for variant in plan.variants:
        values = copy.deepcopy(base)
        for key in sorted(variant.assignments, key=lambda key: len(split_key(key))):
            assign(values, key, variant.assignments[key])
        about = inspect.getdoc(registry().component("dataset", variant.experiment.data.dataset)) or ""
        data_set = f"data set `{named_as_written(values['data']['dataset'])}`"
        lines.append(": ".join(part for part in (data_set, about.partition("\n")[0]) if part))
        written = values["encoder"] if "name" not in values["encoder"] else {"": values["encoder"]}
        for name, spec in variant.experiment.encoder.items():
            encoder = plan.workspace.encoder(spec)
            widths = ", ".join(str(width) for width in sorted({shape.width for shape in encoder.shapes.values()}))
            title = f"encoder `{named_as_written(written[name])}`"
            lines.append(f"{title}: {encoder.frame_size}-pixel frames, width {widths}")
    return lines


def _trained(plan: Plan, result: Result) -> str:
    """What is trained and how often; "" for nothing."""
    steps = {step.name for trial in plan.trials for step in trial.last.walk()}
    encoders = [spec for variant in plan.variants for spec in variant.experiment.encoder.values()]
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


def file_version(plan: Plan) -> str:
    """Digest of what an experiment file resolves to, whatever its outputs."""
    left_out = {"outputs", "references", "claim"}
    return digest(
        [
            [variant.name, {key: value for key, value in plain(variant.experiment).items() if key not in left_out}]
            for variant in plan.variants
        ]
    )


def source_files(document: Document) -> dict[str, str]:
    """The experiment file and those that it extends, by name, the addresses of outputs without what opens them."""
    paths = [Path(file) for file in dict.fromkeys([document.file, *document.origins.values()])]
    return {path.name: closed_yaml(path.read_text(encoding="utf-8")) for path in paths if path.is_file()}


def closed_yaml(text: str) -> str:
    """An experiment file with the addresses of its outputs safe to show, however YAML spells them; the rest stays."""
    import yaml

    places = {node.start_mark.index: node for node in _addresses(yaml.compose(text, yaml.SafeLoader), "")}
    for start, node in sorted(places.items(), reverse=True):
        if (safe := safe_address(node.value)) != node.value:
            written = text[start : node.end_mark.index].rstrip()
            text = text[:start] + json.dumps(safe) + text[start + len(written) :]
    return text


def _addresses(node: Any, key: str) -> Iterator[Any]:
    """The addresses in a YAML tree below `outputs`."""
    is_text = hasattr(node, "value") and isinstance(node.value, str)
    if "outputs" in key.split(".") and is_text and "://" in node.value:
        yield node
    kind = getattr(node, "id", "")
    if kind == "mapping":
        for name, item in node.value:
            yield from _addresses(item, f"{key}.{name.value}".lstrip("."))
    elif kind == "sequence":
        for item in node.value:
            yield from _addresses(item, key)


def overrides(plan: Plan) -> list[str]:
    """What the command line set: `train.epochs=3`."""
    document = plan.document
    keys = [key for key, writer in document.origins.items() if writer == "command line"]
    values = [json.dumps(lookup(document.values, split_key(key)), ensure_ascii=False) for key in keys]
    return [f"{key}={value}" for key, value in zip(keys, values, strict=True)]


def run_command(plan: Plan, store: str = "store") -> str:
    """What computes the results of a plan again: its file, what the command line set but for how it is told, the
    store, and the device where that is what they were computed on."""
    device = plan.workspace.device.type
    words = ["python", "-m", "core.run", plan.document.file]
    words += [text for text in overrides(plan) if not text.startswith(("outputs", "anonymous="))]
    words += ["--store", store] if store != "store" else []
    words += ["--device", device] if device != "cpu" else []
    words += [word for name in allowed_environment() for word in ("--allow-env", name)]
    return shlex.join(words)


def rewrite_command(plan: Plan) -> str:
    """What lets the outputs write the results again, to where the command line said."""
    words = [plan.document.file, *map(hidden_addresses, overrides(plan)), "--store", str(plan.workspace.store.root)]
    return f"python -m core.run {shlex.join(words)} --stored"
