"""Rows whose weights were selected on test: shown, and compared with none that were not."""

from tests.engine import Lab

from .found import rows

TRAINED = {"retrieve.first_stage": "linear", "retrieve.rerank": None, "train.keep": "best"}
REPEATED = TRAINED | {
    "variants": {
        "untrained": {"retrieve.first_stage": "dot"},
        "honest": {},
        "brief": {"train.epochs": 1},
        "repeated": {"train.select_on": "test"},
    },
    "hypotheses": {
        "fair": {"no_worse": "brief", "than": "honest", "margin": 100},
        "peeking": {"no_worse": "repeated", "than": "honest", "margin": 100},
        "against_it": {"better": "honest", "than": "repeated"},
    },
}


def test_a_row_that_was_selected_on_test_is_shown_without_comparison_or_verdict(wide: Lab) -> None:
    result = wide.result(REPEATED | {"baseline": "honest"})
    found = rows(result)
    assert {name for name, row in found.items() if row.selected_on_test} == {"repeated"}
    assert found["repeated"].outcome == "selected on test: not compared"
    assert found["repeated"].comparisons == {}
    assert found["repeated"].mean("t2v/R1") > 0
    assert found["brief"].comparisons["t2v/R1"].family == 2
    assert [claim.hypothesis.name for claim in result.decisions] == ["fair"]
    assert result.decisions[0].verdict.family == 1
    why = "the weights of repeated were selected on test (train.select_on: test), those of honest were not"
    assert [(h.name, reason) for h, reason in result.incomparable] == [("peeking", why), ("against_it", why)]


def test_nothing_is_compared_with_a_baseline_that_was_selected_on_test(wide: Lab) -> None:
    result = wide.result(REPEATED | {"baseline": "repeated"})
    outcomes = {row.name: row.outcome for row in result.rows}
    assert outcomes == {
        "untrained": "baseline selected on test: not compared",
        "honest": "baseline selected on test: not compared",
        "brief": "baseline selected on test: not compared",
        "repeated": "baseline, selected on test",
    }
    assert not any(row.comparisons for row in result.rows)
    assert [claim.hypothesis.name for claim in result.decisions] == ["fair"]


def test_where_no_weights_are_chosen_none_were_selected_on_test(wide: Lab) -> None:
    result = wide.result(
        TRAINED
        | {
            "train.select_on": "test",
            "variants": {
                "untrained": {"retrieve.first_stage": "dot", "model.losses": {}},
                "last": {"train.keep": "last"},
            },
        }
    )
    assert not any(row.selected_on_test for row in result.rows)
    assert rows(result)["last"].comparisons
