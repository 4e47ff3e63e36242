"""The page to which the `type` of every problem document leads: what each code means, and what helps."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

#: HTTP status and meaning by code.
PROBLEMS: dict[str, tuple[int, str]] = {
    "authentication-failed": (401, "The token is unknown, revoked or over. Make another one in your account."),
    "away": (503, "The database or Redis does not answer. Ask again after the seconds of Retry-After."),
    "bad-input": (400, "A value cannot be used; `errors` names its field where there is one."),
    "blocked-by-disclosure": (403, "The corpus's owner shows counts, not text."),
    "busy": (503, "As much waits as may wait. Ask again after Retry-After. (409: another release has just begun.)"),
    "closed": (409, "The battle is closed; nothing about it changes any more."),
    "conflict": (409, "The request contradicts what is stored."),
    "csrf": (403, "A page's form came without its token. Reload the page and send the form again."),
    "described": (409, "The vote has been described already."),
    "error": (400, "The request cannot be done; `detail` says why."),
    "forbidden": (403, "The asker may see it, but not do this with it."),
    "generation-failed": (500, "The answer failed; `detail` says why."),
    "in-the-making": (409, "The files are being made. Ask again later."),
    "index-unavailable": (503, "An index is damaged or away. The operator has to act."),
    "log-damaged": (500, "The stored log is not the one that was signed. The operator has to restore it."),
    "log-unsound": (503, "The log is damaged, so that no battle or vote is taken until it is restored."),
    "method-not-allowed": (405, "The address does not take this method; `Allow` names those that it takes."),
    "ngram-engine-crashed": (503, "The program that answers n-gram queries ended. Ask again."),
    "ngram-engine-missing": (503, "The program that answers n-gram queries is not installed here."),
    "no-change": (409, "Nothing has changed since the last release."),
    "no-room": (503, "The site has no room left, and nothing of the request was stored."),
    "not-acceptable": (406, "The address has nothing in the form that `Accept` asks for."),
    "not-authenticated": (401, "The request needs a token: Authorization: Bearer …"),
    "not-found": (404, "There is no such thing, or it is closed to the asker; both read the same."),
    "not-ready": (409, "An answer is still being made."),
    "not-voted": (409, "There is no vote on the battle yet."),
    "open": (409, "Matches are shown after the vote, since they could tell who answered."),
    "open-battle": (409, "The voter has an open battle, which has to be ended first."),
    "overloaded": (503, "More is asked of this site than it can answer. Ask again after Retry-After."),
    "parse-error": (400, "The body is not JSON."),
    "permission-denied": (403, "The token does not have the scope that this needs, or the asker not the role."),
    "server-error": (500, "Nobody foresaw this. The operator finds it in the log under `request_id`."),
    "taken": (409, "Something else has this slug."),
    "taken-down": (410, "The document was taken down; `detail` says why."),
    "throttled": (429, "The asker's requests of this minute are used up. Ask again after Retry-After."),
    "too-large": (413, "The body is larger than may be sent at once."),
    "too-many": (409, "The asker has as many of these as one may have."),
    "too-many-streams": (429, "The asker reads as many event streams as one may at once."),
    "too-many-turns": (409, "The battle has as many questions as one may have."),
    "trace-late": (504, "The answer is there, but its trace took too long. Ask for the trace by itself."),
    "unsupported-media-type": (415, "The body has a type that this address does not read."),
    "validation": (400, "Some fields cannot be used; `errors` says of each why."),
    "verdict-stands": (409, "The judge gave another verdict on this battle before, which stands."),
    "voted": (409, "The battle has a vote: it can be revealed, not skipped, and no further question asked."),
    "window-over": (409, "The time in which a vote can be changed is over."),
}


@require_GET
def problems(request: HttpRequest) -> HttpResponse:
    """Show all codes."""
    rows = [(code, status, meaning) for code, (status, meaning) in sorted(PROBLEMS.items())]
    return render(request, "webapp/problems.html", {"rows": rows})
