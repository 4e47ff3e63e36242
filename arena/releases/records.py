"""One closed vote as a release tells it, as plain values. Knows neither the database nor any schema.

A text that may not be shown (erased, or an answer of a private variant under test) is replaced by
`sha256:` and its salted hash, which the log holds; its salt is then absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

COUNTED = "counted"
PRE_RELEASE = "pre-release"
EXCLUDED = "excluded"
HASHED = "sha256:"


@dataclass(frozen=True)
class Turn:
    """A prompt and both answers. answer_a, answer_b: None where no answer was made. n_tokens: None where hidden."""

    prompt: str
    prompt_sha256: str
    prompt_salt: str | None
    answer_a: str | None
    answer_b: str | None
    n_tokens_a: int | None = None
    n_tokens_b: int | None = None


@dataclass(frozen=True)
class Description:
    """What a voter added to the vote. strength, confidence: 1 to 5."""

    strength: int | None = None
    confidence: int | None = None
    aspects: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class OverlapNumbers:
    """Characters of both answers, those that stand word for word in corpora and all; leaf_index: where it is said."""

    covered_a: int
    characters_a: int
    covered_b: int
    characters_b: int
    leaf_index: int

    @property
    def difference(self) -> float:
        """Return side a's share minus side b's; of no characters none is covered."""
        share_a = self.covered_a / self.characters_a if self.characters_a else 0.0
        return share_a - (self.covered_b / self.characters_b if self.characters_b else 0.0)


@dataclass(frozen=True)
class Record:
    """A closed vote. status: counted, pre-release, or excluded: with the rules. leaf_index: of the close entry."""

    id: str
    season: str
    is_simulated: bool
    epoch: int
    draw_index: int
    p_pair: str
    side_swap: bool
    roster_hash: str
    policy_hash: str
    status: str
    leaf_index: int
    contestant_a: str
    contestant_b: str
    model_a: str
    model_b: str
    verdict: str
    voter: str
    voted_at: datetime
    seconds: float
    category: str
    discipline: str
    language: str
    community: str
    prompt_key: str  # of the pool's prompt; empty for a prompt of one's own
    system_prompt_a: str | None
    system_prompt_b: str | None
    turns: tuple[Turn, ...]
    shows_answers: bool
    answer_sha256_a: str | None
    answer_sha256_b: str | None
    answer_salt: str | None
    description: Description = field(default_factory=Description)
    measured: OverlapNumbers | None = None

    @property
    def first_prompt(self) -> str:
        """Return the opening prompt."""
        return self.turns[0].prompt if self.turns else ""

    def answers(self, side: str) -> list[str]:
        """Return the answers of a side, one a turn that has one."""
        return [text for turn in self.turns if (text := getattr(turn, f"answer_{side}")) is not None]

    def whole_answer(self, side: str) -> str:
        """Return all answers of a side as the one text that its hash in the log is of."""
        hidden = not self.shows_answers
        texts = self.answers(side)
        return (texts[0] if texts else "") if hidden else "\n\n".join(texts)

    def n_tokens(self, side: str) -> int | None:
        """Return the tokens of a side's answers, None where they may not be shown or none were made."""
        counts = [getattr(turn, f"n_tokens_{side}") for turn in self.turns]
        return sum(counts) if counts and None not in counts else None

    def messages(self, side: str) -> Iterator[dict[str, Any]]:
        """Yield a side's conversation as role, content and number of tokens."""
        for turn in self.turns:
            yield {"role": "user", "content": turn.prompt, "num_tokens": None}
            answer = getattr(turn, f"answer_{side}")
            if answer is not None:
                yield {"role": "assistant", "content": answer, "num_tokens": getattr(turn, f"n_tokens_{side}")}


def hashed(digest: str | None) -> str:
    """Return what stands for a text that may not be shown."""
    return f"{HASHED}{digest}" if digest else ""


def status_of(*, is_pre_release: bool, rules: set[str]) -> str:
    """Return the status of a vote; rules: those that set it aside."""
    if rules:
        return f"{EXCLUDED}:{'+'.join(sorted(rules))}"
    return PRE_RELEASE if is_pre_release else COUNTED
