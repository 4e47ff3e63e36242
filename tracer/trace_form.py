"""The settings of a trace as fields of a form, each with default, bounds and explanation. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracer.engine import Boundaries, RankBy, TraceParameters
from tracer.engine.parameters import BOUNDS

DEFAULTS = TraceParameters()
#: Settings that give OLMoTrace's production spans exactly; the rest are our defaults, which are its own.
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "": ("settings below", {}),
    "olmotrace": (
        "as OLMoTrace",
        {"boundaries": Boundaries.OLMOTRACE, "min_length_tokens": 1, "max_frequency": 1_000_000, "density": 0.05},
    ),
    "everything": ("every span", {"density": None, "min_length_tokens": 1, "max_frequency": 10**12}),
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
    _, preset = PRESETS.get(posted.get("preset", ""), PRESETS[""])
    asked = {name: _value(name, posted[name]) for name in _BY_NAME if posted.get(name)}
    if posted.get("all_spans"):
        asked["density"] = None
    return {**asked, **preset}


def _value(name: str, text: str) -> Any:
    if _BY_NAME[name].choices:
        return text
    try:
        return float(text) if name == "density" else int(text)
    except ValueError:
        return text
