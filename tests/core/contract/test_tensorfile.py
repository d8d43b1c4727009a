import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from core.contract.tensorfile import map_tensors

DTYPES = [
    torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.bool, torch.uint8, torch.int64, torch.int32
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_assigned_is_what_the_safetensors_library_reads(tmp_path: Path, dtype: torch.dtype) -> None:
    wanted = torch.arange(12).reshape(3, 4).to(dtype)
    map_tensors(tmp_path / "t.safetensors", {"x": ((3, 4), dtype)})["x"][:] = wanted
    read = load_file(tmp_path / "t.safetensors")["x"]
    assert read.dtype == dtype
    assert torch.equal(read, wanted)


def test_tensors_of_odd_sizes_and_several_types_do_not_touch_each_other(tmp_path: Path) -> None:
    layout = {
        "mask": ((5,), torch.bool),
        "values": ((5, 3), torch.float32),
        "half": ((7,), torch.float16),
        "wide": ((3,), torch.float64),
    }
    written = map_tensors(tmp_path / "t.safetensors", layout)
    for number, tensor in enumerate(written.values(), 1):
        tensor[:] = number
    read = load_file(tmp_path / "t.safetensors")
    assert {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in read.items()} == layout
    assert {name: set(tensor.flatten().tolist()) for name, tensor in read.items()} == {
        "mask": {True}, "values": {2.0}, "half": {3.0}, "wide": {4.0}
    }  # fmt: skip


def test_a_file_of_the_same_layout_is_gone_on_with_and_another_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    map_tensors(path, {"x": ((4,), torch.float32)})["x"][1] = 5
    assert map_tensors(path, {"x": ((4,), torch.float32)})["x"].tolist() == [0, 5, 0, 0]
    assert map_tensors(path, {"x": ((2, 2), torch.float32)})["x"].tolist() == [[0, 0], [0, 0]]
    path.write_bytes(path.read_bytes()[:-1])
    assert map_tensors(path, {"x": ((2, 2), torch.float32)})["x"].sum() == 0
    with safe_open(path, "pt") as file:
        assert list(file.keys()) == ["x"]


def test_reading_some_rows_of_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    map_tensors(tmp_path / "t.safetensors", {"x": ((1 << 16, 512), torch.float32)})["x"][7] = 1  # 128 MiB, sparse
    program = (
        "import sys; from pathlib import Path; from core.contract.store import Entry\n"
        "def resident(): return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "import torch, safetensors.torch\n"
        "before = resident()\n"
        "x = Entry(Path(sys.argv[1]), {}).tensors('t.safetensors')['x']\n"
        "assert x[5:9].sum() == 512\n"
        "assert resident() - before < 16 * 2**20, resident() - before\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
