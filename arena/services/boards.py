"""Leaderboards: the votes at a tree size, their ratings, and the publication of a snapshot.

Everything is taken from log entries below a tree size, so that who holds the export computes the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import rfc8785
from django.db import transaction
from django.utils import timezone

from arena.models import Contestant, Leaderboard, Policy, RosterChange, Season, Visibility, Vote, Voter
from arena.rating import FitError, RatingResult, Verdict, VoteTable, rate
from arena.services.epochs import excluded_at, tree_size
from arena.services.seasons import current_policy, rules_of
from webapp.errors import BadInputError
from webapp.identifiers import uuid7
from webapp.transparency.models import Entry
from webapp.transparency.services import append_entry

FILTERS = ("category", "discipline", "language", "community")
STYLE = ("characters", "headers", "lists", "bold")


@dataclass(frozen=True)
class Slice:
    """Which votes a board counts and how. The default is the published leaderboard.

    filters: values that votes must have. since, until: days of the vote, `until` exclusive.
    style: control for length and layout of the answers. pre_release: private variants whose early
    votes are counted, only to publish their own rating.
    """

    filters: tuple[tuple[str, str], ...] = ()
    both_bad: bool = True
    include_excluded: bool = False
    style: bool = False
    since: date | None = None
    until: date | None = None
    pre_release: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value in self.filters:
            if name not in FILTERS:
                raise BadInputError(f"There is no slice by {name!r}. Slices: {', '.join(FILTERS)}.", field=name)
            if not value or len(value) > 60:
                raise BadInputError(f"{name} is empty or longer than 60 characters.", field=name)
        if self.since and self.until and self.since >= self.until:
            raise BadInputError("The period ends before it begins.", field="until")

    def to_json(self) -> dict[str, Any]:
        """Return the slice as plain values."""
        values = asdict(self)
        values["filters"] = dict(self.filters)
        values["pre_release"] = sorted(self.pre_release)
        return {k: v.isoformat() if isinstance(v, date) else v for k, v in values.items()}

    @property
    def key(self) -> str:
        """Return a digest that names the slice."""
        return hashlib.sha256(rfc8785.dumps(self.to_json())).hexdigest()

    @property
    def is_default(self) -> bool:
        """Tell whether this is the published leaderboard."""
        return self == Slice()


@dataclass(frozen=True)
class VoteRow:
    """One vote as a board counts it."""

    leaf_index: int
    battle: str
    side_a: str
    side_b: str
    verdict: str
    probability: str
    voter: str
    slices: dict[str, str] = field(default_factory=dict)

    def line(self) -> bytes:
        """Return the vote's line of the input digest (docs/log-format.md, Counting)."""
        parts = [self.leaf_index, self.side_a, self.side_b, self.verdict, self.probability, self.voter]
        return json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def votes_at(season: Season, size: int, chosen: Slice) -> list[VoteRow]:
    """Return the votes of a slice at a tree size, in the order of their close entries."""
    rows = Vote.objects.closed().filter(battle__season=season, battle__close__entry__index__lt=size)
    for name, value in chosen.filters:
        rows = rows.filter(**({"voter__community": value} if name == "community" else {f"battle__{name}": value}))
    if not chosen.include_excluded:
        voters, battles = excluded_at(season, size)
        rows = rows.exclude(voter_id__in=voters) if voters else rows
        rows = rows.exclude(battle_id__in=battles) if battles else rows
    if not chosen.both_bad:
        rows = rows.exclude(verdict=Verdict.BOTH_BAD)
    if chosen.since:
        rows = rows.filter(created_at__date__gte=chosen.since)
    if chosen.until:
        rows = rows.filter(created_at__date__lt=chosen.until)
    return list(_rows(rows, season, chosen))


