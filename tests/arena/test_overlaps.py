"""Verbatim overlap: measured once after the close, as the rules say, and counted on boards as the log says."""

from __future__ import annotations

import io
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError, transaction
from django.template.defaultfilters import floatformat
from django.test import Client

from arena import tasks
from arena.models import Battle, Contestant, Leaderboard, Overlap, OverlapJob, Season, Voter
from arena.policy import Rules
from arena.services import battles, boards, housekeeping, overlaps, recompute, reveal, seasons, votes
from arena.services.slices import Slice
from arena.views import boards as views
from tests.arena.conftest import Enter, answered, battled
from tests.tracer.conftest import MakeCorpus, make_corpus, tokenizer_path
from tracer import registry
from tracer.engine import IndexFileError, TraceParameters, trace_text
from tracer.models import Corpus, Index, Takedown
from tracer.overlap import measure_overlap
from webapp.jobs import JobStatus
from webapp.playground.models import Generation
from webapp.transparency import verify
from webapp.transparency.models import Entry
from webapp.transparency.services import sequence_entries

__all__ = ["make_corpus", "tokenizer_path"]
pytestmark = pytest.mark.django_db
WORDS = "The carousel turns and the music plays on while the children laugh and the lights go round"


@pytest.fixture
def season(db: None) -> Season:
    rules = Rules(min_votes=1, draws_per_epoch=50, overlap_min_tokens=2)
    return seasons.open_season(slug="main", title="Arena", rules=rules)


def spoken(season: Season, voter: Voter, text_a: str, text_b: str, verdict: str = "a") -> Battle:
    """Battle with these answers, vote, reveal."""
    battle = battles.start_battle(season=season, voter=voter, prompt="Return a new")
    turn = battle.turns.get()
    for pk, text in ((turn.generation_a_id, text_a), (turn.generation_b_id, text_b)):
        Generation.objects.filter(pk=pk).update(text=text, status=JobStatus.DONE)
    votes.cast_vote(battle_id=battle.pk, voter=voter, verdict=verdict)
    battles.reveal_battle(battle_id=battle.pk, voter=voter)
    return battle


def measured(battle: Battle) -> Overlap:
    overlaps.run_overlap(battle.overlap_job.pk)
    row = Overlap.objects.get(battle=battle)
    assert OverlapJob.objects.get(battle=battle).status == JobStatus.DONE
    return row


def test_numbers_are_those_of_a_trace_with_the_published_settings(
    season: Season, trio: list[Contestant], voter: Voter, make_corpus: MakeCorpus
) -> None:
    make_corpus(texts=(f"{WORDS}.", "Nothing else."))
    make_corpus(slug="other", texts=("Somebody said that the lights go round and round.",))
    text = f"They say: {WORDS.lower()}, and then the children laugh."
    row = measured(spoken(season, voter, text, "Zebras quietly vanished"))
    settings = overlaps.settings_of(season.policies.get())
    traced = trace_text(
        text,
        registry.searchable(list(Corpus.objects.order_by("slug"))),
        parameters=TraceParameters.from_mapping(settings),
    )
    inside = {k for span in traced.spans for k in range(span.start, span.end)}
    assert (row.covered_a, row.characters_a) == (len(inside), len(text))
    assert 0 < len(inside) < len(text)
    assert (row.covered_b, row.characters_b) == (0, len("Zebras quietly vanished"))
    assert traced.coverage == pytest.approx(row.share("a"), abs=1e-6)
    assert row.entry.body == {
        "season": "main",
        "battle": str(row.battle_id),
        "settings": overlaps.settings_digest(settings),
        "outcome": "measured",
        "a": {"covered": len(inside), "characters": len(text)},
        "b": {"covered": 0, "characters": len("Zebras quietly vanished")},
        "indexes": [{"corpus": i.corpus.slug, "index": i.digest} for i in Index.objects.order_by("corpus__slug")],
    }
    policy = Entry.objects.get(kind="policy").body
    assert policy["overlap"] == settings
    assert "at least 2 tokens" in season.policies.get().document


def test_nothing_is_measured_before_the_close(
    season: Season, trio: list[Contestant], voter: Voter, make_corpus: MakeCorpus
) -> None:
    make_corpus()
    battle = answered(battles.start_battle(season=season, voter=voter, prompt="Return a new"))
    votes.cast_vote(battle_id=battle.pk, voter=voter, verdict="a")
    assert not OverlapJob.objects.exists()
    with pytest.raises(IntegrityError, match="closed with a vote"), transaction.atomic():
        overlaps.write_overlap(battle, "failed")
    skipped = battles.close_battle(battle_id=battle.pk, kind="vote").battle
    assert OverlapJob.objects.get().battle == skipped


