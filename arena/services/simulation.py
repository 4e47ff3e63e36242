"""Votes by a program, with planted strengths and kinds of voters: for demonstrations and tests.

They go the way of real votes (draw, vote, close, log) in a season that takes no others, so that
they can never mix with what people said. There are no answers, since nobody reads them; how much
of them stands word for word in corpora is made up like the votes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from django.db import transaction

from arena.answers import SIDES
from arena.models import Battle, BattleTurn, CloseKind, Leaderboard, PoolPrompt, Season, TurnText, Verdict, Voter
from arena.rating import SCALE
from arena.services.battles import close_battle
from arena.services.boards import publish_controlled, publish_leaderboard
from arena.services.draws import SaltedText, draw_battle
from arena.services.epochs import next_draw, reveal_finished_epochs
from arena.services.overlaps import settings_of, share, write_overlap
from arena.services.quality import judge_season
from arena.services.seasons import rules_of
from arena.services.votes import cast_vote
from tracer.overlap import MeasuredOverlap
from webapp.errors import BadInputError
from webapp.transparency.services import sequence_entries

BATCH = 250
P_TIE = 0.5
LEAST_OVERLAP, OVERLAP_RANGE = 0.05, 0.4
CONCENTRATION = 4  # of the beta distribution of a contestant's shares: wide, so that its effect can be told
CHARACTERS = (200, 1600)
PROMPT = "A prompt of the simulation."


class Temper(StrEnum):
    """How a simulated voter judges."""

    HONEST = "honest"
    RANDOM = "random"
    ALWAYS_LEFT = "always-left"
    ALWAYS_TIE = "always-tie"
    FAVOURS_ONE = "favours-one"


@dataclass(frozen=True)
class Simulation:
    """What is planted.

    strengths: rating points by contestant id. shares: how large a part of the voters has each
    temper. favourite: whom a voter of `favours-one` always prefers; the first of `strengths` by default.
    overlap_effect: what an answer that is wholly verbatim wins against one that isn't at all, among honest
    voters, in natural log-odds.
    """

    strengths: Mapping[str, float]
    n_votes: int
    n_voters: int = 40
    shares: Mapping[Temper, float] | None = None
    favourite: str = ""
    seed: int = 0
    overlap_effect: float = 0.0

    def __post_init__(self) -> None:
        if self.n_votes < 1 or self.n_voters < 1:
            raise BadInputError("A simulation needs at least one vote and one voter.")
        if any(share < 0 for share in self.tempers.values()) or sum(self.tempers.values()) <= 0:
            raise BadInputError("The shares of tempers must not be negative, and not all zero.")

    @cached_property
    def overlaps(self) -> Mapping[str, float]:
        """Return the share of a contestant's answers that is verbatim in the mean, rising over `strengths`."""
        n = len(self.strengths)
        return {name: LEAST_OVERLAP + OVERLAP_RANGE * k / max(n - 1, 1) for k, name in enumerate(self.strengths)}

    @property
    def tempers(self) -> Mapping[Temper, float]:
        """Return the share of each temper; mostly honest unless said otherwise."""
        return self.shares or {Temper.HONEST: 0.9, Temper.RANDOM: 0.05, Temper.ALWAYS_LEFT: 0.05}


