"""What reaches MLflow is ours, safe to show, and to be read by whom the umask lets."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from core import RunError
from core.evidence.ground import closed_yaml
from plugins.outputs.mlflow.trial import allowed

from .reported import write
from .still import EXPERIMENT, Place, _plugin, artifacts, new_place

__all__ = ["_plugin"]


@pytest.mark.parametrize("anonymous", [False, True])
def test_an_anonymous_experiment_names_neither_person_machine_folder_nor_repository(
    tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch, anonymous: bool
) -> None:
    home = tmp_path / "erika_mustermann"
    home.mkdir()
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false"]
    for command in (["init"], ["remote", "add", "origin", "https://tok3n@forge.example/erika"]):
        subprocess.run([*git, *command], cwd=home, check=True, capture_output=True)
    subprocess.run([*git, "commit", "--allow-empty", "-m", "a"], cwd=home, check=True, capture_output=True)
    monkeypatch.chdir(home)
    monkeypatch.setattr("getpass.getuser", lambda: "erika_mustermann")
    monkeypatch.setattr("socket.gethostname", lambda: "lab-host-17")
    place = new_place(home, template)
    extra = ["seeds=[0]", f"outputs.export.folder={home}/weights", f"anonymous={str(anonymous).lower()}"]
    result = place.result(*extra)
    write(result, home / "runs")
    place.track(result)
    with sqlite3.connect(home / "mlflow.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    files = [home / "mlflow.db", *(path for path in (home / "mlartifacts").rglob("*") if path.is_file())]
    told = b"".join(path.read_bytes() for path in files)
    secrets = [b"erika_mustermann", b"lab-host-17", b"forge.example", str(tmp_path).encode()]
    assert [secret in told for secret in secrets] == 4 * [not anonymous]
    assert b"tok3n" not in told
    assert b"does depth help?" in told
    assert place.track(place.result(*extra)).new_runs == 0


def test_a_password_in_the_experiment_file_reaches_no_artifact(place: Place) -> None:
    Path(place.file).write_text(f"{EXPERIMENT}references: []\n# postgresql://me:s3cret@host/db\n")
    place.track(place.result("seeds=[0]"))
    (parent,) = place.runs("experiment")
    written = (artifacts(place, parent) / "experiment/depth.yaml").read_text()
    assert "postgresql://***@host/db" in written
    assert not [path for path in (place.folder / "mlartifacts").rglob("*.*") if b"s3cret" in path.read_bytes()]


@pytest.mark.parametrize(
    "written",
    [
        "outputs: {mlflow: {uri: 'http://me:s3 cr/e@t@host'}}",
        "outputs:\n  mlflow:\n    uri: >-\n      http://me:s3\n      cr/e@t@host",
        'outputs: {mlflow: {"uri": "http://me:s3\\x20cr/e@t@host"}}',
        "outputs.mlflow.uri: http://me:s3 cr/e@t@host",
        "outputs.mlflow: {uri: http://me:s3 cr/e@t@host}",
        "outputs: {mlflow: {uri: &u 'http://me:s3 cr/e@t@host'}}",
        "outputs: {other: {name: theirs, servers: [{at: 'http://me:s3 cr/e@t@host'}]}}",
    ],
)
def test_the_addresses_of_a_files_outputs_are_safe_to_show_however_yaml_spells_them(written: str) -> None:
    shown = closed_yaml(f"name: x\n{written}\nseeds: [0]  # one\n")
    assert yaml.safe_load(shown).keys() >= {"name", "seeds"}
    assert 'http://***@host"' in shown
    assert shown.endswith("\nseeds: [0]  # one\n")
    assert "s3" not in shown
    assert "cr" not in shown


def test_an_experiment_file_that_tells_nothing_is_kept_as_it_is_written() -> None:
    plain = [
        "outputs: {mlflow: {uri: 'sqlite:///a.db'}}\n",
        "outputs: {mlflow: {uri: null}}",
        "outputs: {report: null}",
    ]
    for text in (EXPERIMENT, *plain, "", "- a"):
        assert closed_yaml(text) == text


HOSTILE = "<img src=x onerror=alert(1)> [a](javascript:alert(1)) <script>b</script> ![](http://evil.example/x)"


def test_texts_of_others_make_no_html_and_no_links_in_mlflows_notes(
    place: Place,
) -> None:
    question = f"# Question: does {HOSTILE.replace('?', '')} help?\n# {HOSTILE}\n"
    Path(place.file).write_text(question + EXPERIMENT.partition("\n")[2].replace("depth_helps", f"'{HOSTILE}'"))
    hostile = {"notes": [f"Beware: {HOSTILE}", "`a` <b>"], "facts": {"Data set": HOSTILE}}
    answer = place.track(replace(place.result("seeds=[0]"), **hostile))
    notes = [
        place.client.get_run(answer.run_id).data.tags["mlflow.note.content"],
        place.client.get_experiment(answer.experiment_id).tags["mlflow.note.content"],
    ]
    for note, times in zip(notes, (4, 2), strict=True):
        assert note.count("onerror") == times
        tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(note)
        pieces = [piece for token in tokens for piece in (token, *(token.children or []))]
        assert not [piece for piece in pieces if piece.type.startswith("html")]
        targets = [str(piece.attrs.get("href") or piece.attrs.get("src") or "") for piece in pieces]
        assert {target.partition("?")[0].partition("/")[0] for target in targets} <= {"", "#", "get-artifact"}


@pytest.mark.parametrize(
    "name", ["a//b", "../a", "/a", "a/", ".", "..", "", "./a", "a@b", "x" * 300, "größe", "t2v/R1"]
)
def test_every_name_is_one_that_mlflow_takes(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_tag_name

    _validate_tag_name(f"verdict/{allowed(name)}")
    _validate_metric_name(allowed(name))
    if name == "t2v/R1":
        assert allowed(name) == name


def test_only_files_of_the_report_reach_mlflow(place: Place) -> None:
    result = place.result("seeds=[0]")
    folder = place.report(result)
    (folder / "figures").mkdir()
    kept = {"report.html", "table.csv", "published_2.csv", "figures/depth.svg", "figures/größe.pdf"}
    left = {
        ".report.md.123",
        "figures/.123.depth.svg",
        "figures/drawn.json",
        "notes.txt",
        "figures/.hidden.png",
        "x.part",
    }
    for name in kept | left:
        (folder / name).write_text("x")
    answer = place.track(result)
    uploaded = artifacts(place, place.client.get_run(answer.run_id)) / "report"
    assert {str(path.relative_to(uploaded)) for path in uploaded.rglob("*") if path.is_file()} == kept
    note = place.client.get_run(answer.run_id).data.tags["mlflow.note.content"]
    assert note.count("get-artifact") == 1


def test_what_a_killed_report_left_is_removed_by_the_next(undrawn: None, place: Place) -> None:
    result = place.result("seeds=[0]")
    gone = subprocess.Popen(["true"])
    gone.wait()
    figures = place.folder / "runs" / "depth" / "figures"
    figures.mkdir(parents=True)
    left = [figures.parent / f".table.csv.{gone.pid}", figures / f".{gone.pid}.depth.svg"]
    kept = [figures.parent / f".table.csv.{os.getppid()}", figures.parent / ".notes.1", figures / ".mine.svg"]
    young = figures / f".{gone.pid}.other.png"
    for path in (*left, *kept, young):
        path.write_text("x")
        os.utime(path, (0, 0))
    young.touch()
    write(result, place.folder / "runs", ["report"])
    assert not [path for path in left if path.exists()]
    assert all(path.exists() for path in (*kept, young))


@pytest.mark.parametrize("umask", [0o002, 0o077])
def test_report_and_mlflow_may_be_read_and_written_by_those_whom_the_umask_lets(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        (tmp_path / "lab").mkdir()
        place = Place(tmp_path / "lab")
        Path(place.file).write_text(EXPERIMENT)
        result = place.result("seeds=[0]")
        write(result, place.folder / "runs")
        place.track(result)
    finally:
        os.umask(before)
    written = [path for path in place.folder.rglob("*") if not path.is_relative_to(place.folder / "store")]
    modes = {path: path.stat().st_mode & 0o777 for path in written}
    places = {path.relative_to(place.folder).parts[0] for path in written}
    assert {"runs", "mlflow.db", "mlartifacts", ".mlflow.lock"} <= places
    deviating = {str(p): oct(mode) for p, mode in modes.items() if mode != (0o777 if p.is_dir() else 0o666) & ~umask}
    assert deviating == {}


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:hun/ter@TWO@127.0.0.1:9",
        "http://hunterTWO@127.0.0.1:9/?token=hunterTWO",
        "postgresql+psycopg://me:hun#ter/TWO@127.0.0.1:9/db?connect_timeout=1",
        "postgresql+psycopg://127.0.0.1:9/db?user=me&password=hunter@TWO&connect_timeout=1",
    ],
)
def test_what_opens_a_server_that_cannot_be_reached_is_written_and_printed_nowhere(
    uri: str, place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("plugins.outputs.figures.files.FORMATS", (".svg",))  # whose words are there to be read
    monkeypatch.chdir(place.folder)
    for given in (uri, None):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        result = place.result(f"outputs.mlflow.uri={json.dumps(given)}", "seeds=[0]")
        write(result, place.folder / "runs")
        with pytest.raises(RunError, match="No result is lost") as caught:
            place.track(result)
        assert "TWO" not in "".join(traceback.format_exception(caught.value))
        assert "hun" not in str(caught.value)
    place.track(place.result(f"outputs.mlflow.uri={place.uri}", "seeds=[0]"))
    assert "TWO" not in "".join(capfd.readouterr())
    files = [path for path in place.folder.rglob("*") if path.is_file()]
    assert len(files) > 30
    assert [path for path in files if b"TWO" in path.read_bytes() or b"hun" in path.read_bytes()] == []
