"""Pages."""

from __future__ import annotations

from django.urls import path

from arena.views import audit, battles, boards, contestants, effects, judges, method, quality, releases, transparency

app_name = "arena"
urlpatterns = [
    path("arena/", battles.home, name="home"),
    path("arena/guidelines/", battles.guidelines, name="guidelines"),
    path("arena/history/", battles.history, name="history"),
    path("arena/battles/<uuid:battle_id>/", battles.battle, name="battle"),
    path("arena/battles/<uuid:battle_id>/vote/", battles.vote, name="vote"),
    path("arena/battles/<uuid:battle_id>/reveal/", battles.show_names, name="reveal"),
    path("arena/battles/<uuid:battle_id>/skip/", battles.skip, name="skip"),
    path("arena/battles/<uuid:battle_id>/ask/", battles.ask_again, name="ask-again"),
    path("arena/battles/<uuid:battle_id>/describe/", battles.describe, name="describe"),
    path("arena/battles/<uuid:battle_id>/matches/", battles.show_matches, name="matches"),
    path("arena/leaderboard/", boards.leaderboard, name="leaderboard"),
    path("arena/leaderboard.csv", boards.leaderboard_csv, name="leaderboard-csv"),
    path("arena/leaderboards/<uuid:board_id>/", boards.permalink, name="leaderboard-permalink"),
    path("arena/contestants/<uuid:contestant_id>/", contestants.contestant, name="contestant"),
    path("arena/pairs/<uuid:first_id>/<uuid:second_id>/", contestants.pair, name="pair"),
    path("arena/providers/<slug:slug>/", contestants.provider, name="provider"),
    path("arena/effects/", effects.effects, name="effects"),
    path("arena/quality/", quality.quality, name="quality"),
    path("arena/transparency/", transparency.transparency, name="transparency"),
    path("arena/transparency/audit/", audit.audit, name="audit"),
    path("arena/releases/", releases.release_list, name="releases"),
    path("arena/releases/<uuid:release_id>/", releases.release, name="release"),
    path("arena/releases/<uuid:release_id>/files/<str:name>", releases.release_file, name="release-file"),
    path("arena/judges/", judges.judge_list, name="judges"),
    path("arena/judges/<slug:slug>/", judges.judge, name="judge"),
    path("arena/method/", method.method, name="method"),
]
