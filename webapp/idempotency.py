"""Idempotency keys: a POST repeated with the same key gets the first answer and makes nothing new."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from django.db import IntegrityError, transaction
from rest_framework.request import Request
from rest_framework.response import Response

from webapp.errors import BadInputError, ConflictError
from webapp.models import IdempotentRequest

MAX_KEY_LENGTH = 255


def answer_once(request: Request, create: Callable[[], Response], *, content: bytes = b"") -> Response:
    """Call `create`, or replay its earlier answer when the Idempotency-Key header was seen before.

    `content` is that of a file in the body, which counts as part of it.

    The key's row and the work are written in one transaction, so a crash leaves neither.
    Raises `ConflictError` (409) when the key came with another body, `BadInputError` for an over-long key.
    """
    key = request.headers.get("Idempotency-Key", "")
    if not key:
        return create()
    if len(key) > MAX_KEY_LENGTH:
        raise BadInputError(f"Idempotency-Key is longer than {MAX_KEY_LENGTH} characters. Send a shorter one.")
    principal, digest = _principal(request), _digest(request, content)
    try:
        with transaction.atomic():
            row = IdempotentRequest.objects.create(principal=principal, key=key, request_digest=digest)
            response = create()
            row.response_status = response.status_code
            row.response_body = json.loads(json.dumps(response.data, default=str))
            row.response_location = response.headers.get("Location", "")
            row.save()
            return response
    except IntegrityError:
        seen = IdempotentRequest.objects.filter(principal=principal, key=key).first()
        if seen is None:
            raise
        return _replay(seen, digest)


def _replay(seen: IdempotentRequest, digest: str) -> Response:
    if seen.request_digest != digest:
        raise ConflictError("This Idempotency-Key was used for another request. Send a new key with a new body.")
    headers = {"Location": seen.response_location} if seen.response_location else None
    return Response(seen.response_body, status=seen.response_status, headers=headers)


def _principal(request: Request) -> str:
    if request.user and request.user.is_authenticated:
        return f"user:{request.user.pk}"
    return f"address:{request.META.get('REMOTE_ADDR', '')}"


def _digest(request: Request, content: bytes) -> str:
    body = json.dumps(request.data, sort_keys=True, default=str)
    return hashlib.sha256(f"{request.method} {request.path}\n{body}".encode() + content).hexdigest()
