"""The verifier holds rosters against what owners have said."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from webapp.transparency import verify

WEIGHTS = "a" * 64
POLICY = {
    "season": "main",
    "version": 1,
    "simulated": False,
    "sampling": {"format": "fairground-weights-1", "epsilon": "1/10", "prior": 1},
    "rating": {},
    "exclusion_rules": [],
    "roster_rules": ["owner-opt-out", "owner-opt-in"],
    "variant_cap": 1,
    "variant_days": 30,
    "edit_window_s": 60,
    "document": "0" * 64,
}


class Log:
    """Feeds leaves to the verifier, a minute apart; contestants need the experts of their names."""

    def __init__(self, **policy: Any) -> None:
        self.replay = verify.Replay()
        self.at = datetime(2026, 11, 27, tzinfo=UTC)
        self.names = sorted(str(uuid.uuid4()) for _ in range(3))
        self.n_leaves = 0
        self.leaf("policy", **{**POLICY, **policy})
        for name, experts in zip(self.names, (["public"], ["public", "web"], ["public", "math"]), strict=True):
            artifact = {"weights": WEIGHTS, "experts": experts}
            digest = hashlib.sha256(verify.canonical(artifact)).hexdigest()
            self.leaf(
                "contestant",
                season="main",
                contestant=name,
                provider="lab",
                visibility="public",
                artifact=artifact,
                artifact_digest=digest,
            )

    def leaf(self, kind: str, *, after: timedelta = timedelta(minutes=1), **body: Any) -> None:
        self.at += after
        leaf = {"v": 1, "id": str(uuid.uuid4()), "kind": kind, "at": self.at.isoformat(), "body": body}
        self.replay.leaf(self.n_leaves, leaf)
        self.n_leaves += 1

    def opt(self, change: str, **body: Any) -> None:
        what = {"owner": "Web", "expert": "web", "exact": True, "checkpoint_digest": WEIGHTS}
        self.leaf("opt_out", change=change, **{**what, **body})

    def change(self, number: int, change: str, rule: str) -> None:
        name = self.names[number]
        self.leaf("roster_change", season="main", contestant=name, change=change, policy=1, rule=rule, numbers={})

    def open_epoch(self, roster: list[str], after: timedelta = timedelta(minutes=1)) -> None:
        weights = verify.weight_table(roster, {}, verify.Fraction(1, 10), 1)
        self.leaf(
            "epoch",
            after=after,
            season="main",
            epoch=len(self.replay.seasons["main"].epochs),
            policy=1,
            seed_commitment="0" * 64,
            roster=roster,
            tree_size=self.n_leaves,
            n_votes=0,
            weights_digest=verify.weights_digest(roster, weights),
        )


def test_pause_resume_and_epochs_in_between_are_right() -> None:
    log = Log()
    log.open_epoch(log.names)
    log.opt("out")
    log.open_epoch(log.names)  # drawn before the host could pause anybody
    log.change(1, "paused", "owner-opt-out")
    log.open_epoch([log.names[0], log.names[2]], after=timedelta(days=1))
    log.opt("in")
    log.change(1, "resumed", "owner-opt-in")
    log.open_epoch(log.names, after=timedelta(days=1))


@pytest.mark.parametrize("body", [{}, {"checkpoint_digest": ""}])
def test_contestant_that_stays_on_the_roster_is_named(body: dict[str, str]) -> None:
    log = Log()
    log.opt("out", **body)
    with pytest.raises(verify.Wrong, match=f"contestant {log.names[1]} on the roster needs an expert"):
        log.open_epoch(log.names, after=timedelta(hours=2))


def test_simulated_season_runs_no_model() -> None:
    log = Log(simulated=True)
    log.opt("out")
    log.open_epoch(log.names, after=timedelta(days=1))


def test_pause_of_somebody_else_is_named() -> None:
    log = Log()
    log.opt("out")
    with pytest.raises(verify.Wrong, match="no owner of an expert of contestant"):
        log.change(2, "paused", "owner-opt-out")


def test_resume_before_the_owner_is_back_is_named() -> None:
    log = Log()
    log.opt("out")
    log.change(1, "paused", "owner-opt-out")
    with pytest.raises(verify.Wrong, match="is still out"):
        log.change(1, "resumed", "owner-opt-in")


@pytest.mark.parametrize("changes", [("in",), ("out", "out"), ("out", "in", "in"), ("away",)])
def test_changes_out_of_turn_are_named(changes: tuple[str, ...]) -> None:
    log = Log()
    *right, wrong = changes
    for change in right:
        log.opt(change)
    with pytest.raises(verify.Wrong, match=r"already|unknown"):
        log.opt(wrong)
