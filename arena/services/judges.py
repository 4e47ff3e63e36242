"""Automatic judges: registered, their verdicts on released battles, and how these agree with people's.

A verdict is written once. It counts as held-out when no release had told the human verdict at that
time, and nothing about it is shown before a release tells it: so nobody can try until it fits.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.db.models import Count, Q

from arena.models import ArenaExport, Battle, Judge, JudgeVerdict, Season, Verdict, Vote
from arena.quality.judges import JudgeAgreement, Judged, by_category, judge_agreement
from arena.services.exclusions import excluded_at
from arena.services.releases import get_release, latest_release
from webapp.errors import BadInputError, ConflictError, ForbiddenError, NotFoundError
from webapp.ownership import Author
from webapp.text import storable

MAX_JUDGES = 20
MAX_VERDICTS = 1000
MAX_DESCRIPTION = 5000
KEPT_S = 3600
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?")


@dataclass(frozen=True)
class GivenVerdict:
    """A judge's verdict on a battle. is_swapped: side b was shown first; the verdict names the battle's sides."""

    battle: uuid.UUID
    verdict: str
    is_swapped: bool = False


@dataclass(frozen=True)
class Receipt:
    """What became of submitted verdicts. n_known: given before, with the same verdict."""

    n_new: int
    n_known: int
    n_held_out: int


@dataclass(frozen=True)
class JudgeReport:
    """A judge in a season. n_waiting: battles whose human verdict no release has told yet."""

    judge: Judge
    n_judged: int
    n_waiting: int
    held_out: JudgeAgreement
    categories: dict[str, JudgeAgreement]
    afterwards: JudgeAgreement


def add_judge(*, user: User | None, slug: str, title: str, description: str = "") -> Judge:
    """Register a judge. Raises `ForbiddenError` without a sign-in, `BadInputError`, `ConflictError`."""
    if user is None:
        raise ForbiddenError("Sign in to register a judge: its verdicts are given in its owner's name.")
    if not _SLUG.fullmatch(slug):
        raise BadInputError("slug: 1 to 60 of a-z, 0-9 and hyphens, no hyphen at an end.", field="slug")
    title, description = storable(title.strip()), storable(description.strip())
    if not title or len(title) > 200:
        raise BadInputError("title: 1 to 200 characters.", field="title")
    if len(description) > MAX_DESCRIPTION:
        raise BadInputError(f"description: at most {MAX_DESCRIPTION} characters.", field="description")
    try:
        with transaction.atomic():
            User.objects.select_for_update().get(pk=user.pk)
            if Judge.objects.filter(owner=user).count() >= MAX_JUDGES:
                raise ConflictError(f"You have {MAX_JUDGES} judges, as many as one person may have.", code="too-many")
            judge: Judge = Judge.objects.create(owner=user, slug=slug, title=title, description=description)
    except IntegrityError as error:
        raise ConflictError(f"There is a judge {slug} already. Choose another slug.", code="taken") from error
    return judge


def get_judge(slug: str) -> Judge:
    """Return a judge. Raises `NotFoundError`."""
    judge: Judge | None = Judge.objects.filter(slug=slug).first()
    if judge is None:
        raise NotFoundError(f"There is no judge {slug!r}.")
    return judge


def submit_verdicts(
    *, judge: Judge, author: Author, release_id: uuid.UUID, verdicts: Sequence[GivenVerdict], first: int = 0
) -> Receipt:
    """Store a judge's verdicts on battles of a release; all of them or none. first: the first one's number in messages.

    Giving the same verdict again changes nothing. Raises `ForbiddenError` for others than the
    owner, `BadInputError` naming the first verdict that cannot be taken, `ConflictError` where a
    verdict differs from the one given before, `NotFoundError`.
    """
    if judge.owner_id is None or judge.owner_id != author.user_id:
        raise ForbiddenError(f"Only the owner of {judge.slug} gives verdicts in its name. Sign in as the owner.")
    if not 1 <= len(verdicts) <= MAX_VERDICTS:
        raise BadInputError(f"verdicts: {len(verdicts)} given; send 1 to {MAX_VERDICTS} at a time.", field="verdicts")
    release = _release_to_judge(release_id)
    places = _closes(release, {v.battle for v in verdicts})
    told = _told_below(release.season)
    rows = []
    for number, given in enumerate(verdicts, first):
        if given.verdict not in Verdict.values:
            raise _fault(number, f"{given.verdict!r} is no verdict; use one of {', '.join(Verdict.values)}")
        if given.battle not in places:
            raise _fault(number, f"the release has no battle {given.battle} whose answers can be read")
        rows.append(
            JudgeVerdict(
                judge=judge,
                battle_id=given.battle,
                is_swapped=given.is_swapped,
                verdict=given.verdict,
                is_held_out=places[given.battle] >= told,
            )
        )
    check_once(verdicts, first)
    with transaction.atomic():
        Judge.objects.select_for_update().get(pk=judge.pk)
        known = _known(judge, {v.battle for v in verdicts})
        for number, row in enumerate(rows, first):
            before = known.get((row.battle_id, row.is_swapped))
            if before is not None and before != row.verdict:
                raise ConflictError(
                    f"verdicts[{number}]: {judge.slug} said {before} on battle {row.battle_id} in this order. "
                    "A verdict is given once; register another judge for another version.",
                    code="verdict-stands",
                )
        new = [row for row in rows if (row.battle_id, row.is_swapped) not in known]
        JudgeVerdict.objects.bulk_create(new, batch_size=500)
    return Receipt(len(new), len(rows) - len(new), sum(row.is_held_out for row in new))


def _fault(number: int, reason: str) -> BadInputError:
    return BadInputError(f"verdicts[{number}]: {reason}.", field="verdicts")


def check_once(verdicts: Sequence[GivenVerdict], first: int = 0) -> None:
    """Raise `BadInputError` for a battle that stands twice in the same order."""
    seen: set[tuple[uuid.UUID, bool]] = set()
    for number, given in enumerate(verdicts, first):
        if (given.battle, given.is_swapped) in seen:
            raise _fault(number, f"battle {given.battle} stands twice in the same order")
        seen.add((given.battle, given.is_swapped))


def _release_to_judge(release_id: uuid.UUID) -> ArenaExport:
    release = get_release(release_id)
    if release.released_at is None:
        raise NotFoundError("There is no such release.")
    if release.season.is_simulated:
        raise BadInputError("Simulated votes have no answers that a judge could read.", field="release")
    return release


def _closes(release: ArenaExport, battles: set[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Return the leaf index of the close of those battles of a release that a judge can read."""
    rows = Battle.objects.filter(
        pk__in=battles,
        season=release.season,
        is_pre_release=False,
        close__kind="vote",
        close__entry__index__lt=release.tree_size,
        turns__generation_a__isnull=False,
    )
    return {pk: index for pk, index in rows.values_list("pk", "close__entry__index") if index is not None}