def _rows(rows: Any, season: Season, chosen: Slice) -> Iterator[VoteRow]:
    digests = {v.pk: v.digest(season) for v in Voter.objects.filter(battles__season=season).distinct()}
    allowed = set(chosen.pre_release)
    columns = (
        "battle__close__entry__index",
        "battle_id",
        "battle__contestant_a_id",
        "battle__contestant_b_id",
        "verdict",
        "battle__p_numerator",
        "battle__p_denominator",
        "voter_id",
        "battle__is_pre_release",
    )
    hidden = {str(pk) for pk in season.contestants.filter(visibility=Visibility.PRIVATE).values_list("pk", flat=True)}
    for index, battle, a, b, verdict, p, q, voter, early in (
        rows.order_by("battle__close__entry__index").values_list(*columns).iterator(chunk_size=5000)
    ):
        sides = str(a), str(b)
        if early and not (allowed and all(side in allowed for side in sides if side in hidden)):
            continue
        yield VoteRow(index, str(battle), *sides, verdict, f"{p}/{q}", digests[voter])


def input_digest(votes: list[VoteRow]) -> str:
    """Return the digest of a board's input."""
    digest = hashlib.sha256()
    for vote in votes:
        digest.update(vote.line())
    return digest.hexdigest()


def contestants_at(season: Season, size: int, chosen: Slice) -> list[str]:
    """Return the ids that a board lists: public ones, launched ones, and variants it is made for."""
    listed = season.contestants.filter(entry__index__lt=size)
    launched = RosterChange.objects.filter(
        contestant__season=season, kind="launched", entry__index__lt=size
    ).values_list("contestant_id", flat=True)
    open_ids = {str(pk) for pk in listed.filter(visibility=Visibility.PUBLIC).values_list("pk", flat=True)}
    return sorted(open_ids | {str(pk) for pk in launched} | set(chosen.pre_release))


def rate_votes(votes: list[VoteRow], contestants: list[str], chosen: Slice, policy: Policy) -> RatingResult:
    """Rate a slice's votes under a policy's rules; covariates as far as these votes can tell them apart."""
    covariates: dict[str, list[float]] = _style_columns(votes) if chosen.style else {}
    while True:
        try:
            return _rate(votes, contestants, policy, covariates)
        except FitError:
            if not covariates:
                raise
            covariates.popitem()


def _rate(
    votes: list[VoteRow], contestants: list[str], policy: Policy, covariates: dict[str, list[float]]
) -> RatingResult:
    table = VoteTable.from_columns(
        [v.side_a for v in votes],
        [v.side_b for v in votes],
        [v.verdict for v in votes],
        p_pair=[share_of(v.probability) for v in votes],
        voter=[v.voter for v in votes],
        covariates=covariates or None,
        contestants=contestants,
    )
    return rate(table, rules_of(policy).rating_options(covariates=tuple(covariates)))


def share_of(fraction: str) -> float:
    """Return an exact probability as a float."""
    numerator, denominator = fraction.split("/")
    return int(numerator) / int(denominator)


def _style_columns(votes: list[VoteRow]) -> dict[str, list[float]]:
    """Return style differences (a − b) / (a + b) from the close entries, as far as a column varies at all."""
    leaves = Entry.objects.filter(kind="close", index__in=[v.leaf_index for v in votes]).order_by("index")
    nothing = dict.fromkeys(STYLE, 0)
    columns: dict[str, list[float]] = {name: [] for name in STYLE}
    for leaf in leaves.values_list("leaf", flat=True).iterator(chunk_size=5000):
        features = json.loads(leaf)["body"].get("features", {})
        a, b = features.get("a", nothing), features.get("b", nothing)
        for name in STYLE:
            total = a[name] + b[name]
            columns[name].append((a[name] - b[name]) / total if total else 0.0)
    return {name: values for name, values in columns.items() if len(set(values)) > 1}


def count_pairs(votes: list[VoteRow]) -> list[list[Any]]:
    """Return [first, second, first won, second won, tie, both bad] of each pair, smaller id first."""
    counts: dict[tuple[str, str], list[int]] = {}
    for vote in votes:
        turned = vote.side_a > vote.side_b
        pair = (vote.side_b, vote.side_a) if turned else (vote.side_a, vote.side_b)
        place = {"a": int(turned), "b": 1 - int(turned), "tie": 2, "both_bad": 3}[vote.verdict]
        counts.setdefault(pair, [0, 0, 0, 0])[place] += 1
    return [[*pair, *four] for pair, four in sorted(counts.items())]


