"""Rows of the arena. What is logged is written once: `arena.guards` refuses updates and deletions.

A change of state is a new row (a roster change, a close, an exclusion), never an edited one.
"""

from arena.models.battles import Battle, BattleClose, BattleTurn, CloseKind, PoolPrompt, TurnText
from arena.models.boards import ArenaExport, Judge, JudgeVerdict, Leaderboard
from arena.models.draws import Epoch, EpochReveal, Policy, Season
from arena.models.overlaps import Overlap, OverlapJob, OverlapOutcome
from arena.models.roster import Contestant, LicenceGroup, Provider, RetirementRun, RosterChange, RosterKind, Visibility
from arena.models.votes import Aspect, Exclusion, ExclusionKind, OnboardingAnswer, Verdict, Vote, VoteDetail, Voter

__all__ = [
    "ArenaExport",
    "Aspect",
    "Battle",
    "BattleClose",
    "BattleTurn",
    "CloseKind",
    "Contestant",
    "Epoch",
    "EpochReveal",
    "Exclusion",
    "ExclusionKind",
    "Judge",
    "JudgeVerdict",
    "Leaderboard",
    "LicenceGroup",
    "OnboardingAnswer",
    "Overlap",
    "OverlapJob",
    "OverlapOutcome",
    "Policy",
    "PoolPrompt",
    "Provider",
    "RetirementRun",
    "RosterChange",
    "RosterKind",
    "Season",
    "TurnText",
    "Verdict",
    "Visibility",
    "Vote",
    "VoteDetail",
    "Voter",
]
