"""What a check of the log found, as the page shows it."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.transparency.verify import Report

MAX_SHOWN = 20


@dataclass(frozen=True)
class Review:
    """The result of the verifier at one tree size. wrong: first findings, in the order of leaves."""

    tree_size: int
    n_checkpoints: int
    n_wrong: int
    wrong: list[str]
    kinds: dict[str, int]

    @classmethod
    def of(cls, report: Report, *, tree_size: int) -> Review:
        """Keep of a report what is shown."""
        return cls(
            tree_size=tree_size,
            n_checkpoints=report.n_checkpoints,
            n_wrong=len(report.findings),
            wrong=[str(wrong) for wrong in report.findings[:MAX_SHOWN]],
            kinds=dict(sorted(report.replay.kinds.items())),
        )