@dataclass(frozen=True)
class Board:
    """A computed board: published when it has an id, else made on demand."""

    season: Season
    chosen: Slice
    tree_size: int
    policy: Policy
    n_votes: int
    input_digest: str
    result: dict[str, Any]
    pairs: list[list[Any]]
    published: Leaderboard | None = None


def compute_board(season: Season, chosen: Slice, *, size: int | None = None) -> Board:
    """Compute any slice at any tree size; the newest one by default. Raises `BadInputError` for a size to come."""
    newest = tree_size()
    size = newest if size is None else size
    if not 0 <= size <= newest:
        raise BadInputError(f"The log has {newest} entries; there is no state at {size}.", field="tree_size")
    policies = season.policies.filter(entry__index__lt=size).order_by("-version")
    policy = policies.first() or current_policy(season)
    votes = votes_at(season, size, chosen)
    result = rate_votes(votes, contestants_at(season, size, chosen), chosen, policy)
    return Board(season, chosen, size, policy, len(votes), input_digest(votes), result.to_dict(), count_pairs(votes))


def latest_leaderboard(season: Season, chosen: Slice | None = None) -> Leaderboard | None:
    """Return the newest published snapshot of a slice."""
    key = (chosen or Slice()).key
    return Leaderboard.objects.filter(season=season, slice_key=key).order_by("-created_at").first()


def publish_leaderboard(season: Season, chosen: Slice | None = None) -> Leaderboard:
    """Compute a slice now and publish it as an immutable snapshot; the same input is published once."""
    chosen = chosen or Slice()
    board = compute_board(season, chosen)
    known = latest_leaderboard(season, chosen)
    if known is not None and known.input_digest == board.input_digest and known.policy_id == board.policy.pk:
        listed = {r["contestant"] for k in ("ratings", "unrankable") for r in known.result[k]}
        now = {r["contestant"] for k in ("ratings", "unrankable") for r in board.result[k]}
        if listed == now:
            return known
    board_id = uuid7()
    body = {
        "season": season.slug,
        "board": str(board_id),
        "tree_size": board.tree_size,
        "policy": board.policy.version,
        "slice": dict(chosen.filters),
        "both_bad": chosen.both_bad,
        "include_excluded": chosen.include_excluded,
        "pre_release": sorted(chosen.pre_release),
        "method": log_method(board.result["method"]),
        "input_digest": board.input_digest,
        "n_votes": board.n_votes,
        "ratings": [
            {**row, **{name: f"{row[name]:.2f}" for name in ("rating", "lower", "upper")}}
            for row in board.result["ratings"]
        ],
        "unrankable": [
            {"contestant": row["contestant"], "reason": reason_slug(row["reason"])}
            for row in board.result["unrankable"]
        ],
    }
    with transaction.atomic():
        entry = append_entry(kind="board", body=body)
        return Leaderboard.objects.create(
            id=board_id,
            season=season,
            slice_key=chosen.key,
            parameters={"slice": chosen.to_json()},
            input_digest=board.input_digest,
            tree_size=board.tree_size,
            policy=board.policy,
            n_votes=board.n_votes,
            result=board.result,
            pairs=board.pairs,
            result_digest=hashlib.sha256(json.dumps(board.result, sort_keys=True).encode()).hexdigest(),
            entry=entry,
            created_at=timezone.now(),
        )


def log_method(method: dict[str, Any]) -> dict[str, Any]:
    """Return a result's method as a log entry can hold it: floats as strings, lists of figures left out."""
    kept = {k: v for k, v in method.items() if k not in ("neighbours", "covariate_effects") and v is not None}
    return {k: _plain(v) for k, v in kept.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:g}" if value != int(value) else f"{value:.1f}"
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


def reason_slug(reason: str) -> str:
    """Return a reason for being unranked as one word."""
    if reason.startswith("no votes"):
        return "no-votes"
    return "not-connected" if reason.startswith("not connected") else "few-votes"


def titles(season: Season) -> dict[str, Contestant]:
    """Return a season's contestants by id."""
    return {str(c.pk): c for c in season.contestants.select_related("provider")}