def _known(judge: Judge, battles: set[uuid.UUID]) -> dict[tuple[uuid.UUID, bool], str]:
    rows = JudgeVerdict.objects.filter(judge=judge, battle__in=battles)
    return {(b, s): v for b, s, v in rows.values_list("battle_id", "is_swapped", "verdict")}


def _told_below(season: Season) -> int:
    """Return the tree size below which releases have told the verdicts of all votes."""
    last = latest_release(season)
    return last.votes_size if last else 0


def told_verdicts(judge: Judge, season: Season) -> Any:
    """Return the judge's verdicts whose human verdict a release has told, newest first."""
    rows = JudgeVerdict.objects.filter(judge=judge, battle__season=season)
    return rows.filter(battle__close__entry__index__lt=_told_below(season)).order_by("-created_at", "-pk")


def report_judge(judge: Judge, season: Season) -> JudgeReport:
    """Return how a judge agrees with the verdicts that releases have told; those set aside by a rule are left out."""
    n_verdicts = JudgeVerdict.objects.filter(judge=judge, battle__season=season).count()
    last = latest_release(season)
    key = _key(judge, season, last, n_verdicts)
    known: JudgeReport | None = cache.get(key)
    return known or _report(judge, season, last, key)


def _key(judge: Judge, season: Season, last: ArenaExport | None, n_verdicts: int) -> str:
    """Return the key of a report: verdicts are only ever added, and told by the next release."""
    return f"arena:judge:{judge.slug}:{season.pk}:{last.pk if last else ''}:{n_verdicts}"


def _report(judge: Judge, season: Season, last: ArenaExport | None, key: str) -> JudgeReport:
    told = last.votes_size if last else 0
    all_rows = JudgeVerdict.objects.filter(judge=judge, battle__season=season)
    n_judged = all_rows.values("battle").distinct().count()
    n_waiting = all_rows.exclude(battle__close__entry__index__lt=told).values("battle").distinct().count()
    rows = _judged(judge, season, told)
    held_out = [row for is_held_out, row in rows if is_held_out]
    report = JudgeReport(
        judge=judge,
        n_judged=n_judged,
        n_waiting=n_waiting,
        held_out=judge_agreement(held_out),
        categories=dict(by_category(held_out)),
        afterwards=judge_agreement([row for is_held_out, row in rows if not is_held_out]),
    )
    cache.set(key, report, KEPT_S)
    return report


def _judged(judge: Judge, season: Season, told: int) -> list[tuple[bool, Judged]]:
    """Return battles with both verdicts, each with whether all that the judge said of it was held-out."""
    voters, battles = excluded_at(season, told)
    given: dict[uuid.UUID, dict[bool, tuple[str, bool]]] = {}
    for battle, is_swapped, verdict, is_held_out in told_verdicts(judge, season).values_list(
        "battle_id", "is_swapped", "verdict", "is_held_out"
    ):
        given.setdefault(battle, {})[is_swapped] = (verdict, is_held_out)
    votes = (
        Vote.objects.closed()
        .filter(battle__season=season, battle__judged_by__judge=judge, battle__close__entry__index__lt=told)
        .exclude(voter_id__in=voters)
        .exclude(battle_id__in=battles)
        .order_by("battle__close__entry__index")
        .distinct()
    )
    rows = []
    for battle, voter, verdict, category in votes.values_list("battle_id", "voter_id", "verdict", "battle__category"):
        said = given.get(battle)
        if said is None:  # given since it was looked
            continue
        first, second = (said[order][0] if order in said else None for order in (False, True))
        rows.append((all(held for _, held in said.values()), Judged(str(voter), verdict, first, second, category)))
    return rows


def report_judges(season: Season) -> list[JudgeReport]:
    """Return all judges that judged battles of a season, the most accurate on held-out verdicts first."""
    in_season = Count("verdicts", filter=Q(verdicts__battle__season=season))
    judges = Judge.objects.annotate(n_verdicts=in_season).filter(n_verdicts__gt=0)
    last = latest_release(season)
    keys = {judge: _key(judge, season, last, judge.n_verdicts) for judge in judges}
    known: dict[str, JudgeReport] = cache.get_many(keys.values())
    reports = [known.get(key) or _report(judge, season, last, key) for judge, key in keys.items()]
    return sorted(reports, key=lambda r: (-(r.held_out.accuracy.value or 0.0), r.judge.slug))
