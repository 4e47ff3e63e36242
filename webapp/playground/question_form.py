"""The question's form: what a page shows in it, and what is asked when it is sent.

A link may fill it, a button may fill it, an earlier answer may fill it; only its own button asks.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import QueryDict
from django.urls import reverse

from webapp.errors import BadInputError, FairgroundError, NotFoundError
from webapp.inference.chat_template import PLAIN_STOP
from webapp.ownership import Author, Visibility
from webapp.playground import presets, services
from webapp.playground.availability import available_experts
from webapp.playground.conversations import turns_after
from webapp.playground.models import Checkpoint, Generation

DEFAULTS = {
    "prompt": "",
    "system_prompt": "",
    "form": "",
    "max_tokens": "160",
    "temperature": "0.7",
    "top_p": "0.95",
    "seed": "",
    "stop": "",
    "think_min": "",
    "think_max": "",
    "live": "",
    "visibility": str(Visibility.LINK),
}
#: How the model reads the question: as its checkpoint is made for, as a conversation, as text to go on.
FORMS = {"": None, "chat": True, "text": False}
SHARED = ("system_prompt", "form", "max_tokens", "temperature", "top_p", "stop", "think_min", "think_max", "live")
#: Fields of the folded part: an error in one of them opens it.
OPENED_BY = frozenset(
    {"max_tokens", "temperature", "top_p", "seed", "stop", "thinking", "is_chat", "visibility", "checkpoint"}
)
_ESCAPES = (("\\n", "\n"), ("\\t", "\t"))


def read_question(form: QueryDict, author: Author) -> dict[str, Any]:
    """Return the arguments of `start_generation`. Raises `BadInputError` naming the field, `NotFoundError`."""
    checkpoint = services.default_checkpoint(form.get("checkpoint") or None)
    if form.get("experts_of") and form["experts_of"] != checkpoint.slug:
        message = f"You chose {checkpoint.slug}. Its experts stand in the form now: choose among them and ask."
        raise BadInputError(message, field="checkpoint")
    if form.get("form", "") not in FORMS:
        raise BadInputError("Choose how the question is read from the list.", field="is_chat")
    question: dict[str, Any] = {
        "prompt": _lines(form.get("prompt", "")),
        "system_prompt": _lines(form.get("system_prompt", "")),
        "experts": form.getlist("experts"),
        "max_tokens": int(_number(form, "max_tokens")),
        "temperature": _number(form, "temperature"),
        "top_p": _number(form, "top_p"),
        "seed": int(_number(form, "seed")) if form.get("seed", "").strip() else None,
        "stop": read_stops(form.get("stop", "")),
        "is_chat": FORMS[form.get("form", "")],
        "thinking": _thinking(form),
        "is_traced_live": bool(form.get("live")),
        "checkpoint": checkpoint.slug,
        "author": author,
        "visibility": form.get("visibility") or Visibility.LINK,
    }
    if after := form.get("after"):
        parent = _earlier(after, author)
        question |= {"messages": turns_after(parent), "parent": parent, "is_chat": True}
    elif again := form.get("again"):
        earlier = _earlier(again, author)
        question |= {"messages": earlier.messages, "parent": earlier.parent}
    return question


def _earlier(identifier: str, author: Author) -> Generation:
    try:
        return services.get_generation(uuid.UUID(identifier), author=author)
    except ValueError:
        raise NotFoundError("There is no such generation, or it is private.") from None


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n")


def _number(form: QueryDict, name: str) -> float:
    raw = form.get(name, "").strip() or DEFAULTS[name]
    try:
        value = float(raw)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadInputError(f"{name} is {raw!r}, which is not a number.", field=name)
    return value


def _thinking(form: QueryDict) -> dict[str, int] | None:
    """Return the bounds that were written; None where none was."""
    bounds = {}
    for field, name in (("think_min", "min_tokens"), ("think_max", "max_tokens")):
        raw = form.get(field, "").strip()
        if not raw:
            continue
        if not raw.isdecimal() or len(raw) > 7:
            raise BadInputError(f"The thinking budget {raw!r} is no whole number of tokens.", field="thinking")
        bounds[name] = int(raw)
    return bounds or None


def read_stops(text: str) -> list[str]:
    r"""Return one stop string a line; `\n` and `\t` stand for a line end and a tab."""
    stops = []
    for line in _lines(text).split("\n"):
        for written, meant in _ESCAPES:
            line = line.replace(written, meant)
        if line:
            stops.append(line)
    return stops


def write_stops(stops: list[str]) -> str:
    """Return stop strings as the form shows them."""
    lines = []
    for stop in stops:
        for written, meant in _ESCAPES:
            stop = stop.replace(meant, written)
        lines.append(stop)
    return "\n".join(lines)


def form_context(
    form: QueryDict, *, error: FairgroundError | None = None, is_submitted: bool = False
) -> dict[str, Any]:
    """Return what the form needs; what was typed stays. A link that names no expert means all of them."""
    checkpoint: Checkpoint | None = None
    try:
        checkpoint = services.default_checkpoint(form.get("checkpoint") or None)
    except NotFoundError as missing:
        error = error or missing
    is_other = bool(checkpoint and form.get("experts_of") and form["experts_of"] != checkpoint.slug)
    chosen, others = form.getlist("experts"), form.getlist("other_experts")
    everyone = is_other or (not chosen and not is_submitted)
    values = {name: form.get(name, default) for name, default in DEFAULTS.items()}
    preset = presets.PRESETS.get(form.get("preset", ""))
    if preset is not None:
        values |= preset.values
    experts = available_experts(checkpoint) if checkpoint else []
    return {
        **_choices(checkpoint, values),
        "experts": [
            {
                "expert": expert,
                "is_on": everyone or expert.slug in chosen,
                "is_other_on": is_other or not others or expert.slug in others,
                "share": None,
            }
            for expert in experts
        ],
        "error": error,
        "is_compared": form.get("kind", "") != "",
        "again": form.get("again", ""),
        "after": form.get("after", ""),
        "is_open": bool(form.get("preset") or form.get("fill") or (error is not None and error.field in OPENED_BY)),
    }


def answer_context(made: Generation) -> dict[str, Any]:
    """Return the form as an answer was asked for, each expert with its share."""
    return {
        **_choices(made.checkpoint, values_of(made)),
        "experts": [
            {
                "expert": expert,
                "is_on": expert.slug in made.experts,
                "is_other_on": expert.slug in made.experts,
                "share": made.routing_shares.get(expert.slug),
                "percent": round(100 * made.routing_shares.get(expert.slug, 0)),
            }
            for expert in available_experts(made.checkpoint)
        ],
        "again": str(made.id),
        "after": "",
        "is_open": False,
    }


def values_of(made: Generation) -> dict[str, str]:
    """Return what the form held, as text."""
    thinking = made.thinking or {}
    own_stops = [stop for stop in made.stop if stop != PLAIN_STOP or not made.is_chat]
    return {
        **{name: str(getattr(made, name)) for name in ("prompt", "system_prompt", "max_tokens", "top_p", "seed")},
        "temperature": f"{made.temperature:g}",
        "form": "" if made.is_chat == made.checkpoint.is_chat else ("chat" if made.is_chat else "text"),
        "stop": write_stops(own_stops),
        "think_min": str(thinking.get("min_tokens", "")),
        "think_max": str(thinking.get("max_tokens", "")),
        "live": "1" if made.is_traced_live else "",
        "visibility": made.visibility,
    }


def kept_values(made: Generation) -> list[tuple[str, str]]:
    """Return what a further question keeps of this one."""
    values = values_of(made)
    return [(name, values[name]) for name in (*SHARED, "visibility")]


def _choices(checkpoint: Checkpoint | None, values: Mapping[str, str]) -> dict[str, Any]:
    return {
        "checkpoint": checkpoint,
        "checkpoints": list(Checkpoint.objects.order_by("created_at")),
        "values": values,
        "examples": presets.EXAMPLES,
        "sampling_presets": presets.SAMPLING,
        "system_presets": presets.SYSTEM_PROMPTS,
        "visibilities": Visibility.choices,
        "max_tokens_limit": settings.MAX_GENERATION_TOKENS,
    }


def question_link(made: Generation) -> str:
    """Return a link that fills the form as for this answer, and asks nothing."""
    values = values_of(made)
    pairs = [("prompt", made.prompt), *(("experts", slug) for slug in made.experts)]
    pairs += [("checkpoint", made.checkpoint.slug), ("seed", values["seed"])]
    pairs += [(name, values[name]) for name in SHARED if values[name] != DEFAULTS[name]]
    return f"{reverse('playground:home')}?{urlencode(pairs)}"
