"""The command, from its arguments to its exit status and to what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import sqlite3
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import core
from core.contract.command import command as ends_quietly
from core.contract.store import Busy, Patience, Store
from core.engine.scoring import memory
from core.measure.significance import detectable_difference
from core.outputs import report_folder
from core.run import main
from tests.engine import COUNTS, Lab, ToyEncoder

pytestmark = pytest.mark.usefixtures("undrawn")

ABLATION = {
    "ablate": {"retrieve.rerank.top_k": [1, 2, 3]},
    "baseline": {"retrieve.rerank": None},
    "seeds": [0, 1],
    "outputs": {"mlflow": None},
    "hypotheses": {"helps": {"better": {"retrieve.rerank.top_k": 2}, "than": "baseline"}},
}


def exported(folder: Path) -> dict[str, object]:
    """Changes that have the encoder of one seed written to a folder."""
    return {"outputs": {"mlflow": None, "export": {"folder": str(folder)}}, "seeds": [0]}


def command(lab: Lab, *more: str, **changes: object) -> int:
    file = lab.write({**ABLATION, **changes})
    return main([str(file), "--store", str(lab.store), "--runs", str(lab.folder / "runs"), "--workers", "0", *more])


def test_a_run_prints_the_table_the_verdict_and_what_to_do_next(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(lab) == 0
    printed = capsys.readouterr().out
    head, _, *rows = printed.splitlines()[2:8]
    assert head.split()[:3] == ["top_k", "rerank", "t2v/R1"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "none"]
    assert "helps: top_k=2 is better than rerank=none on t2v/R1" in printed
    assert f"Report: {lab.folder}/runs/lab/report.html" in printed.replace("\n  ", " ")


def test_a_log_says_each_step_with_the_time_and_what_took_how_long(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    command(lab)
    first, second = capsys.readouterr(), (command(lab), capsys.readouterr())[1]
    steps = re.findall(r"^\d\d:\d\d:\d\d steps? (\d+)(?: to (\d+))? of (\d+): (.+)$", first.err, re.MULTILINE)
    starts, ends = [int(start) for start, *_ in steps], [int(end or start) for start, end, *_ in steps]
    assert starts == [1, *(end + 1 for end in ends[:-1])]
    assert {int(total) for *_, total, _ in steps} == {ends[-1]}
    assert f"{ends[-1]} of {ends[-1]} steps were new" in first.out
    epochs = re.findall(r"^\d\d:\d\d:\d\d train .+: epoch (\d) of 2, loss [\d.]+, \d+ s$", first.err, re.MULTILINE)
    assert epochs == ["1", "2"] * 2
    counts = dict(re.findall(r"(\w+) \d+ s \((\d+)\)", first.out))
    assert sum(map(int, counts.values())) == ends[-1]
    assert counts["fit"] == "2"
    assert "step 1" not in second.err
    assert "Time by kind" not in second.out


def test_a_second_run_computes_nothing_and_finds_the_same(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    command(lab)
    first = (lab.folder / "runs" / "lab" / "table.csv").read_text()
    COUNTS.clear()
    assert command(lab) == 0
    assert not COUNTS
    assert "0 of" in capsys.readouterr().out.splitlines()[-1]
    assert (lab.folder / "runs" / "lab" / "table.csv").read_text() == first


def test_re_ranking_the_one_best_candidate_is_the_first_stage(lab: Lab) -> None:
    file = lab.write(ABLATION)
    result = core.run_experiment(str(file), store=str(lab.store), runs=str(lab.folder / "runs"), workers=0)
    by_name = {row.name: row for row in result.rows}
    assert by_name["top_k=1"].mean("t2v/R1") == by_name["rerank=none"].mean("t2v/R1")
    assert by_name["top_k=1"].outcome == "n.s."
    assert by_name["top_k=1"].comparisons["t2v/R1"].p == 1


def test_a_fault_of_the_configuration_ends_with_2_and_computes_nothing(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(lab, "train.epoch=3") == 2
    message = capsys.readouterr().err
    assert "command line: train.epoch: unknown key" in message
    assert "`train.epochs`" in message
    assert not lab.store.exists()


def test_a_fault_at_run_time_ends_with_1_and_keeps_what_was_computed(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {"model.interactions.dot": {"name": "toy_broken"}}
    assert command(lab, **broken) == 1
    assert "NaN" in capsys.readouterr().err
    assert lab.entries("encode")


def test_memory_that_is_no_size_is_refused_and_another_bounds_the_blocks(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_limit", None)
    assert command(lab, "--memory", "plenty") == 2
    assert "--memory: expected a size such as 512MiB or 4GB, got `plenty`" in capsys.readouterr().err
    assert command(lab, "--memory", "64KiB") == 0
    assert memory.allowed_floats() == 64 * 1024 // 4


def test_a_device_that_is_not_there_is_named_with_those_that_are(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(lab, "--device", "abacus") == 2
    assert "--device: `abacus` is not available here; there is: " in capsys.readouterr().err


def test_a_missing_file_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no/such.yaml"]) == 2
    assert "no/such.yaml: no such file" in capsys.readouterr().err


def test_a_dry_run_says_what_is_new_and_computes_nothing(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(lab, "--dry-run") == 0
    before = capsys.readouterr().out
    assert "hypothesis helps" in before
    assert "80 % power" in before
    assert not COUNTS["videos"]
    command(lab)
    capsys.readouterr()
    assert command(lab, "--dry-run") == 0
    after = capsys.readouterr().out
    assert "0 of" in after
    assert "2 of 2 trials are in the store" in after


def test_a_dry_run_says_what_could_be_shown_over_the_seeds_and_which_claims_could_not(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = {"no_worse": {"retrieve.rerank.top_k": 2}, "than": "baseline"}
    claims = {
        "narrow": arms | {"margin": 1},
        "as_seen": arms | {"margin": 1, "seeds": "as seen"},
        "wide": arms | {"margin": 90, "seeds": "as seen"},
        "ranks": arms | {"margin": 1, "metric": "t2v/MnR", "seeds": "as seen"},
    }
    assert command(lab, "--dry-run", "retrieve.first_stage=linear", hypotheses=claims) == 0
    told = capsys.readouterr().out
    assert "With 2 seeds and 15 %, by the standard deviation of the difference over seeds: " in told
    power = [f"{detectable_difference(5, 0.15, 2, sd):.1f} points at {sd:g}" for sd in (0.5, 1.0, 2.0)]
    assert ", ".join(power) in told
    assert "narrow: no bound below 77.6 can be shown here, whatever the result; `seeds: as seen` claims less" in told
    points, ranks = 100 * (1 - 0.05 ** (1 / 5)), 4 * (1 - 0.05 ** (1 / 5))  # 5 videos
    assert f"as_seen: no bound below {points:.3g} can be shown here, whatever the result\n" in told
    assert f"ranks: no bound below {ranks:.3g} can be shown" in told
    assert "wide: no bound" not in told


def test_a_dry_run_of_a_longer_list_says_that_candidates_are_extended(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    command(lab)
    capsys.readouterr()
    assert command(lab, "ablate[retrieve.rerank.top_k]=[1,2,3,4]", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "beyond the candidates that are there, up to 4" in printed
    assert "fit            0 new" in printed


def test_bad_videos_are_listed_without_a_run(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    for picture in (lab.videos / "test" / "v0").iterdir():
        picture.write_bytes(b"")
    assert command(lab, "--check-videos") == 1
    printed = capsys.readouterr().out
    assert "test/v0" in printed
    assert "1 of 5 videos cannot be used" in printed
    assert not lab.entries("encode")


def test_skipped_videos_are_listed_in_the_report(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    for picture in (lab.videos / "test" / "v0").iterdir():
        picture.write_bytes(b"")
    assert command(lab) == 1
    assert "data.on_unreadable: skip" in capsys.readouterr().err
    assert command(lab, "data.on_unreadable=skip") == 0
    assert "test/v0" in (lab.folder / "runs" / "lab" / "report.md").read_text()
    assert "4 videos" in capsys.readouterr().out


def test_running_again_adds_nothing_to_mlflow(lab: Lab) -> None:
    database = lab.folder / "mlflow.db"
    tracking = {"outputs": {"mlflow": {"uri": f"sqlite:///{database}"}}}
    command(lab, **tracking)
    first = run_count(database)
    command(lab, **tracking)
    assert run_count(database) == first == 1 + 2 * 3 + 1


def run_count(database: Path) -> int:
    with sqlite3.connect(database) as connection:
        return connection.execute("select count(*) from runs").fetchone()[0]


def test_a_trained_encoder_is_exported_as_trained_and_a_frozen_one_as_it_was(lab: Lab) -> None:
    start = {"layer." + name for name in ("weight", "bias")}
    folders = {}
    for trainable in (True, False):
        folder = lab.folder / f"exported-{trainable}"
        assert command(lab, **{"encoder.trainable": trainable, **exported(folder)}) == 0
        folders[trainable] = load_file(folder / "toy.safetensors")
        assert set(folders[trainable]) == start
    weights = next(e.tensors() for e in lab.entries("fit") if "encoder.layer.weight" in e.tensors())
    assert torch.equal(folders[True]["layer.weight"], weights["encoder.layer.weight"])
    assert not torch.equal(folders[True]["layer.weight"], folders[False]["layer.weight"])


def test_an_export_replaces_an_earlier_one_and_nothing_of_anybody_elses(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = lab.folder / "model"
    folder.mkdir()
    mine = folder / "toy.safetensors"
    mine.write_bytes(b"weeks of training")
    assert command(lab, **exported(folder)) == 2
    assert f"outputs.export.folder: {folder} holds files that no export wrote" in capsys.readouterr().err
    assert (mine.read_bytes(), lab.entries("encode")) == (b"weeks of training", [])
    mine.unlink()
    assert command(lab, **exported(folder)) == 0
    (folder / "README.md").write_text("mine")
    assert command(lab, **exported(folder)) == 0
    assert (folder / "README.md").read_text() == "mine"
    with monkeypatch.context() as patched:  # killed while the files are moved into place
        patched.setattr("plugins.outputs.export.os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert command(lab, **{"encoder.trainable": True, **exported(folder)}) == 130
    assert command(lab, **{"encoder.trainable": True, **exported(folder)}) == 0
    mine.write_bytes(mine.read_bytes() + b"fine-tuned since")
    assert command(lab, **exported(folder)) == 2
    assert "changed since they were exported (toy.safetensors)" in capsys.readouterr().err
    assert mine.read_bytes().endswith(b"fine-tuned since")


def test_an_export_with_folders_is_whole_and_removes_nothing_outside_its_own(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, folder, mine = ToyEncoder.export, lab.folder / "model", lab.folder / "mine.txt"

    def with_folder(self: ToyEncoder, place: Path) -> None:
        write(self, place)
        (place / "vocabulary").mkdir()
        (place / "vocabulary" / "words.txt").write_text("one two")

    with monkeypatch.context() as patched:
        patched.setattr(ToyEncoder, "export", with_folder)
        assert [command(lab, **exported(folder)) for _ in range(2)] == [0, 0]
    assert (folder / "vocabulary" / "words.txt").read_text() == "one two"
    mine.write_text("mine")
    said = json.loads((folder / "exported.json").read_text())["files"]
    files = said | {"../mine.txt": [zlib.crc32(b"mine")], str(mine): [zlib.crc32(b"mine")]}
    (folder / "exported.json").write_text(json.dumps({"files": files}))
    assert command(lab, **exported(folder)) == 0
    assert mine.read_text() == "mine"
    assert not (folder / "vocabulary" / "words.txt").exists()


def test_an_export_waits_for_another_process_that_trains_the_same(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"encoder.trainable": True, **exported(lab.folder / "model")}
    assert command(lab, **asked) == 0
    (entry,) = lab.entries("fit")
    aside, key = lab.folder / "aside", entry.meta["key"]
    entry.folder.rename(aside)

    def other() -> None:
        with Store(lab.store).leases.hold("fit", key):
            taken.set()
            told.wait(60)
            aside.rename(entry.folder)

    def telling(patience: Patience, busy: Busy, what: str) -> None:
        tell(patience, busy, what)
        told.set()

    taken, told, tell = threading.Event(), threading.Event(), Patience.tell
    monkeypatch.setattr(Patience, "tell", telling)
    thread = threading.Thread(target=other)
    thread.start()
    assert taken.wait(30)
    assert command(lab, **asked) == 0
    thread.join()
    assert "waiting for `train" in capsys.readouterr().err


def test_an_encoder_that_cannot_be_exported_costs_neither_the_report_nor_the_tracking(
    lab: Lab, template: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: ToyEncoder, folder: Path) -> None:
        raise ValueError("no room for the tokenizer")

    database, model = shutil.copy(template, lab.folder / "mlflow.db"), lab.folder / "model"
    monkeypatch.setattr(ToyEncoder, "export", broken)
    outputs = {"export": {"folder": str(model)}, "mlflow": {"uri": f"sqlite:///{database}"}}
    asked = {"outputs": outputs, "seeds": [0]}
    assert command(lab, **asked) == 1
    printed = capsys.readouterr()
    assert "error: output `export` (retrieval-ablations): export: " in printed.err
    assert re.search(r"model could not be written: encoder `toy_encoder` .*no room for the tokenizer", printed.err)
    assert "Traceback" not in printed.err
    assert run_count(database) > 0
    assert not model.exists()


def test_a_trained_encoder_that_cannot_be_trained_again_is_told_at_export(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"encoder.trainable": True, **exported(lab.folder / "model")}
    assert command(lab, **asked) == 0
    shutil.rmtree(lab.entries("fit")[0].folder)

    def broken(*_: object, **__: object) -> None:
        raise ValueError("no weights today")

    monkeypatch.setattr(ToyEncoder, "load", broken)
    assert command(lab, **asked) == 1
    assert "no weights today" in capsys.readouterr().err


def test_a_call_from_python_prints_nothing(lab: Lab, template: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = shutil.copy(template, lab.folder / "mlflow.db")
    file = lab.write({**ABLATION, "outputs": {"mlflow": {"uri": f"sqlite:///{database}"}}})
    core.run_experiment(str(file), store=str(lab.store), runs=str(lab.folder / "runs"), workers=0)
    assert capsys.readouterr().out == ""


def test_a_negative_number_of_workers_is_refused(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(lab, "--workers", "-1") == 2
    assert "--workers: must be 0" in capsys.readouterr().err


def test_the_resolved_configurations_stand_beside_the_report(lab: Lab) -> None:
    command(lab)
    resolved = json.loads((lab.folder / "runs" / "lab" / "resolved.json").read_text())
    assert resolved["top_k=2"]["retrieve"]["rerank"]["top_k"] == 2
    assert resolved["rerank=none"]["retrieve"]["rerank"] is None


def test_several_files_are_checked_together_and_run_one_after_another(lab, capsys):
    first = lab.write({"name": "first", "outputs": {"mlflow": None}})
    second = first.with_name("second.yaml")
    second.write_text(first.read_text().replace("name: first", "name: second"))
    places = ["--store", str(lab.store), "--runs", str(lab.folder / "runs")]
    assert main([str(first), str(second), "train.epochs=1", *places]) == 0
    assert {path.name for path in (lab.folder / "runs").iterdir()} == {"first", "second"}
    assert "0 of" in capsys.readouterr().out
    second.write_text(second.read_text().replace("toy_dot", "toy_dott"))
    first.write_text(first.read_text().replace("name: first", "name: third"))
    assert main([str(first), str(second), *places]) == 2
    assert "toy_dott" in capsys.readouterr().err
    assert not (lab.folder / "runs" / "third").exists()


def test_an_interruption_of_which_a_library_makes_another_error_is_still_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    @ends_quietly
    def importing(_: Sequence[str] | None = None) -> int:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise RecursionError("numpy is half imported")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert importing() == 130
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err.startswith("stopped; ")


def test_the_handler_of_the_signal_that_ends_a_run_is_given_back(lab: Lab) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert command(lab, "--dry-run") == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_experiments_whose_names_differ_in_capital_letters_share_no_folder_on_a_disk_that_does_not_tell_them_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab").mkdir()
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: exists(path) or exists(path.with_name(path.name.lower())))
    assert report_folder(tmp_path, "lab") == tmp_path / "lab"
    other = report_folder(tmp_path, "Lab")
    assert other.name.startswith("Lab-")
    assert other != report_folder(tmp_path, "LAB")


def test_a_registration_that_cannot_be_read_is_a_fault_before_the_data_are_made_too(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(lab) == 0
    receipt = lab.folder / "runs" / "lab" / "registration.json"
    monkeypatch.setattr("core.engine.steps.step.Workspace.is_prepared", lambda *_: False)
    assert command(lab, "--dry-run", "--registered", str(tmp_path / "nowhere.json")) == 2
    capsys.readouterr()
    assert command(lab, "--dry-run", "--registered", str(receipt)) == 0
    assert "can be compared once the data set is made" in capsys.readouterr().out
