"""Epochs: rosters and tallies at a tree size, committed seeds, reveals.

What an epoch is drawn from is taken at tree size N, from log entries with an index below N alone,
so that everybody who holds those entries gets the same table.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta

import structlog
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from arena.models import Battle, Epoch, EpochReveal, Policy, RosterChange, RosterKind, Season, Verdict, Vote
from arena.sampling import PairTally, WeightTable, commit_seed, new_seed, pair_weights
from arena.sampling.weights import Pair
from arena.services.counted import closed_at
from arena.services.exclusions import excluded_at
from arena.services.seasons import current_policy, lock_season, rules_of
from arena.services.vote_columns import are_near
from webapp.errors import ConflictError
from webapp.transparency.models import Checkpoint as LogCheckpoint
from webapp.transparency.models import Entry
from webapp.transparency.services import append_entry, sequence_entries

log = structlog.get_logger(__name__)
GONE = (RosterKind.RETIRED, RosterKind.WITHDRAWN)
ROSTER_KINDS = ("contestant", "roster_change")
TABLES_KEPT = 4
_tables: dict[str, WeightTable] = {}  # by digest


def tree_size() -> int:
    """Return how many entries of the log have their index: the N of what is computed now."""
    newest = LogCheckpoint.objects.order_by("number").last()
    return newest.tree_size if newest else 0


def roster_at(season: Season, size: int) -> list[str]:
    """Return the ids of the contestants that may be drawn at a tree size, sorted."""
    ids = {str(c) for c in season.contestants.filter(entry__index__lt=size).values_list("id", flat=True)}
    changes = RosterChange.objects.filter(contestant__season=season, entry__index__lt=size).order_by("entry__index")
    paused: set[str] = set()
    for contestant_id, kind in changes.values_list("contestant_id", "kind"):
        name = str(contestant_id)
        if kind in GONE:
            ids.discard(name)
        elif kind == RosterKind.PAUSED:
            paused.add(name)
        elif kind == RosterKind.RESUMED:
            paused.discard(name)
    return sorted(ids - paused)


def tallies_at(season: Season, size: int) -> tuple[dict[Pair, PairTally], int]:
    """Return the tally of each pair at a tree size, pre-release votes among them, and the number of votes.

    From the columns; where those are far behind, as after a move to another host, from the tables, since a voter waits.
    """
    if not are_near(season, size):
        return _tallies_from_tables(season, size)
    try:
        return closed_at(season, size).tallies()
    except OSError as error:
        log.warning("the votes' columns cannot be written; pairs are counted in the tables", error=str(error))
        return _tallies_from_tables(season, size)


def _tallies_from_tables(season: Season, size: int) -> tuple[dict[Pair, PairTally], int]:
    voters, battles = excluded_at(season, size)
    rows = Vote.objects.closed().filter(battle__season=season, battle__close__entry__index__lt=size)
    if voters:
        rows = rows.exclude(voter_id__in=voters)
    if battles:
        rows = rows.exclude(battle_id__in=battles)
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    grouped = rows.order_by().values_list("battle__contestant_a_id", "battle__contestant_b_id", "verdict")
    for side_a, side_b, verdict, n in grouped.annotate(n=Count("pk")):
        a, b = str(side_a), str(side_b)
        place = 2 if verdict in (Verdict.TIE, Verdict.BOTH_BAD) else int((verdict == Verdict.B) != (a > b))
        counts[min(a, b), max(a, b)][place] += n
    return {pair: PairTally(*three) for pair, three in counts.items()}, sum(map(sum, counts.values()))


def table_of(epoch: Epoch) -> WeightTable:
    """Return an epoch's weight table; the last ones are kept, since every draw needs one and none changes."""
    table = _tables.get(epoch.table_digest)
    if table is None:
        table = WeightTable.from_json(epoch.table)
        _tables[epoch.table_digest] = table
        for oldest in list(_tables)[:-TABLES_KEPT]:
            _tables.pop(oldest, None)
    return table


@dataclass(frozen=True)
class Standing:
    """Where the draws of a season stood at one moment: its newest epoch, the rules in force, the log's size.

    epoch: None before the first draw. n_draws: of the epoch, also the index of its next draw. is_over: no further
    draw may come from it.
    """

    epoch: Epoch | None
    policy: Policy
    size: int
    n_draws: int
    is_over: bool


def standing_of(season: Season) -> Standing:
    """Return where the draws stand, read by one statement unless rules or contestants have changed."""
    epoch = _newest_epochs(season).first()
    if epoch is None:
        return Standing(None, current_policy(season), tree_size(), 0, is_over=True)
    n_draws, size = epoch.last_draw + 1, epoch.size  # type: ignore[attr-defined]
    if epoch.policy_id != epoch.newest_policy:  # type: ignore[attr-defined]
        return Standing(epoch, current_policy(season), size, n_draws, is_over=True)
    rules = rules_of(epoch.policy)
    is_over = (
        n_draws >= rules.draws_per_epoch
        or epoch.created_at < timezone.now() - timedelta(hours=rules.epoch_hours)
        or epoch.is_revealed  # type: ignore[attr-defined]
        or (epoch.has_news and roster_at(season, size) != list(table_of(epoch).contestants))  # type: ignore[attr-defined]
    )
    return Standing(epoch, epoch.policy, size, n_draws, is_over)


