"""The pool of prompts that people may take: read from JSON lines, each with a key of its own."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable

from django.db import transaction

from arena.models import PoolPrompt
from arena.services.battles import MAX_PROMPT_CHARACTERS
from webapp.errors import BadInputError
from webapp.text import storable

LENGTHS = {"key": 200, "category": 60, "discipline": 60, "language": 20, "reference": 100_000}


def import_prompts(lines: Iterable[str]) -> tuple[int, int]:
    """Store prompts; return how many are new and how many were known. All or nothing.

    A line is an object with `text`, and optionally `id` (default: the text itself, cut), `category`,
    `discipline`, `language` and `reference` (a person's answer). A known id with another text raises
    `BadInputError` that names the line, as everything does that cannot be used.
    """
    n_new = n_known = 0
    with transaction.atomic():
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            fields = _read(number, line)
            prompt, is_new = PoolPrompt.objects.get_or_create(key=fields.pop("key"), defaults=fields)
            if not is_new and prompt.text != fields["text"]:
                raise BadInputError(f"line {number}: {prompt.key!r} is in the pool with another text. Use a new id.")
            n_new, n_known = n_new + is_new, n_known + (not is_new)
    return n_new, n_known


def _read(number: int, line: str) -> dict[str, str]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise BadInputError(f"line {number} is no JSON: {error}") from error
    if not isinstance(row, dict) or not isinstance(row.get("text"), str) or not row["text"].strip():
        raise BadInputError(f"line {number} has no text: each line is an object with at least `text`.")
    text = storable(row["text"])
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise BadInputError(f"line {number}: the text is longer than {MAX_PROMPT_CHARACTERS} characters.")
    fields = {"key": storable(str(row.get("id") or text[: LENGTHS["key"]]))}
    for name in ("category", "discipline", "language", "reference"):
        fields[name] = storable(str(row.get(name) or ""))
    for name, limit in LENGTHS.items():
        if len(fields[name]) > limit:
            raise BadInputError(f"line {number}: {name} is longer than {limit} characters.")
    return {**fields, "text": text}


def take_prompt(category: str = "") -> PoolPrompt:
    """Return any prompt of the pool, of a category if one is named. Raises `BadInputError` when there is none."""
    prompts = PoolPrompt.objects.filter(category=category) if category else PoolPrompt.objects.all()
    keys = list(prompts.values_list("pk", flat=True))
    if not keys:
        raise BadInputError("The pool has no prompt like that. Write one instead.", field="category")
    return PoolPrompt.objects.get(pk=random.choice(keys))