def simulate_votes(
    *, season: Season, simulation: Simulation, say: Callable[[int], None] = lambda n_votes: None
) -> Leaderboard:
    """Draw, vote and close `n_votes` times, then publish the leaderboard. Raises `BadInputError` for a real season.

    `say` is told the number of votes now and then.
    """
    if not season.is_simulated:
        raise BadInputError(f"Season {season.slug} is for people. Simulated votes need a season of their own.")
    source = random.Random(simulation.seed)
    copying = random.Random(f"{simulation.seed}/overlap")  # apart, so that it changes no vote by itself
    voters = _make_voters(simulation, source)
    prompts = list(PoolPrompt.objects.order_by("pk")[:1000])
    n_votes = 0
    while n_votes < simulation.n_votes:
        sequence_entries()
        with transaction.atomic():
            epoch, first = next_draw(season)
            room = rules_of(epoch.policy).draws_per_epoch - first
            for draw_index in range(first, first + min(room, BATCH, simulation.n_votes - n_votes)):
                voter, temper = source.choice(voters)
                pooled = source.choice(prompts) if prompts else None
                salted = SaltedText.of(pooled.text if pooled else PROMPT)
                battle = draw_battle(
                    epoch=epoch,
                    draw_index=draw_index,
                    voter=voter,
                    prompt=salted,
                    nonce=source.randbytes(16).hex(),
                    pool_prompt=pooled,
                )
                overlap = _overlap(battle, simulation, copying)
                _vote(battle, salted, _verdict(battle, temper, simulation, source, overlap))
                if not battle.is_pre_release and settings_of(epoch.policy):
                    write_overlap(battle, overlap)
                n_votes += 1
        say(n_votes)
    sequence_entries()
    reveal_finished_epochs(season)
    board = publish_leaderboard(season)
    if judge_season(season):
        sequence_entries()
        board = publish_leaderboard(season)
    publish_controlled(season)
    return board


def _make_voters(simulation: Simulation, source: random.Random) -> list[tuple[Voter, Temper]]:
    tempers: Sequence[Temper] = source.choices(
        list(simulation.tempers), weights=list(simulation.tempers.values()), k=simulation.n_voters
    )
    voters = Voter.objects.bulk_create([Voter(is_simulated=True) for _ in tempers])
    return list(zip(voters, tempers, strict=True))


def _vote(battle: Battle, prompt: SaltedText, verdict: Verdict) -> None:
    turn = BattleTurn.objects.create(battle=battle, number=1, prompt_hash=prompt.digest)
    TurnText.objects.create(turn=turn, prompt=prompt.text, salt=prompt.salt)
    cast_vote(battle_id=battle.pk, voter=battle.voter, verdict=verdict)
    close_battle(battle_id=battle.pk, kind=CloseKind.VOTE)


def _overlap(battle: Battle, simulation: Simulation, source: random.Random) -> MeasuredOverlap:
    """Return made-up numbers for answers that nobody wrote, in no index."""
    characters = tuple(source.randrange(*CHARACTERS) for _ in SIDES)
    means = (
        simulation.overlaps.get(str(name), LEAST_OVERLAP) for name in (battle.contestant_a_id, battle.contestant_b_id)
    )
    shares = [source.betavariate(CONCENTRATION * mean, CONCENTRATION * (1 - mean)) for mean in means]
    covered = tuple(round(n * share) for n, share in zip(characters, shares, strict=True))
    return MeasuredOverlap(covered, characters, ())


def _verdict(
    battle: Battle, temper: Temper, simulation: Simulation, source: random.Random, overlap: MeasuredOverlap
) -> Verdict:
    a, b = str(battle.contestant_a_id), str(battle.contestant_b_id)
    if temper is Temper.ALWAYS_LEFT:
        return Verdict.A
    if temper is Temper.ALWAYS_TIE:
        return Verdict.TIE
    favourite = simulation.favourite or next(iter(simulation.strengths))
    if temper is Temper.FAVOURS_ONE and favourite in (a, b):
        return Verdict.A if favourite == a else Verdict.B
    if temper is Temper.RANDOM:
        return source.choice([Verdict.A, Verdict.B])
    difference = (simulation.strengths.get(a, 1000.0) - simulation.strengths.get(b, 1000.0)) / SCALE
    share_a, share_b = map(share, overlap.covered, overlap.characters)
    difference += simulation.overlap_effect * (share_a - share_b)
    return honest_verdict(1 / (1 + math.exp(-difference)), source)


def honest_verdict(p_a: float, source: random.Random) -> Verdict:
    """Return a verdict whose expected points of side a are exactly `p_a`; near-even pairs tie most often."""
    p_tie = P_TIE * min(p_a, 1 - p_a)
    drawn = source.random()
    if drawn < p_tie:
        return Verdict.BOTH_BAD if source.random() < 0.2 else Verdict.TIE
    return Verdict.A if drawn < p_tie + p_a - p_tie / 2 else Verdict.B
