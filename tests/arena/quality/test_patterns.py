"""Evidence against its definition, its false alarms, and how soon it finds who follows a pattern."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.quality import Ballot, Crowd, Gate, Outcome, OutcomeModel, Pattern, gate_above, judge_voter
from arena.quality.patterns import FAN_SHIFT, FIRM

NAMES = [f"c{n}" for n in range(8)]
CROWD = Crowd({name: 0.25 * (n - 3.5) for n, name in enumerate(NAMES)}, 0.2)
ALARM = 1000
ballots = st.lists(
    st.tuples(st.permutations(NAMES), st.integers(0, 2)).map(lambda t: Ballot(t[0][0], t[0][1], t[1])), max_size=12
)


def slow_outcome(model: OutcomeModel, difference: float) -> list[float]:
    """Davidson's model as published: π_i : ν √(π_i π_j) : π_j."""
    first, second = math.exp(model.keenness * difference + model.lean), 1.0
    neutral = 2 * model.neutral / (1 - model.neutral) * math.sqrt(first * second)
    total = first + neutral + second
    return [first / total, neutral / total, second / total]


def slow_log_odds(pattern: Pattern, votes: list[Ballot], name: str = "") -> float:
    """The definition, vote by vote."""

    def honest(models: list[OutcomeModel], rows: list[Ballot], shift: Callable[[Ballot], float]) -> float:
        return max(
            sum(
                math.log(slow_outcome(m, CROWD.strengths[v.side_a] - CROWD.strengths[v.side_b] + shift(v))[v.outcome])
                for v in rows
            )
            for m in models
        )

    models = list(CROWD.honest_models())
    if pattern is Pattern.RANDOM:
        contrary = [OutcomeModel(-m.keenness, m.neutral, m.lean) for m in models]
        ways = [sum(math.log(slow_outcome(OutcomeModel(0, n), 0)[v.outcome]) for v in votes) for n in CROWD.neutrals]
        top = max(ways)
        mean = top + math.log(sum(math.exp(w - top) for w in ways) / len(ways))
        return mean - honest(models + contrary, votes, lambda v: 0.0)
    if pattern in (Pattern.FAVOURS_ONE, Pattern.PUNISHES_ONE):
        sign = 1 if pattern is Pattern.FAVOURS_ONE else -1
        own = [v for v in votes if name in (v.side_a, v.side_b)]
        wanted = [(0 if (v.side_a == name) == (sign > 0) else 2) for v in own]
        followed = [math.log(FIRM if v.outcome == w else (1 - FIRM) / 2) for v, w in zip(own, wanted, strict=True)]
        likeliest = max(
            honest(models, own, lambda v: 0.0),
            honest(models, own, lambda v: sign * FAN_SHIFT * (1 if v.side_a == name else -1)),
        )
        return sum(followed) - likeliest - math.log(len(CROWD.strengths))
    place = {Pattern.ALWAYS_LEFT: 0, Pattern.ALWAYS_TIE: 1, Pattern.ALWAYS_RIGHT: 2}[pattern]
    followed = [math.log(FIRM if v.outcome == place else (1 - FIRM) / 2) for v in votes]
    return sum(followed) - honest(models, votes, lambda v: 0.0)


@given(ballots)
@settings(max_examples=40)
def test_evidence_equals_its_definition(votes: list[Ballot]) -> None:
    for found in judge_voter(votes, CROWD):
        if not votes:
            assert found.log_odds == 0
        elif found.contestant:
            names = {n for v in votes for n in (v.side_a, v.side_b)}
            expected = max(slow_log_odds(found.pattern, votes, name) for name in names)
            assert found.log_odds == pytest.approx(expected)
            assert slow_log_odds(found.pattern, votes, found.contestant) == pytest.approx(expected)
        else:
            assert found.log_odds == pytest.approx(slow_log_odds(found.pattern, votes))


@given(ballots)
@settings(max_examples=30)
def test_turning_every_vote_around_swaps_left_and_right(votes: list[Ballot]) -> None:
    turned = [Ballot(v.side_b, v.side_a, 2 - v.outcome) for v in votes]
    one = {e.pattern: e.log_odds for e in judge_voter(votes, CROWD)}
    other = {e.pattern: e.log_odds for e in judge_voter(turned, CROWD)}
    swap = {Pattern.ALWAYS_LEFT: Pattern.ALWAYS_RIGHT, Pattern.ALWAYS_RIGHT: Pattern.ALWAYS_LEFT}
    for pattern, odds in one.items():
        assert other[swap.get(pattern, pattern)] == pytest.approx(odds)


Voter = Callable[[str, str, random.Random], int]


