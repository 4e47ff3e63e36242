"""A domain error that no form can show becomes a page of its own, with the error's status."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render

from webapp.errors import FairgroundError

P = ParamSpec("P")


def answer_errors(
    view: Callable[Concatenate[HttpRequest, P], HttpResponseBase],
) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
    """Render `error.html` for a domain error that the view raises."""

    @wraps(view)
    def answered(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except FairgroundError as error:
            return render(request, "error.html", {"error": error}, status=error.status)

    return answered
