"""What a trace may be told: every setting with default, bounds and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from tracer.engine.errors import ParameterError


class Boundaries(StrEnum):
    """Where spans may begin and end."""

    SENTENCE = "sentence"  # whole words, within one sentence or line; decided on the text
    CONTINUOUS = "continuous"  # whole words, across sentences; decided on the text
    OLMOTRACE = "olmotrace"  # by token ids, as OLMoTrace's production does


class RankBy(StrEnum):
    """Which spans are kept when density limits them."""

    RARITY = "rarity"  # least probable first: sum of unigram log probabilities
    LENGTH = "length"  # longest first, in tokens


BOUNDS: dict[str, tuple[float, float]] = {
    "min_length_tokens": (1, 1000),
    "max_frequency": (1, 10**12),
    "density": (0.001, 1.0),
    "max_documents_per_span": (1, 50),
    "context_tokens": (0, 1000),
    "snippet_tokens": (0, 200),
    "seed": (0, 2**63 - 1),
}


#: Settings that are fixed together, by name. OLMoTrace's are those of its production, whose spans they reproduce.
PRESETS: dict[str, dict[str, Any]] = {
    "olmotrace": {
        "boundaries": Boundaries.OLMOTRACE,
        "min_length_tokens": 1,
        "max_frequency": 1_000_000,
        "density": 0.05,
        "rank_by": RankBy.RARITY,
        "max_documents_per_span": 10,
        "context_tokens": 250,
        "snippet_tokens": 40,
    },
    "everything": {"density": None, "min_length_tokens": 1, "max_frequency": 10**12},
}


@dataclass(frozen=True)
class TraceParameters:
    """Parameters of one trace; part of its identity.

    boundaries: where spans may begin and end. min_length_tokens: shorter spans are dropped.
    max_frequency: spans that occur more often are dropped. density: at most this share of the
    text's tokens as number of spans; None keeps all. context_tokens and snippet_tokens: tokens
    on either side of a match for relevance and for show. seed: of the sample of occurrences.
    """

    boundaries: Boundaries = Boundaries.SENTENCE
    min_length_tokens: int = 1
    max_frequency: int = 1_000_000
    density: float | None = 0.05
    rank_by: RankBy = RankBy.RARITY
    max_documents_per_span: int = 10
    context_tokens: int = 250
    snippet_tokens: int = 40
    seed: int = 0

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> TraceParameters:
        """Return checked parameters; raise `ParameterError` naming the first bad one.

        `preset` names one of `PRESETS`, whose settings may not be given beside it.
        """
        known = {field.name for field in fields(cls)}
        preset = values.get("preset")
        checked = _of_preset(preset)
        fixed = frozenset(checked)
        for name, value in values.items():
            if name == "preset":
                continue
            if name in fixed:
                raise ParameterError(name, f"is fixed by the preset {preset!r}: leave one of them out")
            if name not in known:
                raise ParameterError(str(name), f"unknown parameter. Known: {', '.join(sorted(known))}")
            checked[name] = _checked(name, value)
        return cls(**checked)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def _of_preset(name: Any) -> dict[str, Any]:
    if name is None:
        return {}
    if not isinstance(name, str) or name not in PRESETS:
        raise ParameterError("preset", f"{name!r} is not one of {', '.join(PRESETS)}")
    return dict(PRESETS[name])


def _checked(name: str, value: Any) -> Any:
    if name in {"boundaries", "rank_by"}:
        kind = Boundaries if name == "boundaries" else RankBy
        try:
            return kind(value)
        except ValueError:
            raise ParameterError(name, f"{value!r} is not one of {', '.join(kind)}") from None
    if name == "density" and value is None:
        return None
    allowed = (int, float) if name == "density" else (int,)
    low, high = BOUNDS[name]
    if isinstance(value, bool) or not isinstance(value, allowed) or not low <= value <= high:
        raise ParameterError(name, f"{value!r} is not a number from {low:g} to {high:g}")
    return value