def _newest_epochs(season: Season) -> QuerySet[Epoch]:
    """Return a season's epochs, newest first, with what decides whether they are over.

    last_draw: index of its last draw, -1 without one; indices have no gaps. has_news: the log has entries on
    contestants, of any season, behind those of which the roster was made. Tables are loaded when they are asked for.
    """
    draws = Battle.objects.filter(epoch=OuterRef("pk")).order_by("-draw_index").values("draw_index")
    policies = Policy.objects.filter(season=OuterRef("season")).order_by("-version").values("pk")
    sizes = LogCheckpoint.objects.order_by("-number").values("tree_size")
    news = Entry.objects.filter(kind__in=ROSTER_KINDS, index__gte=OuterRef("tree_size"))
    found = season.epochs.select_related("policy").defer("table", "policy__document").order_by("-number")
    return found.annotate(
        last_draw=Coalesce(Subquery(draws[:1]), -1),
        newest_policy=Subquery(policies[:1]),
        size=Coalesce(Subquery(sizes[:1]), 0),
        is_revealed=Exists(EpochReveal.objects.filter(epoch=OuterRef("pk"))),
        has_news=Exists(news),
    )


def current_epoch(season: Season) -> Epoch:
    """Return the epoch for the next draw, as `next_draw` does."""
    return next_draw(season)[0]


def next_draw(season: Season) -> tuple[Epoch, int]:
    """Return epoch and index of the next draw, opening an epoch when the last is over. Holds the season's lock.

    Raises `ConflictError` while fewer than two contestants can battle.
    """
    lock_season(season)
    standing = standing_of(season)  # after the lock: nobody draws between this and the caller's own draw
    epoch, policy, size = standing.epoch, standing.policy, standing.size
    if epoch is not None and not standing.is_over:
        epoch.season = season
        return epoch, standing.n_draws
    rules = rules_of(policy)
    roster = roster_at(season, size)
    if len(roster) < 2:
        raise ConflictError("A battle needs two contestants. The operator or a provider enters them first.")
    tallies, n_votes = tallies_at(season, size)
    table = pair_weights(roster, tallies, epsilon=rules.epsilon, prior=rules.prior)
    seed = new_seed()
    number = epoch.number + 1 if epoch else 0
    entry = append_entry(
        kind="epoch",
        body={
            "season": season.slug,
            "epoch": number,
            "policy": policy.version,
            "seed_commitment": commit_seed(seed),
            "roster": roster,
            "tree_size": size,
            "n_votes": n_votes,
            "weights_digest": table.digest(),
        },
    )
    opened = Epoch.objects.create(
        season=season,
        number=number,
        policy=policy,
        seed=seed.hex(),
        commitment=commit_seed(seed),
        table=table.to_json(),
        table_digest=table.digest(),
        roster_hash=hashlib.sha256(json.dumps(roster, separators=(",", ":")).encode()).hexdigest(),
        tree_size=size,
        n_votes=n_votes,
        entry=entry,
    )
    return opened, 0


def sequence_before_draw(season: Season, standing: Standing) -> None:
    """Give waiting entries their index where the next draw would open an epoch. Not within a transaction."""
    if standing.is_over:
        sequence_entries()
        tallies_at(season, tree_size())  # what is read for it now is not read under the season's lock


def reveal_finished_epochs(season: Season) -> int:
    """Reveal the seeds of epochs that are over and whose draws are all closed; return how many."""
    waiting = list(season.epochs.filter(reveal__isnull=True).select_related("policy"))
    return sum(_reveal(epoch) for epoch in waiting)


def _reveal(epoch: Epoch) -> bool:
    with transaction.atomic():
        lock_season(epoch.season)
        standing = standing_of(epoch.season)
        ended = standing.epoch is not None and standing.epoch.number > epoch.number
        if not ended and not standing.is_over:
            return False
        if Battle.objects.unclosed().filter(epoch=epoch).exists():
            return False
        if EpochReveal.objects.filter(epoch=epoch).exists():
            return False
        n_draws = epoch.battles.count()
        entry = append_entry(
            kind="reveal",
            body={"season": epoch.season.slug, "epoch": epoch.number, "seed": epoch.seed, "n_draws": n_draws},
        )
        EpochReveal.objects.create(epoch=epoch, seed=epoch.seed, n_draws=n_draws, entry=entry)
    return True
