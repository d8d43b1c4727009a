"""`python -m core.compare`: its call, what it prints, numbers that were printed elsewhere."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax

from core.compare import compare_inputs, printed
from core.compare.__main__ import main
from core.contract.store import Store
from core.errors import ConfigError

from .compared import KEYS, ROOT, N, _elsewhere, many_captions, put_trial, ranks, save, scores

__all__ = ["_elsewhere", "scores"]


# ------------------------------------------------------------------------------------------------ the command


def test_the_command_prints_one_table_and_a_verdict_and_writes_json(scores, capsys):
    assert main([*save(a=scores[0], b=scores[1]), "--json", "out.json", "--direction", "both"]) == 0
    out = capsys.readouterr().out
    told_all = json.loads(Path("out.json").read_text())
    assert "b.npy is better than a.npy on t2v/R1: +" in out
    assert "95 % interval" in out
    assert f"t2v/R1: n = {N} texts" in out
    assert [line["metric"] for line in told_all["lines"]] == ["t2v/R1", "t2v/R1", "v2t/R1", "v2t/R1"]
    assert told_all["lines"][1]["comparison"]["n_clusters"] == N
    assert all(verdict in out for verdict in told_all["verdicts"])
    assert told_all["lines"][1]["size"] == f"{N} texts"
    assert told_all["doubts"] == []


def test_what_shows_no_difference_comes_with_what_could_have_been_shown(scores, capsys):
    a, b = save(a=scores[0], b=scores[0] + 0.002 * np.eye(N))
    main([a, b])
    out = capsys.readouterr().out
    assert "are not shown to differ on t2v/R1" in out
    made = compare_inputs([a, b]).lines[1].comparison
    discordance = (made.wins + made.losses) / N
    assert made.wins + made.losses == 1
    six_to_none = 100 * 6 / N  # what McNemar's test needs at least
    assert 280 * np.sqrt(discordance / N) < made.detectable == pytest.approx(six_to_none, rel=0.1)
    assert f"This test shows {made.detectable:.1f} points with 80 % power" in out


def test_clusters_are_named_in_the_sample_size(capsys):
    dump, own = many_captions(np.random.default_rng(0))
    main(save(a=dump, b=np.where(np.isneginf(dump), dump, dump + 0.05 * np.eye(30)[:, None])))
    assert f"n = 30 videos ({own.size} captions)" in capsys.readouterr().out


def test_faults_end_the_command_with_a_message(capsys):
    assert main(["a.npy", "b.npy"]) == 1
    assert "error: a.npy: no such file" in capsys.readouterr().err
    for wrong in ([], ["a", "b", "--published", "1", "2"], ["--published", "1", "2"]):
        with pytest.raises(SystemExit) as end:
            main(wrong)
        assert end.value.code == 2


@pytest.mark.parametrize(
    ("words", "told_so"),
    [
        ("a.npy", "error: needs two inputs at least"),
        ("a.npy b.npy --rows x --rows x --rows x", "--rows: give it once for all inputs, or once for each of the 2"),
        ("a.npy b.npy --cols x --cols x --cols x", "--cols: give it once for all inputs"),
        ("a.npy b.npy --metric R", "--metric: unknown metric `R`. Did you mean `R"),
        ("a.npy b.npy --metric R0", "--metric: unknown metric `R0`"),
        ("a.npy b.npy --metric foo.bar", "--metric: unknown metric `foo.bar`. Known: MRR"),
        ("a.npy b.npy --metric a/R1", "--metric: unknown metric `a/R1`"),
        ("a.npy b.npy --metric t2v/R1", "--metric: write R1, and the direction as --direction t2v"),
        ("a.npy b.npy --metric cost/latency_ms", "is a cost, which no query has a value of its own for: the report"),
        ("a.npy b.npy --seed -1", "--seed: 0 or more, not -1"),
        ("a.npy b.npy --draws 19", "--draws: 19 are too few: no p could be below .05; 20 at least"),
        ("a.npy b.npy c.npy --direction both --draws 79", "no p of 4 comparisons, corrected for each other, could be"),
        ("a.npy b.npy --json nowhere/out.json", "--json: nowhere/out.json: there is no folder nowhere"),
        ("a.npy b.npy --json .", "--json: . is a folder"),
        ("a.npy b.npy --json ./b.npy", "--json: ./b.npy is read by this call"),
        ("a.npy b.npy --cols ids --json ids", "--json: ids is read by this call"),
        ("--published 101 2 --n 100", "--published: expected a recall in percent, such as 48.1, got 101"),
        ("--published nan 2 --n 100", "--published: expected a recall in percent"),
        ("--published 1 2 --n 0", "--n: needs one query at least, got 0"),
        ("--published 1 2 --n 100 --json nowhere/out.json", "--json: nowhere/out.json: there is no folder nowhere"),
    ],
)
def test_a_call_that_is_wrong_ends_with_status_2_before_any_file_is_opened(words, told_so, capsys):
    assert main(shlex.split(words)) == 2
    said = capsys.readouterr()
    assert told_so in said.err
    assert not said.out


def test_as_many_draws_as_can_be_significant_are_enough(scores):
    files = save(a=scores[0], b=scores[1], c=scores[1] + 1e-4 * scores[0])
    assert [line.outcome for line in compare_inputs(files, draws=40).lines] == ["baseline", "better", "better"]


def test_the_same_input_twice_is_refused_however_it_is_written(scores, capsys, monkeypatch):
    a, _ = save(a=scores[0], b=scores[1])
    put_trial(Store("store"), KEYS[0], ranks(scores[0]) == 1, np.arange(N))
    Path("link.npy").symlink_to("a.npy")
    monkeypatch.setattr("core.outputs.trial_named", lambda run_id: KEYS[0])
    for inputs, told_so in (
        ([a, a], "a.npy is given twice: it has no difference from itself"),
        ([a, "./a.npy"], "a.npy and ./a.npy are the same file"),
        ([a, "link.npy"], "a.npy and link.npy are the same file"),
        ([f"store:{KEYS[0]}", KEYS[0]], f"store:{KEYS[0]} and {KEYS[0]} are the same trial"),
        (["b.npy", "1" * 32, KEYS[0]], f"{'1' * 32} and {KEYS[0]} are the same trial"),
    ):
        assert main(inputs) == 2
        assert told_so in capsys.readouterr().err


def test_the_page_shows_what_its_commands_print(capsys):
    page = (ROOT / "docs" / "compare.md").read_text()
    (made,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(made, space := {})
    shown = re.findall(r"```console\n\$ python -m core.compare (.*?)\n(.*?)```", page, re.S)
    assert len(shown) == 3
    for words, expected in shown:
        assert main(shlex.split(words)) == 0
        assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == expected.splitlines()
    soft = space["ours"] * softmax(10 * space["ours"], axis=0)
    assert not compare_inputs(["theirs.npy", *save(soft=soft)]).warnings


def test_help_says_what_an_unflagged_matrix_does_not_prove_and_what_the_exit_status_means(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "one that is not flagged is no proof that there is none" in said
    assert "0 compared; 1 a file or trial cannot be read or compared; 2 the call is wrong" in said


def test_help_and_printed_numbers_need_neither_torch_nor_mlflow():
    code = "import sys, core.compare.__main__ as c; c.main(sys.argv[1:]); print({'torch', 'mlflow'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code, "--published", "48.1", "47.4", "--n", "1000"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "set()"


# ------------------------------------------------------------------------------------------------ printed numbers


def test_printed_numbers_bound_what_any_pairing_could_show():
    near = printed("48.1", "47.4", 1000)
    assert near.best == pytest.approx(2 * 0.5**7)
    assert all(0.6 <= p <= 0.71 for p in near.usual.values())
    for share, p in near.usual.items():
        wins = round((1000 * share + 7) / 2)
        assert p == pytest.approx(stats.binomtest(wins, 2 * wins - 7).pvalue, abs=0.01)
    nearer = printed("48.1", "47.8", 1000)
    assert nearer.best == 0.25
    assert "not significant at .05, whatever the pairing" in nearer.lines[0]
    assert "significant at .05 at usual discordance" in printed("48.1", "40.0", 1000).lines[0]


def test_the_best_pairing_is_the_best_of_all():
    every = [stats.binomtest(losses + 3, 2 * losses + 3).pvalue for losses in range(48)]
    assert printed("50", "47", 100).best == pytest.approx(min(every))


def test_printed_digits_leave_room_and_impossible_numbers_are_told():
    found = printed("48.1", "47.9", 5000)  # printed for 2,403 to 2,407 and 2,393 to 2,397
    assert found.net == (6, 14)


@pytest.mark.parametrize(
    ("numbers", "n", "net"),
    [(("48.1", "47.45"), 1000, (6, 7)), (("47.45", "48.1"), 1000, (6, 7)), (("48.1", "47.4"), 3, (0, 1))],
)
def test_of_an_impossible_number_both_counts_beside_it_are_taken_and_there_is_no_verdict(numbers, n, net):
    found = printed(*numbers, n)
    assert found.net == net
    assert found.best == pytest.approx(min(1.0, 2 * 0.5 ** net[1]))
    assert found.verdict == ""
    assert f"no count of {n:,} queries gives {next(x for x in numbers if x in found.impossible)}" in found.lines[0]
    assert not any("significant" in line or "usual" in line for line in found.lines)


def test_the_counts_beside_an_impossible_number_are_told():
    assert printed("43.1", "48.15", 1000).impossible == {"48.15": (481, 482)}
    assert "481 gives 48.1, 482 gives 48.2" in printed("43.1", "48.15", 1000).lines[0]


@pytest.mark.parametrize("numbers", [("0.481", "0.474"), ("0.5", "0.4")])
def test_two_fractions_are_asked_about_before_anything_is_said_of_them(numbers):
    lines = printed(*numbers, 1000).lines
    asked = next(at for at, line in enumerate(lines) if "fractions? They are read as percent" in line)
    assert all(line.startswith("Beware") for line in lines[:asked])
    assert not any("fractions" in line for line in printed("48.1", "0.4", 1000).lines)


@pytest.mark.parametrize(
    ("numbers", "n"), [(("481", "47"), 10), (("x", "47"), 10), (("1e1", "2"), 9), (("48", "47"), 0)]
)
def test_what_is_no_recall_is_refused(numbers, n):
    with pytest.raises(ConfigError, match=r"--published|--n"):
        printed(*numbers, n)


def test_the_command_prints_the_bounds(capsys):
    assert main(["--published", "48.1", "47.8", "--n", "1000", "--json", "out.json"]) == 0
    assert "p >= 0.250 whatever the pairing" in capsys.readouterr().out
    assert json.loads(Path("out.json").read_text())["best"] == 0.25


def test_no_name_is_markup_a_picture_or_a_control_in_a_comparison(capsys, monkeypatch):
    from core.compare import Compared, Line, table

    name = "[red]a[/red] :fire: \x1b[31mb"
    monkeypatch.setattr(table, "sentences", lambda compared: compared.remarks)
    table.show(Compared((Line(name, "t2v/R1", 50.0, None, "", ""),), (name,), (), (name,), ()))
    printed = capsys.readouterr().out
    assert printed.count("[red]a[/red] :fire: \\x1b[31mb") == 3
    assert "\x1b" not in printed
