"""The battle's pages: ask, read both answers, judge, learn who wrote them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from arena.answers import has_failed, turns_of
from arena.models import Aspect, Battle, PoolPrompt, Verdict, Voter
from arena.onboarding import CHECKS
from arena.services import battles, reveal, seasons, votes
from arena.services.pool import take_prompt
from arena.services.voters import answer_checks, has_passed_checks
from arena.sessions import known_voter, remember_voter, voter_for
from arena.views.battle_context import battle_context
from arena.views.errors import answer_errors
from webapp.errors import BadInputError, FairgroundError, NotFoundError

HISTORY_LENGTH = 50


@never_cache
@require_http_methods(["GET", "POST"])
@answer_errors
def home(request: HttpRequest) -> HttpResponse:
    """Offer a prompt to write or to take; on POST draw a battle and go to it."""
    if request.method == "POST":
        try:
            return _start(request)
        except FairgroundError as error:
            return render(request, "arena/home.html", _home(request, error), status=422)
    return render(request, "arena/home.html", _home(request))


def _start(request: HttpRequest) -> HttpResponse:
    season = seasons.get_season(None)
    form = request.POST
    voter = voter_for(request, season)
    try:
        battle = battles.start_battle(
            season=season,
            voter=voter,
            prompt=form.get("prompt", "").replace("\r\n", "\n"),
            nonce=form.get("nonce", "").strip(),
            pool_prompt=take_prompt(form.get("category", "")) if "pool" in form else None,
        )
    except FairgroundError as error:
        answer = render(request, "arena/home.html", _home(request, error), status=422)
        return remember_voter(answer, voter)
    return remember_voter(HttpResponseRedirect(battle.get_absolute_url(), status=303), voter)


def _home(request: HttpRequest, error: FairgroundError | None = None) -> dict[str, Any]:
    season = seasons.get_season(None)
    policy = seasons.current_policy(season)
    voter = known_voter(request)
    own = Battle.objects.of(voter.pk).filter(season=season).select_related("close") if voter else Battle.objects.none()
    categories = PoolPrompt.objects.exclude(category="").order_by("category").values_list("category", flat=True)
    return {
        "season": season,
        "policy": policy,
        "rules": seasons.rules_of(policy),
        "needs_checks": seasons.rules_of(policy).require_onboarding and not (voter and has_passed_checks(voter)),
        "open_battle": next((b for b in own.filter(close__isnull=True) if not has_failed(turns_of(b))), None),
        "n_own_votes": own.filter(close__kind="vote").count(),
        "categories": list(dict.fromkeys(categories)),
        "has_pool": PoolPrompt.objects.exists(),
        "prompt": request.POST.get("prompt", "") or request.GET.get("prompt", ""),
        "error": error,
    }


@never_cache
@require_GET
def battle(request: HttpRequest, battle_id: uuid.UUID) -> HttpResponse:
    """Show a battle: while it is open to its voter alone, without a hint of who answers."""
    return _show(request, battle_id)


def _show(request: HttpRequest, battle_id: uuid.UUID, error: FairgroundError | None = None) -> HttpResponse:
    voter = known_voter(request)
    try:
        context = battle_context(battles.get_battle(battle_id, voter=voter), voter, request.GET)
    except NotFoundError as missing:
        return render(request, "error.html", {"error": missing}, status=404)
    return render(request, "arena/battle.html", {**context, "error": error}, status=422 if error else 200)


def _act(request: HttpRequest, battle_id: uuid.UUID, act: Callable[[Voter | None], object]) -> HttpResponse:
    """Run one service for the asker's voter and go back to the battle; show what went wrong on its page."""
    voter: Voter | None = known_voter(request)
    try:
        act(voter)
    except NotFoundError as missing:
        return render(request, "error.html", {"error": missing}, status=404)
    except FairgroundError as error:
        return _show(request, battle_id, error)
    plain = "?plain=1" if request.GET.get("plain") == "1" else ""
    return HttpResponseRedirect(reverse("arena:battle", args=[battle_id]) + plain + "#verdict", status=303)


