"""Cursor pagination of REST lists, newest first."""

from __future__ import annotations

from rest_framework.exceptions import NotFound
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

from webapp.errors import BadInputError


class CreatedCursorPagination(CursorPagination):
    """Order by `created_at`; `?page_size=` up to 200."""

    ordering = "-created_at"
    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200

    def decode_cursor(self, request: Request) -> Cursor | None:
        """Return the place to go on from; raise `BadInputError` for one that no list gave out."""
        try:
            return super().decode_cursor(request)
        except NotFound as error:
            message = "The cursor is not one that this list gave out. Start again without it."
            raise BadInputError(message, field="cursor") from error
