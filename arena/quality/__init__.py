"""Whether votes can be trusted: patterns no reader would follow, agreement, gates with three outcomes.

Knows nothing of Django or of how votes are stored; may be used from a notebook. The method is told
in docs/arena-quality.md.
"""

from arena.quality.agreement import Agreement, cohen_kappa, krippendorff_alpha
from arena.quality.crowd import Crowd, OutcomeModel
from arena.quality.gates import Gate, Outcome, gate_above
from arena.quality.patterns import Ballot, Evidence, Pattern, judge_voter

__all__ = [
    "Agreement",
    "Ballot",
    "Crowd",
    "Evidence",
    "Gate",
    "Outcome",
    "OutcomeModel",
    "Pattern",
    "cohen_kappa",
    "gate_above",
    "judge_voter",
    "krippendorff_alpha",
]