def honest(a: str, b: str, source: random.Random) -> int:
    shares = slow_outcome(OutcomeModel(1, CROWD.neutral), CROWD.strengths[a] - CROWD.strengths[b])
    return source.choices([0, 1, 2], shares)[0]


def fan(a: str, b: str, source: random.Random) -> int:
    return 0 if a == "c0" else 2 if b == "c0" else honest(a, b, source)


def foe(a: str, b: str, source: random.Random) -> int:
    return 2 if a == "c7" else 0 if b == "c7" else honest(a, b, source)


def first_alarm(voter: Voter, seed: int, n_votes: int, every: int = 1) -> tuple[int, Pattern] | None:
    source, votes = random.Random(seed), []
    for n in range(1, n_votes + 1):
        a, b = source.sample(NAMES, 2)
        votes.append(Ballot(a, b, voter(a, b, source)))
        if n % every == 0 and (found := judge_voter(votes, CROWD)[0]).exceeds(ALARM):
            return n, found.pattern
    return None


def test_honest_voters_are_left_alone() -> None:
    assert [seed for seed in range(150) if first_alarm(honest, seed, 100, every=5)] == []


@pytest.mark.parametrize(
    ("voter", "pattern", "within"),
    [
        (lambda a, b, source: 0, Pattern.ALWAYS_LEFT, 10),
        (lambda a, b, source: 2, Pattern.ALWAYS_RIGHT, 10),
        (lambda a, b, source: 1, Pattern.ALWAYS_TIE, 9),
        (fan, Pattern.FAVOURS_ONE, 60),
        (foe, Pattern.PUNISHES_ONE, 60),
    ],
)
def test_finds_who_follows_a_pattern(voter: Voter, pattern: Pattern, within: int) -> None:
    found = [first_alarm(voter, seed, 2 * within + 40) for seed in range(21)]
    assert all(found)
    assert statistics.median(f[0] for f in found if f) <= within
    assert {f[1] for f in found if f} == {pattern}


def test_finds_who_answers_at_random() -> None:
    found = first_alarm(lambda a, b, source: source.choice((0, 2)), 3, 900, every=20)
    assert found is not None
    assert found[1] is Pattern.RANDOM


def test_who_reads_but_prefers_the_opposite_is_not_called_random() -> None:
    source = random.Random(5)
    pairs = [source.sample(NAMES, 2) for _ in range(300)]
    votes = [Ballot(a, b, honest(b, a, source)) for a, b in pairs]
    odds = {e.pattern: e for e in judge_voter(votes, CROWD)}
    assert not odds[Pattern.RANDOM].exceeds(1)


def test_votes_between_unrated_contestants_say_nothing() -> None:
    assert {e.n_votes for e in judge_voter([Ballot("x", "y", 0)] * 50, CROWD)} == {0}


def test_expected_evidence_of_honest_voters_is_at_most_one() -> None:
    """Markov's side of validity: the mean of the odds over honest votes, summed exactly over all outcomes."""
    pairs = [("c0", "c5"), ("c2", "c1"), ("c7", "c3")]
    for model in CROWD.honest_models()[::5]:
        mean = dict.fromkeys(Pattern, 0.0)
        for place in range(27):
            outcomes = [place // 3**k % 3 for k in range(3)]
            votes = [Ballot(*pair, outcome) for pair, outcome in zip(pairs, outcomes, strict=True)]
            chance = np.prod(
                [slow_outcome(model, CROWD.strengths[v.side_a] - CROWD.strengths[v.side_b])[v.outcome] for v in votes]
            )
            for found in judge_voter(votes, CROWD):
                mean[found.pattern] += float(chance) * math.exp(found.log_odds)
        assert all(value <= 1 + 1e-9 for value in mean.values()), mean


@pytest.mark.parametrize(
    ("lower", "upper", "outcome"),
    [
        (0.3, 0.5, Outcome.PASS),
        (0.0, 0.1, Outcome.FAIL),
        (0.1, 0.3, Outcome.UNDECIDED),
        (None, None, Outcome.UNDECIDED),
    ],
)
def test_gate_decides_only_when_the_whole_interval_does(
    lower: float | None, upper: float | None, outcome: Outcome
) -> None:
    gate = gate_above("g", what="The value", bound=0.2, lower=lower, upper=upper, n=5, unit="votes")
    assert isinstance(gate, Gate)
    assert gate.outcome is outcome
    assert gate.reason.endswith(".")


def test_gate_tells_an_interval_that_begins_just_below_nought_without_a_sign() -> None:
    gate = gate_above("g", what="The value", bound=0.2, lower=-0.004, upper=0.06, n=5, unit="votes")
    assert gate.reason == "The value lies between 0.00 and 0.06 (5 votes), below 0.2."