@pytest.mark.parametrize("kind", ["skip", "error", "abandoned"])
def test_battle_without_a_vote_is_not_measured(
    season: Season, trio: list[Contestant], voter: Voter, make_corpus: MakeCorpus, kind: str
) -> None:
    make_corpus()
    battle = answered(battles.start_battle(season=season, voter=voter, prompt="Return a new"))
    battles.close_battle(battle_id=battle.pk, kind=kind)
    assert not OverlapJob.objects.exists()
    with pytest.raises(IntegrityError, match="closed with a vote"), transaction.atomic():
        overlaps.write_overlap(battle, "failed")


def test_battle_with_a_private_variant_is_not_measured(
    season: Season, enter: Enter, voter: Voter, make_corpus: MakeCorpus
) -> None:
    make_corpus()
    enter("one")
    enter("secret", visibility="private", experts=["public"])
    sequence_entries()
    battle = battled(season, voter)
    assert battle.is_pre_release
    assert not OverlapJob.objects.exists()
    with pytest.raises(IntegrityError, match="no private variant"), transaction.atomic():
        overlaps.write_overlap(battle, "failed")


def test_nothing_is_queued_without_an_index_or_without_published_settings(
    season: Season, trio: list[Contestant], voter: Voter, make_corpus: MakeCorpus
) -> None:
    battled(season, voter)
    make_corpus()
    Index.objects.update(is_enabled=False)
    battled(season, voter)
    assert not OverlapJob.objects.exists()
    Index.objects.update(is_enabled=True)
    seasons.change_policy(season=season, rules=Rules(overlap_min_tokens=0))
    sequence_entries()
    battled(season, voter)
    assert not OverlapJob.objects.exists()
    assert "overlap" not in Entry.objects.filter(kind="policy").last().body  # type: ignore[union-attr]


def test_rules_of_before_have_nothing_measured_until_they_are_published_anew(season: Season) -> None:
    policy = season.policies.get()
    old = {name: value for name, value in policy.rules.items() if name != "overlap_min_tokens"}
    assert overlaps.settings_of(type(policy)(rules=old)) == {}
    assert overlaps.settings_of(policy)["min_length_tokens"] == 2


