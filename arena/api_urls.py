"""REST resources under /api/v1/."""

from __future__ import annotations

from django.urls import path

from arena.api import audit, battles, boards, contestants, effects, judges, quality, releases, rules, transparency
from arena.streaming import battle_stream

BATTLE = "arena/battles/<uuid:battle_id>/"
CONTESTANT = "arena/contestants/<uuid:contestant_id>/"

urlpatterns = [
    path("arena/onboarding/", battles.Onboarding.as_view(), name="api-arena-onboarding"),
    path("arena/battles/", battles.BattleCollection.as_view(), name="api-arena-battles"),
    path(BATTLE, battles.BattleDetail.as_view(), name="api-arena-battle"),
    path(f"{BATTLE}stream/", battle_stream, name="api-arena-battle-stream"),
    path(f"{BATTLE}turns/", battles.BattleTurns.as_view(), name="api-arena-battle-turns"),
    path(f"{BATTLE}vote/", battles.BattleVote.as_view(), name="api-arena-battle-vote"),
    path(f"{BATTLE}description/", battles.BattleDescription.as_view(), name="api-arena-battle-description"),
    path(f"{BATTLE}skip/", battles.BattleSkip.as_view(), name="api-arena-battle-skip"),
    path(f"{BATTLE}reveal/", battles.BattleReveal.as_view(), name="api-arena-battle-reveal"),
    path(f"{BATTLE}matches/", battles.BattleMatches.as_view(), name="api-arena-battle-matches"),
    path("arena/seasons/", rules.SeasonList.as_view(), name="api-arena-seasons"),
    path("arena/policies/", rules.PolicyList.as_view(), name="api-arena-policies"),
    path("arena/epochs/", rules.EpochList.as_view(), name="api-arena-epochs"),
    path("arena/votes/", rules.VoteList.as_view(), name="api-arena-votes"),
    path("arena/providers/", contestants.ProviderCollection.as_view(), name="api-arena-providers"),
    path("arena/contestants/", contestants.ContestantCollection.as_view(), name="api-arena-contestants"),
    path(CONTESTANT, contestants.ContestantDetail.as_view(), name="api-arena-contestant"),
    path(f"{CONTESTANT}launch/", contestants.ContestantLaunch.as_view(), name="api-arena-contestant-launch"),
    path(f"{CONTESTANT}withdraw/", contestants.ContestantWithdraw.as_view(), name="api-arena-contestant-withdraw"),
    path("arena/leaderboard/", boards.LeaderboardNow.as_view(), name="api-arena-leaderboard"),
    path("arena/leaderboards/", boards.LeaderboardList.as_view(), name="api-arena-leaderboards"),
    path("arena/leaderboards/<uuid:board_id>/", boards.LeaderboardDetail.as_view(), name="api-arena-board"),
    path("arena/effects/", effects.EffectsDetail.as_view(), name="api-arena-effects"),
    path("arena/releases/", releases.ReleaseCollection.as_view(), name="api-arena-releases"),
    path("arena/releases/<uuid:release_id>/", releases.ReleaseDetail.as_view(), name="api-arena-release"),
    path(
        "arena/releases/<uuid:release_id>/files/<str:name>",
        releases.ReleaseFile.as_view(),
        name="api-arena-release-file",
    ),
    path("arena/judges/", judges.JudgeCollection.as_view(), name="api-arena-judges"),
    path("arena/judges/<slug:slug>/", judges.JudgeDetail.as_view(), name="api-arena-judge"),
    path(
        "arena/judges/<slug:slug>/verdicts/", judges.JudgeVerdictCollection.as_view(), name="api-arena-judge-verdicts"
    ),
    path("arena/quality/", quality.QualityDetail.as_view(), name="api-arena-quality"),
    path("arena/transparency/", transparency.TransparencyDetail.as_view(), name="api-arena-transparency"),
    path("arena/audit/", audit.AuditDetail.as_view(), name="api-arena-audit"),
]
