"""Every error of the API as RFC 9457 problem+json."""

from __future__ import annotations

import errno
import sqlite3
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import structlog
from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template import loader
from django.utils.decorators import sync_and_async_middleware
from django.views.decorators.csrf import csrf_exempt
from psycopg.errors import DiskFull
from redis import RedisError
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_handler

from webapp.away import AWAY
from webapp.errors import BusyError, FairgroundError

log = structlog.get_logger(__name__)
CONTENT_TYPE = "application/problem+json"
AWAY_RETRY_S = 5
#: An operator must act first.
NO_ROOM_RETRY_S = 60
#: Where programs ask; people's pages are elsewhere.
MACHINES = ("/api/", "/v1/", "/compat/")


def problem(status: int, detail: str, code: str, **extra: Any) -> dict[str, Any]:
    """Return the members of a problem document; `type` leads to its row of `webapp.problem_page`."""
    return {
        "type": f"/docs/problems#{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **extra,
    }


def problem_response(error: FairgroundError) -> JsonResponse:
    """Return a plain Django response for async views, which DRF does not wrap."""
    body = problem(error.status, error.message, error.code, **_field_errors(error))
    response = JsonResponse(body, status=error.status, content_type=CONTENT_TYPE)
    if isinstance(error, BusyError):
        response["Retry-After"] = str(error.retry_after_s)
    return response


def _field_errors(error: FairgroundError) -> dict[str, Any]:
    return {"errors": {error.field: [error.message]}} if error.field else {}


def exception_handler(exception: Exception, context: dict[str, Any]) -> Response | None:
    """Turn domain errors and DRF's own errors into problem documents; others stay 500s."""
    if isinstance(exception, FairgroundError):
        headers = {"Retry-After": str(exception.retry_after_s)} if isinstance(exception, BusyError) else None
        body = problem(exception.status, exception.message, exception.code, **_field_errors(exception))
        return Response(body, status=exception.status, headers=headers, content_type=CONTENT_TYPE)
    if isinstance(exception, RequestDataTooBig):
        message = f"The body is larger than {settings.DATA_UPLOAD_MAX_MEMORY_SIZE:,} bytes. Send less at once."
        return Response(problem(413, message, "too-large"), status=413, content_type=CONTENT_TYPE)
    response = drf_handler(exception, context)
    if response is None:
        return None
    code, detail, extra = _describe(exception)
    response.data = problem(response.status_code, detail, code, **extra)
    response.content_type = CONTENT_TYPE
    return response


def _describe(exception: Exception) -> tuple[str, str, dict[str, Any]]:
    if isinstance(exception, exceptions.ValidationError):
        errors = exception.detail if isinstance(exception.detail, dict) else {"body": exception.detail}
        fields = ", ".join(map(str, errors))
        return "validation", f"Some fields are not valid: {fields}. See errors.", {"errors": errors}
    if isinstance(exception, Http404):
        return "not-found", "There is no such resource.", {}
    if isinstance(exception, PermissionDenied):
        return "forbidden", "You may not do this.", {}
    if isinstance(exception, exceptions.APIException):
        return str(exception.default_code).replace("_", "-"), str(exception.detail), {}
    return "error", str(exception), {}


@csrf_exempt
def not_found(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    """Answer an unknown path under /api/ as a problem document."""
    body = problem(404, "There is no such resource.", "not-found")
    return JsonResponse(body, status=404, content_type=CONTENT_TYPE)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an address that leads nowhere. What Django says of it names classes of the code, and is left out."""
    if request.path.startswith(MACHINES):
        return JsonResponse(
            problem(404, "There is no such resource.", "not-found"), status=404, content_type=CONTENT_TYPE
        )
    return render(request, "404.html", status=404)


@sync_and_async_middleware
def wrong_method_middleware(get_response: Callable[..., Any]) -> Callable[..., Any]:
    """Say on pages what Django leaves empty: that an address does not take a method. Streams are left alone."""
    if iscoroutinefunction(get_response):
        return get_response

    def answer(request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = get_response(request)
        if not isinstance(response, HttpResponseNotAllowed) or request.path.startswith(MACHINES):
            return response
        reads = request.method in {"GET", "HEAD"}
        message = (
            "There is nothing to read here: this address takes what a form on another page sends. Go back to it."
            if reads
            else f"This page does not take {request.method}; it takes {response['Allow']}."
        )
        shown = render(request, "error.html", {"error": {"message": message}}, status=405)
        shown["Allow"] = response["Allow"]
        return shown

    return answer


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer an error that nobody foresaw, with the id under which the operator finds it in the log.

    With the database or Redis away, or the disk full, the answer is 503 and says when to ask again.
    """
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    error = sys.exc_info()[1]
    if error is not None and is_out_of_room(error):
        log.error("no room left to store anything: free some", error=str(error))
        return _unavailable(
            request,
            "This site has no room left, so nothing of this was stored. Ask again when its operator has made some.",
            "no-room",
            NO_ROOM_RETRY_S,
        )
    if isinstance(error, AWAY):
        message = f"A part of this site is away for the moment. Ask again in {AWAY_RETRY_S} seconds."
        return _unavailable(request, message, "away", AWAY_RETRY_S)
    message = f"Something went wrong here. The operator finds it in the log under {request_id}."
    if request.path.startswith(MACHINES):
        body = problem(500, message, "server-error", request_id=request_id)
        return JsonResponse(body, status=500, content_type=CONTENT_TYPE)
    return HttpResponse(loader.get_template("500.html").render({"request_id": request_id}), status=500)


def is_out_of_room(error: BaseException) -> bool:
    """Tell whether an error, or what caused it, is a disk or quota that is full: of the database, Redis or files."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DiskFull) or getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return True
        if isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        if isinstance(cause, RedisError) and "No space left on device" in str(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def overloaded(request: HttpRequest) -> HttpResponse:
    """Answer that more is asked than this process can do; touches neither database nor cache."""
    message = f"More is asked of this site than it can answer. Ask again in {AWAY_RETRY_S} seconds."
    return _unavailable(request, message, "overloaded", AWAY_RETRY_S)


def _unavailable(request: HttpRequest, message: str, code: str, retry_after_s: int) -> HttpResponse:
    response: HttpResponse
    if request.path.startswith(MACHINES):
        response = JsonResponse(problem(503, message, code), status=503, content_type=CONTENT_TYPE)
    else:
        response = HttpResponse(loader.get_template("503.html").render({"message": message}), status=503)
    response["Retry-After"] = str(retry_after_s)
    return response


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form without this browser's token: programs get a problem document, people a page."""
    message = "The form was not sent from this site, or is too old. Go back, reload the page, and send it again."
    if request.path.startswith(MACHINES):
        return JsonResponse(problem(403, message, "csrf"), status=403, content_type=CONTENT_TYPE)
    return render(request, "error.html", {"error": {"message": message}}, status=403)