def test_second_run_and_second_worker_write_nothing(
    season: Season, trio: list[Contestant], voter: Voter, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_corpus()
    battle = spoken(season, voter, WORDS, WORDS)
    job = battle.overlap_job
    found = measure_overlap([WORDS, WORDS], parameters={"min_length_tokens": 2})

    def meanwhile(*_: Any, **__: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(overlaps, "_measure", lambda battle: found)
            overlaps.run_overlap(job.pk)  # another worker, to whom the job was given again
        return found

    with monkeypatch.context() as patch:
        patch.setattr(overlaps, "_measure", meanwhile)
        tasks.measure_overlap(str(job.pk))
    tasks.measure_overlap(str(job.pk))
    assert Overlap.objects.count() == Entry.objects.filter(kind="overlap").count() == 1
    with pytest.raises(IntegrityError), transaction.atomic():
        overlaps.write_overlap(battle, found)
    assert Entry.objects.filter(kind="overlap").count() == 1


def test_measurement_is_tried_again_and_at_last_told_as_missing(
    season: Season, trio: list[Contestant], voter: Voter, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make_corpus()
    battle = spoken(season, voter, WORDS, WORDS)
    job = battle.overlap_job

    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("no connection")

    with monkeypatch.context() as patch:
        patch.setattr(overlaps, "measure_overlap", away)
        overlaps.run_overlap(job.pk)
    assert OverlapJob.objects.get().status == JobStatus.RUNNING
    folder = corpus.indexes.get().folder
    registry.close_unregistered()
    shutil.move(folder, folder.with_name("elsewhere"))
    overlaps.run_overlap(job.pk)
    assert not Overlap.objects.exists()
    assert overlaps.requeue_unfinished(older_than_s=0) == 1
    overlaps.run_overlap(job.pk)
    assert Overlap.objects.get().reason == "index-damaged"
    assert overlaps.requeue_unfinished(older_than_s=0) == 0
    assert Entry.objects.get(kind="overlap").body["reason"] == "index-damaged"


def test_measurement_that_ended_its_workers_is_told_as_failed(
    season: Season, trio: list[Contestant], voter: Voter, make_corpus: MakeCorpus
) -> None:
    make_corpus()
    job = spoken(season, voter, WORDS, WORDS).overlap_job
    OverlapJob.objects.update(n_starts=overlaps.MAX_STARTS, status=JobStatus.RUNNING)
    overlaps.run_overlap(job.pk)
    assert Overlap.objects.get().reason == "failed"


def test_damaged_index_is_measured_once_it_is_mended(
    season: Season, trio: list[Contestant], voter: Voter, make_corpus: MakeCorpus
) -> None:
    corpus = make_corpus()
    battle = spoken(season, voter, WORDS, WORDS)
    folder = corpus.indexes.get().folder
    shutil.move(folder, folder.with_name("elsewhere"))
    with pytest.raises(IndexFileError):
        measure_overlap([WORDS], parameters={})
    overlaps.run_overlap(battle.overlap_job.pk)
    shutil.move(folder.with_name("elsewhere"), folder)
    assert measured(battle).share("a") == measured(battle).share("b") != 0


def test_index_switched_off_meanwhile_is_told(
    season: Season, trio: list[Contestant], voter: Voter, make_corpus: MakeCorpus
) -> None:
    make_corpus()
    battle = spoken(season, voter, WORDS, WORDS)
    Index.objects.update(is_enabled=False)
    assert (measured(battle).outcome, measured(battle).reason) == ("unmeasured", "no-index")


def test_erased_answers_are_not_measured_and_measured_ones_keep_their_numbers(
    season: Season, trio: list[Contestant], voter: Voter, make_corpus: MakeCorpus
) -> None:
    make_corpus()
    early, late = (spoken(season, voter, WORDS, WORDS) for _ in range(2))
    reveal.erase_texts(early)
    assert measured(early).reason == "erased"
    row = measured(late)
    reveal.erase_texts(late)
    sequence_entries()
    assert Overlap.objects.get(battle=late).share("a") == row.share("a")
    assert WORDS not in Entry.objects.get(kind="overlap", id=row.entry_id).leaf


def test_takedown_changes_no_number(
    season: Season, trio: list[Contestant], voter: Voter, make_corpus: MakeCorpus
) -> None:
    corpus = make_corpus()
    before = measured(spoken(season, voter, WORDS, WORDS)).share("a")
    Takedown.objects.create(corpus=corpus, document_key="doc-0", reason="A test.")
    assert measured(spoken(season, voter, WORDS, WORDS)).share("a") == before != 0


def test_texts_that_hold_nothing_are_covered_by_nothing(make_corpus: MakeCorpus) -> None:
    assert measure_overlap(["", "x"], parameters={}).indexes == ()
    make_corpus()
    found = measure_overlap(["", " \n", WORDS], parameters={"min_length_tokens": 2})
    assert found.covered[:2] == (0, 0)
    assert found.characters == (0, 2, len(WORDS))


# --- boards ---


@pytest.fixture
def counted(season: Season, trio: list[Contestant], voter: Voter, make_corpus: MakeCorpus) -> Season:
    """Votes with overlaps of any share, some unmeasured, some without an entry."""
    make_corpus(texts=(f"{WORDS}.",))
    chance, words = random.Random(3), WORDS.split()
    texts = [" ".join([*words[: chance.randrange(2, 17)], *["xyzzy"] * chance.randrange(9)]) for _ in range(60)]
    for k in range(30):
        battle = spoken(season, voter, texts[2 * k], texts[2 * k + 1], chance.choice(["a", "b", "tie", "both_bad"]))
        if k == 5:
            reveal.erase_texts(battle)
        if k != 6:
            overlaps.run_overlap(battle.overlap_job.pk)
    sequence_entries()
    return season


def slow_column(season: Season) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in Overlap.objects.filter(outcome="measured"):
        for side in ("a", "b"):
            name = str(getattr(row.battle, f"contestant_{side}_id"))
            found.setdefault(name, []).append(getattr(row, f"covered_{side}") / getattr(row, f"characters_{side}"))
    return found


def test_column_is_the_mean_over_measured_votes(counted: Season, client: Client) -> None:
    board = boards.publish_leaderboard(counted)
    expected = slow_column(counted)
    column = board.result["overlap"]
    assert column["n_without"] == 2
    assert column["contestants"].keys() == expected.keys()
    for name, own in expected.items():
        assert column["contestants"][name] == {"share": round(sum(own) / len(own), 4), "n": len(own)}
    rows = {row["contestant"]: row for row in board.entry.body["ratings"]}
    assert {name: row["n_overlap"] for name, row in rows.items()} == {k: len(v) for k, v in expected.items()}
    assert board.entry.body["n_without_overlap"] == 2
    told = client.get("/api/v1/arena/leaderboard/").json()
    assert told["n_without_overlap"] == 2
    for row in told["ratings"]:
        assert (row["overlap"], row["n_overlap"]) == tuple(column["contestants"][row["contestant"]].values())
    page = client.get("/arena/leaderboard/").content.decode()
    assert "measured for all but 2" in page


def test_contestants_page_has_its_share_of_the_newest_board(counted: Season, client: Client) -> None:
    board = boards.publish_leaderboard(counted)
    for contestant in counted.contestants.all():
        own = board.result["overlap"]["contestants"][str(contestant.pk)]
        page = client.get(contestant.get_absolute_url()).content.decode()
        assert f"{floatformat(100 * own['share'], 1)} % of its answers' characters" in " ".join(page.split())
        assert f"the mean over {own['n']} vote" in page


def test_reveal_tells_the_share_of_each_answer_once_it_is_measured(counted: Season, client: Client) -> None:
    rows = list(Overlap.objects.filter(outcome="measured").select_related("battle")[:4])
    assert any(row.share("a") != row.share("b") for row in rows)
    for row in rows:
        sides = client.get(f"/api/v1/arena/battles/{row.battle_id}/").json()["reveal"]["sides"]
        page = client.get(row.battle.get_absolute_url()).content.decode()
        for side in ("a", "b"):
            share = row.share(side)
            assert share is not None
            assert sides[side]["overlap"] == round(share, 4)
            assert f"{floatformat(100 * share, 1)}&nbsp;% <a" in page
    reveal.erase_texts(rows[0].battle)
    erased = client.get(rows[0].battle.get_absolute_url()).content.decode()
    assert "verbatim</a> in the corpora" in erased, "the number outlives the text"
    assert "· 0 characters" not in erased
    without = counted.battles.exclude(overlap__outcome="measured")
    assert without.count() == 2
    for battle in without:
        sides = client.get(f"/api/v1/arena/battles/{battle.pk}/").json()["reveal"]["sides"]
        assert [sides[side]["overlap"] for side in ("a", "b")] == [None, None]
        assert "verbatim</a> in the corpora" not in client.get(battle.get_absolute_url()).content.decode()


def test_controlled_board_counts_measured_votes_and_is_published_with_a_permalink(
    counted: Season, client: Client
) -> None:
    boards.publish_leaderboard(counted)
    board = boards.publish_controlled(counted)
    assert board is not None
    assert board.n_votes == 28
    assert board.entry.body["method"]["covariates"] == ["overlap"]
    assert boards.publish_controlled(counted) == board, "the same input is published once"
    assert boards.latest_leaderboard(counted) != board
    page = client.get("/arena/leaderboard/?overlap=1").content.decode()
    assert board.get_absolute_url() in page
    assert "2 votes of this slice without a measured overlap are left out" in page
    assert page.count("<h2>What is held equal</h2>") == 1
    assert "“To flip” is not computed where something is held equal" in page
    assert page.count(views.CONTROLLED) == len(board.result["ratings"]), "a dash without its reason"
    plain = client.get("/arena/leaderboard/").content.decode()
    assert (plain.count(views.LAST), plain.count(views.CONTROLLED)) == (1, 0)
    assert "“To flip” is not computed" not in plain
    assert "held equal" in client.get(board.get_absolute_url()).content.decode()
    now = client.get(f"/api/v1/arena/leaderboard/?overlap=1&tree_size={board.tree_size}").json()
    known = client.get(f"/api/v1/arena/leaderboards/{board.pk}/").json()
    assert now["ratings"] == known["ratings"]
    assert (now["id"], known["id"]) == (None, str(board.pk))
    both = client.get("/api/v1/arena/leaderboard/?overlap=1&style=1").json()
    assert both["method"]["covariates"][0] == "overlap"


def test_export_verifies_and_no_number_of_it_can_be_changed(counted: Season, tmp_path: Path) -> None:
    boards.publish_leaderboard(counted)
    boards.publish_controlled(counted)
    sequence_entries()
    call_command("export_log", str(tmp_path / "e"), stdout=io.StringIO())
    report = verify.verify(tmp_path / "e")
    assert [str(wrong) for wrong in report.findings] == []
    assert report.replay.kinds["overlap"] == 29
    told = report.replay.seasons["main"].overlaps
    assert {k: verify.share(body["a"]) for k, (_, body) in told.items()} == {
        str(row.battle_id): row.share("a") for row in Overlap.objects.filter(outcome="measured")
    }


def test_boards_count_what_was_measured_by_the_settings_in_force(counted: Season) -> None:
    before = boards.compute_board(counted, Slice(overlap=True))
    size = before.tree_size
    seasons.change_policy(season=counted, rules=Rules(min_votes=1, overlap_min_tokens=5))
    sequence_entries()
    after = boards.compute_board(counted, Slice(overlap=True))
    assert (after.n_votes, after.result["overlap"]["n_without"]) == (0, 30)
    assert boards.compute_board(counted, Slice(overlap=True), size=size).result == before.result


def test_board_at_an_earlier_size_knows_no_later_measurement(counted: Season) -> None:
    indices = sorted(Overlap.objects.filter(outcome="measured").values_list("entry__index", flat=True))
    for n in (0, 7, 28):
        size = indices[n] if n < len(indices) else indices[-1] + 1
        assert boards.compute_board(counted, Slice(overlap=True), size=size).n_votes == n


def test_overlap_that_tells_nothing_is_not_controlled_for(
    season: Season, trio: list[Contestant], voter: Voter, make_corpus: MakeCorpus, client: Client
) -> None:
    make_corpus()
    for verdict in ("a", "b", "a", "b", "tie", "tie"):
        measured(spoken(season, voter, "xyzzy", "xyzzy", verdict))
    sequence_entries()
    assert boards.publish_controlled(season) is None
    assert boards.compute_board(season, Slice(overlap=True)).n_votes == 6
    assert "nothing is controlled for" in client.get("/arena/leaderboard/?overlap=1").content.decode()


def test_published_boards_keep_their_names_when_slices_learn_something_new() -> None:
    assert Slice().key == "7174def563d4621db97257b485e95b2c93d1c3b081463c959fe313ce9a17096e"
    assert Slice(overlap=True).key not in (Slice().key, Slice(style=True).key)


def test_late_measurements_reach_the_leaderboard_without_a_vote(counted: Season) -> None:
    boards.publish_leaderboard(counted)
    job = OverlapJob.objects.exclude(status=JobStatus.DONE).get()
    recompute.catch_up()
    n = Leaderboard.objects.count()
    overlaps.run_overlap(job.pk)
    sequence_entries()
    assert recompute.catch_up() == 1
    board = boards.latest_leaderboard(counted)
    assert board is not None
    assert board.result["overlap"]["n_without"] == 1
    assert Leaderboard.objects.count() == n + 1
    assert recompute.catch_up() == 0


def test_housekeeping_publishes_the_controlled_board_once_an_hour(counted: Season) -> None:
    from django.core.cache import cache

    cache.clear()
    housekeeping.keep_house()
    controlled = boards.snapshots(counted, Slice(overlap=True))
    assert controlled.count() == 1
    overlaps.run_overlap(OverlapJob.objects.exclude(status=JobStatus.DONE).get().pk)
    sequence_entries()
    housekeeping.keep_house()
    assert controlled.count() == 1
    cache.clear()
    housekeeping.keep_house()
    assert controlled.count() == 2


def test_votes_tell_their_overlap(counted: Season, client: Client) -> None:
    rows = client.get("/api/v1/arena/votes/").json()["results"]
    told = {row["battle"]: row["overlap"] for row in rows}
    for row in Overlap.objects.filter(battle__in=told):
        found = told[str(row.battle_id)]
        assert found["entry"] == str(row.entry_id)
        if row.outcome == "measured":
            assert found["a"] == {"covered": row.covered_a, "characters": row.characters_a}
        else:
            assert (found["a"], found["reason"]) == (None, "erased")
    assert list(told.values()).count(None) == 1


def test_csv_has_the_column(counted: Season, client: Client) -> None:
    boards.publish_leaderboard(counted)
    lines = client.get("/arena/leaderboard.csv").content.decode().splitlines()
    assert "overlap,n_overlap" in lines[0]


def test_command_publishes_rules_of_before_anew_and_refuses_what_is_none(season: Season) -> None:
    out = io.StringIO()
    with pytest.raises(CommandError, match="in force already"):
        call_command("change_rules", stdout=out)
    call_command("change_rules", "overlap_min_tokens=5", "allow_anonymous=false", "epsilon=1/8", stdout=out)
    assert "at least 5 tokens" in out.getvalue()
    rules = seasons.rules_of(seasons.current_policy(season))
    assert (rules.overlap_min_tokens, rules.allow_anonymous, str(rules.epsilon)) == (5, False, "1/8")
    for wrong, reason in (
        ("overlap_min_tokens", "is no rule"),
        ("min_vots=3", "unknown rules: min_vots"),
        ("min_votes=many", "invalid literal"),
        ("level=high", "NAME=VALUE"),
        ("allow_anonymous=no", "true or false"),
        ("overlap_min_tokens=-1", "from 0"),
    ):
        with pytest.raises(CommandError, match=reason):
            call_command("change_rules", wrong, stdout=out)
    assert season.policies.count() == 2
