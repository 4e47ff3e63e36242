"""The root of all errors that a person may see.

FairgroundError            what happened, why, what to do; an HTTP status and a stable code
├── BadInputError  (400)   a value that cannot be used
├── ForbiddenError (403)   the asker may see it, but not do this
├── NotFoundError  (404)   no such thing, or one that is closed to the asker
├── ConflictError  (409)   contradicts what is stored
└── BusyError      (503)   would work later; `retry_after_s` says when
"""

from __future__ import annotations


class FairgroundError(Exception):
    """A domain error; `str(error)` is a sentence for people."""

    status = 400
    code = "error"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        if status is not None:
            self.status = status
        if code is not None:
            self.code = code


class BadInputError(FairgroundError):
    """A value that cannot be used; `field` names it where there is one."""

    code = "bad-input"


class ForbiddenError(FairgroundError):
    """The asker may know of the thing, but may not do this with it."""

    status = 403
    code = "forbidden"


class NotFoundError(FairgroundError):
    """No such thing, or one that is closed to the asker: both read the same."""

    status = 404
    code = "not-found"


class ConflictError(FairgroundError):
    """The request contradicts what is stored."""

    status = 409
    code = "conflict"


class BusyError(FairgroundError):
    """No capacity now; ask again after `retry_after_s` seconds."""

    status = 503
    code = "busy"

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
