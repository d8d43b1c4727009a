"""What steps made, found by their labels, and what they should have made."""

from typing import Any

import numpy as np
import torch

from core.contract.store import Entry
from core.engine.plan import Plan
from tests.engine import Lab, ToyEncoder

SKIP = {"data.on_unreadable": "skip"}


def output(plan: Plan, label: str, **fields: Any) -> Entry:
    """The output of the one step with this label (without the trial's name) and these fields."""
    found = [
        step
        for step in plan.steps.values()
        if step.label.split(" [")[0] == label and fields.items() <= step.fields.items()
    ]
    assert len(found) == 1, [step.label for step in plan.steps.values()]
    return plan.workspace.read(found[0])


def break_video(lab: Lab, split: str, name: str) -> str:
    folder = lab.videos / split / name
    for picture in folder.iterdir():
        picture.write_bytes(b"no picture")
    return str(folder)


def encoded(colours: np.ndarray, seed: int = 0) -> torch.Tensor:
    """What ToyEncoder makes of colours [..., 3]."""
    encoder = ToyEncoder(ToyEncoder.Config())
    encoder.load(seed)
    return encoder.layer((torch.as_tensor(colours, dtype=torch.float32) - 128) / 64).detach()


def colours_of(lab: Lab, split: str, name: str) -> np.ndarray:
    from PIL import Image

    files = sorted((lab.videos / split / name).iterdir())
    return np.stack([np.asarray(Image.open(file))[0, 0] for file in files])


def lifted(first: np.ndarray, new: np.ndarray, top_k: int) -> np.ndarray:
    """The released program's matrix: 100 more for each text's candidates."""
    final = first.copy()
    for row in range(len(first)):
        best = np.argsort(-first[row], kind="stable")[:top_k]
        final[row, best] = 100 + new[row, best]
    return final
