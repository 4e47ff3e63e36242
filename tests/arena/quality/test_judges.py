"""A judge's figures against their definitions written out battle by battle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.quality.judges import Judged, by_category, judge_agreement, share
from tests.arena.quality.test_agreement import slow_kappa

VERDICTS = st.sampled_from(["a", "b", "tie", "both_bad"])
SAID = st.tuples(st.none() | VERDICTS, st.none() | VERDICTS).filter(any)
ROWS = st.lists(
    st.builds(
        lambda voter, human, said, category: Judged(voter, human, *said, category),
        st.sampled_from(["v1", "v2", "v3"]),
        VERDICTS,
        SAID,
        st.sampled_from(["", "code", "prose"]),
    ),
    max_size=25,
)


def slow_outcome(first: str | None, second: str | None) -> str:
    """The judge names a winner when everything that it said names this winner."""
    said = [v for v in (first, second) if v]
    for side in ("a", "b"):
        if all(v == side for v in said):
            return side
    return "neither"


@given(ROWS)
def test_figures_equal_their_definitions(rows: list[Judged]) -> None:
    found = judge_agreement(rows)
    assert found.n_battles == len(rows)
    points, n_decided, same, n_both, first_shown, n_turned = 0.0, 0, 0, 0, 0, 0
    pairs = []
    for row in rows:
        outcome = slow_outcome(row.first, row.second)
        human = row.human if row.human in ("a", "b") else "neither"
        pairs.append((human, outcome))
        if human != "neither":
            n_decided += 1
            points += 1 if outcome == human else 0.5 if outcome == "neither" else 0
        if row.first and row.second:
            n_both += 1
            kinds = [v if v in ("a", "b") else "neither" for v in (row.first, row.second)]
            same += kinds[0] == kinds[1]
            if sorted(kinds) == ["a", "b"]:
                n_turned += 1
                first_shown += row.first == "a"
    expected = (
        (found.accuracy, points, n_decided),
        (found.consistency, same, n_both),
        (found.first_shown, first_shown, n_turned),
    )
    for value, sum_of, n in expected:
        assert value.n_items == n
        assert value.value == (pytest.approx(sum_of / n) if n else None)
    kappa = slow_kappa(pairs) if pairs else None
    assert found.kappa.value == (None if kappa is None else pytest.approx(kappa))


@given(ROWS)
def test_categories_are_judged_apart(rows: list[Judged]) -> None:
    found = by_category(rows)
    assert list(found) == sorted({row.category for row in rows if row.category})
    for name, agreement in found.items():
        assert agreement == judge_agreement([row for row in rows if row.category == name])


def test_a_coin_and_a_judge_without_preference_have_one_half() -> None:
    rows = [Judged(f"v{n % 7}", "ab"[n % 2], "tie", "tie") for n in range(40)]
    assert judge_agreement(rows).accuracy.value == 0.5
    left = [Judged(f"v{n % 7}", "ab"[n % 2], "a", "b") for n in range(40)]
    found = judge_agreement(left)
    assert (found.accuracy.value, found.consistency.value, found.first_shown.value) == (0.5, 0.0, 1.0)


def test_interval_is_by_voter_and_holds_the_value() -> None:
    few = share([("heavy", 1.0)] * 50 + [(f"v{n}", 0.0) for n in range(10)])
    many = share([(f"v{n}", float(n % 6 != 0)) for n in range(60)])
    for found in (few, many):
        assert found.value is not None
        assert found.lower is not None
        assert found.upper is not None
        assert found.lower <= found.value <= found.upper
    assert few.value == many.value == pytest.approx(5 / 6)
    assert few.upper - few.lower > 2 * (many.upper - many.lower)  # type: ignore[operator]


def test_one_voter_has_no_interval() -> None:
    assert share([("v", 1.0), ("v", 0.0)]).lower is None


def test_what_is_no_verdict_is_refused() -> None:
    with pytest.raises(ValueError, match="in either order"):
        Judged("v", "a", None)
    with pytest.raises(ValueError, match="no verdict"):
        judge_agreement([Judged("v", "left", "a")])
