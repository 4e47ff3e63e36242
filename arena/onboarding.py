"""The introduction's two checks, which show that a voter has understood what a verdict means."""

from __future__ import annotations

from dataclasses import dataclass

MAX_TRIES = 6


@dataclass(frozen=True)
class Check:
    """A question with its options by id; `right` is the id of the right one."""

    id: str
    question: str
    options: tuple[tuple[str, str], ...]
    right: str
    why: str


CHECKS = (
    Check(
        "judge-the-answer",
        "Answer A is long and well laid out but states something false. Answer B is short and right. Which is better?",
        (
            ("a", "A: it looks more thorough"),
            ("b", "B: it is right"),
            ("names", "I should first find out which model wrote them"),
        ),
        "b",
        "Judge what an answer says. Length and layout alone are no merit, and who wrote it is shown after the vote.",
    ),
    Check(
        "tie-or-both-bad",
        "Both answers ignore the question. Which verdict fits?",
        (("tie", "Tie"), ("both_bad", "Both are bad"), ("skip", "Skip: nothing can be said")),
        "both_bad",
        "“Both are bad” says that neither helps; “Tie” says that both are about equally good. "
        "Skip only what you cannot judge.",
    ),
)
BY_ID = {check.id: check for check in CHECKS}
