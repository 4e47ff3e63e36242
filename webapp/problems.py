"""Every error of the API as RFC 9457 problem+json."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template import loader
from django.views.decorators.csrf import csrf_exempt
from psycopg_pool import PoolTimeout
from redis import RedisError
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_handler

from webapp.errors import BusyError, FairgroundError

CONTENT_TYPE = "application/problem+json"
#: What is raised while the database or Redis does not answer.
AWAY = (InterfaceError, OperationalError, RedisError, PoolTimeout)
AWAY_RETRY_S = 5
#: Where programs ask; people's pages are elsewhere.
MACHINES = ("/api/", "/v1/", "/compat/")


def problem(status: int, detail: str, code: str, **extra: Any) -> dict[str, Any]:
    """Return the members of a problem document; `type` is a stable relative reference to the docs."""
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


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer an error that nobody foresaw, with the id under which the operator finds it in the log.

    With the database or Redis away, the answer is 503 and says when to ask again.
    """
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    if isinstance(sys.exc_info()[1], AWAY):
        return _away(request)
    message = f"Something went wrong here. The operator finds it in the log under {request_id}."
    if request.path.startswith(MACHINES):
        body = problem(500, message, "server-error", request_id=request_id)
        return JsonResponse(body, status=500, content_type=CONTENT_TYPE)
    return HttpResponse(loader.get_template("500.html").render({"request_id": request_id}), status=500)


def _away(request: HttpRequest) -> HttpResponse:
    message = f"A part of this site is away for the moment. Ask again in {AWAY_RETRY_S} seconds."
    response: HttpResponse
    if request.path.startswith(MACHINES):
        response = JsonResponse(problem(503, message, "away"), status=503, content_type=CONTENT_TYPE)
    else:
        response = HttpResponse(loader.get_template("503.html").render({"message": message}), status=503)
    response["Retry-After"] = str(AWAY_RETRY_S)
    return response


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form without this browser's token: programs get a problem document, people a page."""
    message = "The form was not sent from this site, or is too old. Go back, reload the page, and send it again."
    if request.path.startswith(MACHINES):
        return JsonResponse(problem(403, message, "csrf"), status=403, content_type=CONTENT_TYPE)
    return render(request, "error.html", {"error": {"message": message}}, status=403)
