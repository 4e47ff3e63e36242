"""The settings of a trace as fields of a form, each with default, bounds and explanation. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracer.engine import Boundaries, RankBy, TraceParameters
from tracer.engine.parameters import BOUNDS, PRESETS

DEFAULTS = TraceParameters()
#: What a preset is called and what it does.
PRESET_LABELS = {
    "": ("settings below", ""),
    "olmotrace": ("as OLMoTrace", "The spans of OLMoTrace's production, exactly, by its rules and settings."),
    "everything": ("every span", "All spans, however short, frequent or many."),
}


@dataclass(frozen=True)
class Setting:
    """A field: `choices` for a list, else a number from `low` to `high`."""

    name: str
    label: str
    explanation: str
    choices: tuple[tuple[str, str], ...] = ()

    @property
    def default(self) -> str:
        """Return the default as it stands in the form."""
        value = getattr(DEFAULTS, self.name)
        return "" if value is None else str(value)

    @property
    def default_label(self) -> str:
        """Return the default in words."""
        return dict(self.choices).get(self.default, self.default)

    @property
    def error_field(self) -> str:
        """Return the name by which an error tells this setting."""
        return f"parameters.{self.name}"

    @property
    def low(self) -> str:
        """Return the lower bound."""
        return f"{BOUNDS[self.name][0]:g}"

    @property
    def high(self) -> str:
        """Return the upper bound."""
        return f"{int(high)}" if (high := BOUNDS[self.name][1]) == int(high) else f"{high:g}"

    @property
    def step(self) -> str:
        """Return the step of the number field."""
        return "any" if self.name == "density" else "1"


SETTINGS = (
    Setting(
        "boundaries",
        "Spans stay within",
        "Where a span may begin and end. Always at whole words.",
        (
            (Boundaries.SENTENCE, "one sentence or line"),
            (Boundaries.CONTINUOUS, "the whole text"),
            (Boundaries.OLMOTRACE, "OLMoTrace's rules, by token"),
        ),
    ),
    Setting(
        "rank_by",
        "Keep first",
        "Which spans are kept when the density limits them.",
        ((RankBy.RARITY, "the rarest words"), (RankBy.LENGTH, "the longest spans")),
    ),
    Setting("density", "Density", "At most this many spans for each token of the text: 0.05 is one for every 20."),
    Setting("min_length_tokens", "Shortest span", "In tokens; shorter ones are left out."),
    Setting("max_frequency", "Most frequent span", "Spans that stand in the corpora more often are left out."),
    Setting("max_documents_per_span", "Documents a span", "How many of the documents with a span are drawn."),
    Setting("context_tokens", "Context for relevance", "Tokens around a match that are compared with the text."),
    Setting("snippet_tokens", "Context shown", "Tokens around a match that are shown."),
    Setting("seed", "Seed", "The same seed draws the same documents."),
)
_DEFAULT_VALUES = DEFAULTS.to_dict()
_BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True)
class Field:
    """A setting with what stands in the form."""

    setting: Setting
    value: str


def fields(posted: Mapping[str, str]) -> list[Field]:
    """Return the fields with what was posted, or the defaults."""
    return [Field(setting, posted.get(setting.name, "") or setting.default) for setting in SETTINGS]


def parameters_from_form(posted: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters that a form asks for, unchecked: what is no number stays text and is refused by name."""
    preset = PRESETS.get(posted.get("preset", ""), {})
    asked = {name: _value(name, posted[name]) for name in _BY_NAME if posted.get(name)}
    if posted.get("all_spans"):
        asked["density"] = None
    return {**asked, **preset}


def described(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a trace's settings in words, label and value, the preset first when they are one's."""
    presets = [
        PRESET_LABELS[name][0]
        for name, fixed in PRESETS.items()
        if all(parameters.get(key, _DEFAULT_VALUES[key]) == value for key, value in fixed.items())
    ]
    rows = [("Preset", label) for label in presets]
    for setting in SETTINGS:
        value = parameters.get(setting.name, _DEFAULT_VALUES[setting.name])
        shown = "all spans" if value is None else str(value)
        rows.append((setting.label, dict(setting.choices).get(shown, shown)))
    return rows


def settings_schema() -> dict[str, Any]:
    """Return the JSON schema of a trace's parameters: each with type, default, bounds and explanation."""
    presets = {"type": "string", "enum": list(PRESETS), "description": _preset_help()}
    properties = {setting.name: _property(setting) for setting in SETTINGS}
    return {
        "type": "object",
        "additionalProperties": False,
        "default": {},
        "properties": {"preset": presets, **properties},
    }


def _preset_help() -> str:
    told = " ".join(f"`{name}`: {PRESET_LABELS[name][1]}" for name in PRESETS)
    return f"Fixes settings, which may then not be given beside it. {told}"


def _property(setting: Setting) -> dict[str, Any]:
    default = _DEFAULT_VALUES[setting.name]
    described: dict[str, Any] = {"default": default, "description": setting.explanation}
    if setting.choices:
        labels = "; ".join(f"`{value}`: {label}" for value, label in setting.choices)
        described["description"] = f"{setting.explanation} {labels}."
        return {"type": "string", "enum": [str(value) for value, _ in setting.choices], **described}
    low, high = BOUNDS[setting.name]
    if setting.name == "density":
        described["description"] += " null keeps all spans."
        return {"type": "number", "nullable": True, "minimum": low, "maximum": high, **described}
    return {"type": "integer", "minimum": int(low), "maximum": int(high), **described}


def _value(name: str, text: str) -> Any:
    if _BY_NAME[name].choices:
        return text
    try:
        return float(text) if name == "density" else int(text)
    except ValueError:
        return text