@require_POST
def vote(request: HttpRequest, battle_id: uuid.UUID) -> HttpResponse:
    """Store the verdict; nothing is revealed yet."""
    verdict = request.POST.get("verdict", "")
    return _act(request, battle_id, lambda v: votes.cast_vote(battle_id=battle_id, voter=v, verdict=verdict))


@require_POST
def show_names(request: HttpRequest, battle_id: uuid.UUID) -> HttpResponse:
    """Reveal: the vote stands from here on."""
    return _act(request, battle_id, lambda v: battles.reveal_battle(battle_id=battle_id, voter=v))


@require_POST
def skip(request: HttpRequest, battle_id: uuid.UUID) -> HttpResponse:
    """Close without a vote."""
    return _act(request, battle_id, lambda v: battles.skip_battle(battle_id=battle_id, voter=v))


@require_POST
def ask_again(request: HttpRequest, battle_id: uuid.UUID) -> HttpResponse:
    """Ask both sides a further question."""
    prompt = request.POST.get("prompt", "").replace("\r\n", "\n")
    return _act(request, battle_id, lambda v: battles.add_turn(battle_id=battle_id, voter=v, prompt=prompt))


@require_POST
def describe(request: HttpRequest, battle_id: uuid.UUID) -> HttpResponse:
    """Store what the voter adds to the vote."""
    form = request.POST

    def number(name: str) -> int | None:
        raw = form.get(name, "")
        if raw and not raw.isdecimal():
            raise BadInputError(f"{name} must be a whole number from 1 to 5.", field=name)
        return int(raw) if raw else None

    def act(voter: Voter | None) -> None:
        votes.describe_vote(
            battle_id=battle_id,
            voter=voter,
            strength=number("strength"),
            confidence=number("confidence"),
            aspects={aspect: form[f"aspect-{aspect}"] for aspect in Aspect.values if form.get(f"aspect-{aspect}")},
            tags=form.getlist("tags"),
            comment=form.get("comment", "").replace("\r\n", "\n"),
        )

    return _act(request, battle_id, act)


@require_POST
@answer_errors
def show_matches(request: HttpRequest, battle_id: uuid.UUID) -> HttpResponse:
    """Trace both answers of a closed battle."""
    reveal.trace_answers(battles.get_battle(battle_id, voter=known_voter(request)))
    return HttpResponseRedirect(reverse("arena:battle", args=[battle_id]) + "?matches=a#matches", status=303)


@never_cache
@require_http_methods(["GET", "POST"])
def guidelines(request: HttpRequest) -> HttpResponse:
    """Explain how to judge; on POST check the answers to the two questions."""
    context: dict[str, Any] = {
        "checks": CHECKS,
        "verdicts": Verdict.choices,
        "wrong": [],
        "given": list(request.POST.items()),
    }
    if request.method == "GET":
        voter = known_voter(request)
        context["has_passed"] = voter is not None and has_passed_checks(voter)
        return render(request, "arena/guidelines.html", context)
    try:
        voter = voter_for(request)
        context["wrong"] = answer_checks(
            voter=voter, answers={check.id: request.POST[check.id] for check in CHECKS if check.id in request.POST}
        )
    except FairgroundError as error:
        return render(request, "arena/guidelines.html", {**context, "error": error}, status=422)
    if context["wrong"]:
        return remember_voter(render(request, "arena/guidelines.html", context, status=422), voter)
    return remember_voter(HttpResponseRedirect(reverse("arena:home"), status=303), voter)


@never_cache
@require_GET
def history(request: HttpRequest) -> HttpResponse:
    """List the asker's own battles and progress."""
    voter = known_voter(request)
    own = Battle.objects.of(voter.pk).select_related("close", "contestant_a", "contestant_b", "season") if voter else ()
    listed = list(own[:HISTORY_LENGTH])
    verdicts = reveal.verdicts_of(listed)
    first = reveal.first_prompts(listed)
    rows = [{"battle": b, "verdict": verdicts.get(b.pk, ""), "prompt": first.get(b.pk, "")} for b in listed]
    n_votes = Battle.objects.of(voter.pk).filter(close__kind="vote").count() if voter else 0
    return render(request, "arena/history.html", {"rows": rows, "n_votes": n_votes, "voter": voter})
