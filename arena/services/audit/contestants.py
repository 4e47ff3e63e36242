"""Checks of what battles: that contestants are what they are named by, answer, and see no answers."""

from __future__ import annotations

import hashlib
from math import sqrt
from statistics import NormalDist

import rfc8785

from arena.answers import SIDES
from arena.models import BattleClose, BattleTurn, CloseKind, RosterChange
from arena.quality import gate_above
from arena.services.audit.findings import Finding
from arena.services.transparency.scope import Scope
from webapp.playground.models import BackendChoice

PARTS = {"weights", "experts", "template", "decoding", "system_prompt"}
MIN_ANSWERED = 0.95
LOOKED_AT = 500
MIN_REFERENCE = 20  # characters; shorter references are found in other texts by chance


def versions_are_named(scope: Scope) -> Finding:
    """T.1: every contestant's digest is that of its weights, experts, template, decoding and system prompt."""
    rows = list(scope.season.contestants.select_related("checkpoint"))
    if not rows:
        return Finding.undecided("The season has no contestant yet.", n_contestants=0)
    wrong = [
        c.slug
        for c in rows
        if PARTS - c.artifact.keys() or hashlib.sha256(rfc8785.dumps(c.artifact)).hexdigest() != c.digest
    ]
    remote = sum(c.checkpoint.backend == BackendChoice.REMOTE for c in rows)
    reason = (
        f"{len(rows) - len(wrong)} of {len(rows)} contestants have a digest that recomputes from weights, experts, "
        f"template, decoding and system prompt. {remote} answer from another server, which may serve something else."
    )
    return Finding.of(not wrong, reason, n_contestants=len(rows), n_remote=remote, n_wrong=len(wrong))


def answers_arrive(scope: Scope) -> Finding:
    """T.2: at least 95 % of the closed draws did not end with a failed answer, by Wilson's interval."""
    closes = BattleClose.objects.filter(battle__season=scope.season, entry__index__lt=scope.tree_size)
    n, n_failed = closes.count(), closes.filter(kind=CloseKind.ERROR).count()
    bounds = wilson(n - n_failed, n) if n else (None, None)
    gate = gate_above(
        "answers",
        what="The share of draws in which both sides answered",
        bound=MIN_ANSWERED,
        lower=bounds[0],
        upper=bounds[1],
        n=n,
        unit="closed draws",
    )
    return Finding(gate.outcome, gate.reason, {"n_closed": n, "n_failed": n_failed})


def wilson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a share of k in n."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    middle, denominator = k / n + z * z / (2 * n), 1 + z * z / n
    half = z * sqrt(k / n * (1 - k / n) / n + z * z / (4 * n * n))
    return (middle - half) / denominator, (middle + half) / denominator


def failures_end_uncounted(scope: Scope) -> Finding:
    """T.3: no battle that an error ended has a vote, and who could not be reached was paused."""
    failed = BattleClose.objects.filter(battle__season=scope.season, kind=CloseKind.ERROR)
    n, n_voted = failed.count(), failed.filter(battle__votes__isnull=False).count()
    n_paused = RosterChange.objects.filter(contestant__season=scope.season, kind="paused").count()
    numbers = {"n_failed": n, "n_voted": n_voted, "n_paused": n_paused}
    if not n:
        return Finding.undecided("No answer has failed yet.", **numbers)
    reason = f"{n} draws ended with a failed answer; {n_voted} of them have a vote. Pauses of contestants: {n_paused}."
    return Finding.of(not n_voted, reason, **numbers)


def references_stay_apart(scope: Scope) -> Finding:
    """T.5: what the models read holds no reference answer of the pool, in the latest battles that have one."""
    turns = (
        BattleTurn.objects.filter(battle__season=scope.season, battle__pool_prompt__isnull=False)
        .exclude(battle__pool_prompt__reference="")
        .select_related("battle__pool_prompt", "generation_a", "generation_b")
        .order_by("-pk")[:LOOKED_AT]
    )
    n = n_seen = 0
    for turn in turns:
        prompt = turn.battle.pool_prompt
        reference = prompt.reference.strip() if prompt else ""
        if len(reference) < MIN_REFERENCE or (prompt and reference in prompt.text):
            continue
        for generation in (getattr(turn, f"generation_{side}") for side in SIDES):
            if generation is not None and generation.model_prompt:
                n += 1
                n_seen += reference in generation.model_prompt
    if not n:
        return Finding.undecided(
            "No battle on a prompt with a reference answer has been read by a model yet.", n_read=0
        )
    return Finding.of(
        not n_seen, f"{n_seen} of {n} texts that models read hold the reference.", n_read=n, n_seen=n_seen
    )
