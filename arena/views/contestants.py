"""Pages of a contestant, a pair and a provider. A private variant under test has none."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from arena import charts
from arena.models import Battle, Contestant, Leaderboard, Vote
from arena.services.boards import latest_leaderboard
from arena.services.roster import get_provider
from arena.services.slices import OVERLAP, Slice
from arena.services.variants import find_contestant
from arena.views.boards import contestants_of, state_of
from arena.views.errors import answer_errors
from webapp.errors import NotFoundError
from webapp.ownership import author_of
from webapp.playground.availability import withdrawn_slugs

MAX_HISTORY = 200
MAX_VOTES = 50


@require_GET
@answer_errors
def contestant(request: HttpRequest, contestant_id: uuid.UUID) -> HttpResponse:
    """Show a contestant with its whole history. A private variant that nothing disclosed has no page."""
    author = author_of(request)
    found = find_contestant(contestant_id, author=author)
    history = []
    snapshots = Leaderboard.objects.filter(season=found.season, slice_key=Slice().key).defer("pairs")
    for board in reversed(snapshots.order_by("-tree_size", "-created_at")[:MAX_HISTORY]):
        own = next((row for row in board.result["ratings"] if row["contestant"] == str(found.pk)), None)
        if own is not None:
            history.append({"board": board, **own})
    line = charts.history_points([(str(h["board"].pk), h["rating"], h["lower"], h["upper"]) for h in history])
    context = {
        "season": found.season,
        "contestant": found,
        "state": state_of(found),
        "experts": _experts(found),
        "changes": found.changes.select_related("entry", "board"),
        "history": history,
        "line": line,
        "opponents": _opponents(found),
        "overlap": _overlap(found, history[-1]["board"]) if history else None,
    }
    return render(request, "arena/contestant.html", context)


def _overlap(found: Contestant, board: Leaderboard) -> dict[str, Any] | None:
    """Return which part of its answers stands in the corpora, as a board has it; None where nothing was measured."""
    own = board.result.get(OVERLAP, {}).get("contestants", {}).get(str(found.pk))
    return {"percent": 100 * own["share"], "n": own["n"]} if own else None


def _experts(found: Contestant) -> list[dict[str, Any]]:
    """Return the experts of its checkpoint; of those whose owners opted out only the ones that it needs."""
    withdrawn = withdrawn_slugs(found.checkpoint)
    rows = [
        {"expert": expert, "is_on": expert.slug in found.experts, "is_withdrawn": expert.slug in withdrawn}
        for expert in found.checkpoint.experts.all()
    ]
    return [row for row in rows if row["is_on"] or not row["is_withdrawn"]]


def _opponents(found: Contestant) -> list[dict[str, Any]]:
    board = latest_leaderboard(found.season)
    others = contestants_of(found.season)
    rows = []
    for first, second, won, lost, tied, bad in board.pairs if board else ():
        name = str(found.pk)
        if name in (first, second):
            other = others.get(second if name == first else first)
            own, against = (won, lost) if name == first else (lost, won)
            rows.append({"other": other, "won": own, "lost": against, "tied": tied, "bad": bad})
    return sorted(rows, key=lambda row: -(row["won"] + row["lost"] + row["tied"] + row["bad"]))


@require_GET
@answer_errors
def pair(request: HttpRequest, first_id: uuid.UUID, second_id: uuid.UUID) -> HttpResponse:
    """Show two contestants against each other: counts, expected share, closed battles."""
    found = {
        c.pk: c for c in Contestant.objects.select_related("season", "provider").filter(pk__in=[first_id, second_id])
    }
    if len(found) < 2 or any(c.is_secret for c in found.values()) or len({c.season_id for c in found.values()}) > 1:
        raise NotFoundError("There is no such pair within one season.")
    one, two = found[first_id], found[second_id]
    board = latest_leaderboard(one.season)
    ratings = {row["contestant"]: row["rating"] for row in board.result["ratings"]} if board else {}
    expected = None
    if str(one.pk) in ratings and str(two.pk) in ratings:
        expected = 100 / (1 + 10 ** ((ratings[str(two.pk)] - ratings[str(one.pk)]) / 400))
    closed = Vote.objects.closed().filter(battle__season=one.season)
    sides = {"battle__contestant_a__in": [one.pk, two.pk], "battle__contestant_b__in": [one.pk, two.pk]}
    votes = closed.filter(**sides).select_related("battle").order_by("-created_at")
    counts = next((p for p in (board.pairs if board else ()) if {p[0], p[1]} == {str(one.pk), str(two.pk)}), None)
    if counts is not None and counts[0] != str(one.pk):
        counts = [counts[1], counts[0], counts[3], counts[2], counts[4], counts[5]]
    context = {"season": one.season, "one": one, "two": two, "expected": expected, "counts": counts}
    shown = [{"battle": v.battle, "winner": _winner(v.battle, v.verdict, found)} for v in votes[:MAX_VOTES]]
    return render(request, "arena/pair.html", {**context, "votes": shown})


def _winner(battle: Battle, verdict: str, found: dict[uuid.UUID, Contestant]) -> str:
    if verdict == "a":
        return found[battle.contestant_a_id].title
    if verdict == "b":
        return found[battle.contestant_b_id].title
    return "tie" if verdict == "tie" else "both bad"


@require_GET
@answer_errors
def provider(request: HttpRequest, slug: str) -> HttpResponse:
    """Show a provider's contestants, and how many private variants it has under test and ever had."""
    found = get_provider(slug)
    entered = found.contestants.select_related("season", "provider").prefetch_related("changes")
    context = {
        "provider": found,
        "rows": [{"contestant": c, "state": state_of(c)} for c in entered if not c.is_secret],
        "n_in_tests": Contestant.objects.in_tests().filter(provider=found).count(),
        "n_variants": found.contestants.filter(visibility="private").count(),
    }
    return render(request, "arena/provider.html", context)
