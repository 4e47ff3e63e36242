"""A release: what it holds, that anybody can recompute the leaderboard from it, and what it never tells."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pa_parquet
import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction
from django.utils import timezone

from arena.models import ArenaExport, Battle, Contestant, Season, Voter
from arena.policy import Rules
from arena.releases.tables import FOR_JUDGES, TABLES
from arena.services import boards, release_jobs, releases, reveal, roster, seasons, variants, votes
from arena.services.exclusions import exclude_battle
from arena.services.simulation import Simulation, simulate_votes
from arena.services.slices import Slice
from tests.arena.conftest import Enter, battled, eligible_voter
from tests.inference.tiny import EXPERTS
from webapp.errors import ConflictError
from webapp.jobs import JobStatus
from webapp.playground.models import Checkpoint
from webapp.transparency import verify
from webapp.transparency.models import Entry
from webapp.transparency.services import sequence_entries

pytestmark = pytest.mark.django_db
VERDICTS = ("a", "b", "tie", "both_bad")
SCHEMAS = [schema for schema in TABLES if schema.is_open]


@pytest.fixture(autouse=True)
def _own_data_folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "data"


@pytest.fixture
def simulated(checkpoint: Checkpoint) -> Season:
    """A simulated season with 40 votes."""
    season = seasons.open_season(
        slug="simulated", title="Simulation", is_simulated=True, rules=Rules(min_votes=1, draws_per_epoch=100)
    )
    provider = roster.add_provider(slug="program", name="A program")
    for expert in EXPERTS[:3]:
        roster.add_contestant(
            season=season,
            provider=provider,
            slug=f"without-{expert}",
            title=f"Without {expert}",
            licence_group="open-source",
            experts=[e for e in EXPERTS if e != expert],
        )
    planted = {str(pk): 1000.0 for pk in season.contestants.values_list("pk", flat=True)}
    simulate_votes(season=season, simulation=Simulation(strengths=planted, n_votes=40, n_voters=8, seed=3))
    return season


def released(season: Season) -> ArenaExport:
    """Release a season in this process."""
    release = releases.request_release(season=season)
    release_jobs.run_release(release.pk)
    done = releases.get_release(release.pk)
    assert done.is_open, done.error
    sequence_entries()
    return done


def lines(release: ArenaExport, name: str) -> list[dict[str, Any]]:
    text = (releases.folder_of(release) / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def rated(path: Path, *options: object) -> dict[str, Any]:
    out = io.StringIO()
    call_command("rate", "--votes", str(path), *map(str, options), "--format", "json", stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def named_alike(ratings: list[dict[str, Any]], names: dict[str, str]) -> list[dict[str, Any]]:
    """Return a board's rows as a file has them: slugs for ids, by which equal ratings are in order."""
    rows = [{**row, "contestant": names[row["contestant"]]} for row in ratings]
    return sorted(rows, key=lambda row: (-row["rating"], row["contestant"]))


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_ratings_from_the_file_equal_the_published_leaderboard(simulated: Season, ending: str) -> None:
    release = released(simulated)
    board = boards.latest_leaderboard(simulated)
    assert board is not None
    names = {str(c.pk): c.slug for c in simulated.contestants.all()}
    path = releases.folder_of(release) / f"arena-human-preference-140k.{ending}"
    answer = rated(path, "--min-votes", 1, "--level", "0.95")
    expected = named_alike(board.result["ratings"], names)
    assert len(expected) == 3
    assert answer["ratings"] == expected
    assert answer["method"]["n_votes"] == board.n_votes


def test_every_table_has_every_vote_in_both_formats(simulated: Season) -> None:
    release = released(simulated)
    assert (release.n_votes, release.n_withheld, release.votes_size) == (40, 0, release.tree_size)
    folder = releases.folder_of(release)
    for schema in SCHEMAS:
        rows = lines(release, schema.name)
        assert len(rows) == 40
        assert all(list(row) == list(schema.all_columns) for row in rows)
        assert all(row["simulated"] is True for row in rows)
        assert pa_parquet.read_table(folder / f"{schema.name}.parquet").to_pylist() == rows
    assert {p.name for p in folder.iterdir()} == {file["name"] for file in release.files}


def test_rows_are_those_of_the_log(simulated: Season) -> None:
    release = released(simulated)
    leaves = {e.index: e.body for e in Entry.objects.filter(kind="close")}
    verdicts = {e.body["battle"]: e.body for e in Entry.objects.filter(kind="vote")}
    policy = Entry.objects.get(kind="policy").body["document"]
    assert len(leaves) == 40
    for schema in SCHEMAS:
        rows = lines(release, schema.name)
        assert [row["leaf_index"] for row in rows] == sorted(leaves)
        for row in rows:
            leaf = leaves[row["leaf_index"]]
            vote = verdicts[leaf["battle"]]
            assert (row["epoch"], row["draw_index"], row["p_pair"], row["side_swap"]) == (
                leaf["epoch"],
                leaf["draw_index"],
                leaf["probability"],
                leaf["swap"],
            )
            assert (row["contestant_a"], row["contestant_b"]) == (leaf["side_a"], leaf["side_b"])
            assert (row["verdict"], row["voter"]) == (vote["verdict"], vote["voter"])
            assert row["policy_hash"] == policy


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_controlled_ratings_from_the_file_equal_the_published_board(simulated: Season, ending: str) -> None:
    release = released(simulated)
    board = boards.compute_board(simulated, Slice(overlap=True), size=release.votes_size)
    folder = releases.folder_of(release)
    names = {str(c.pk): c.slug for c in simulated.contestants.all()}
    answer = rated(folder / f"arena-human-preference-140k.{ending}", "--min-votes", 1, "--covariates", "overlap")
    assert answer["ratings"] == named_alike(board.result["ratings"], names)
    assert answer["method"]["covariates"] == ["overlap"]
    shown = json.loads((folder / "leaderboard-overlap.json").read_text(encoding="utf-8"))
    assert shown["ratings"] == board.result["ratings"]
    assert shown["overlap"] == board.result["overlap"]
    assert "leaderboard-overlap.json" in (folder / "README.md").read_text(encoding="utf-8")


def test_rows_have_the_overlaps_of_the_log_and_nothing_else_passes(
    simulated: Season, trio: list[Contestant], voter: Voter, tmp_path: Path
) -> None:
    release = released(simulated)
    told = {e.body["battle"]: e for e in Entry.objects.filter(kind="overlap")}
    rows = lines(release, "multipref")
    assert len(told) == len(rows) == 40
    for row in rows:
        entry = told[row["comparison_id"]]
        for side in ("a", "b"):
            assert row[f"overlap_covered_{side}"] == entry.body[side]["covered"]
            assert row[f"overlap_characters_{side}"] == entry.body[side]["characters"]
        share_a, share_b = (entry.body[s]["covered"] / entry.body[s]["characters"] for s in ("a", "b"))
        assert (row["overlap"], row["overlap_leaf_index"]) == (share_a - share_b, entry.index)
    replay = verified(release, tmp_path)
    season, measured = replay.seasons["simulated"], replay.seasons["simulated"].overlaps_at(release.votes_size)
    row = rows[3]
    found = measured[row["comparison_id"]]
    verify._compare_overlap_of_row(row, *found)
    verify._compare_overlap_of_row({k: v for k, v in row.items() if "overlap" not in k}, *found)
    for name in [name for name in row if name.startswith("overlap")]:
        with pytest.raises(ValueError, match=name):
            verify._compare_overlap_of_row({**row, name: row[name] + 1}, *found)
        with pytest.raises(ValueError, match=name):
            verify._compare_overlap_of_row({**row, name: None}, *found)
    with pytest.raises(ValueError, match="the log says None"):
        verify._compare_overlap_of_row(row, None, {})
    assert season.overlaps.keys() == told.keys()


def test_votes_without_overlap_have_none_in_the_file_and_are_left_out_by_the_command(
    simulated: Season, tmp_path: Path
) -> None:
    release = released(simulated)
    rows = lines(release, "arena-human-preference-140k")
    for row in rows[:6]:
        row["overlap"] = None
    path = tmp_path / "votes.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert rated(path, "--covariates", "overlap")["method"]["n_votes"] == 34
    assert rated(path)["method"]["n_votes"] == 40
    kept = tmp_path / "kept.jsonl"
    kept.write_text("\n".join(map(json.dumps, rows[6:])), encoding="utf-8")
    assert rated(path, "--covariates", "overlap")["ratings"] == rated(kept, "--covariates", "overlap")["ratings"]
    path.write_text("\n".join(json.dumps({**row, "overlap": None}) for row in rows), encoding="utf-8")
    with pytest.raises(CommandError, match="no vote has a value of overlap"):
        rated(path, "--covariates", "overlap")


def test_battles_of_people_without_a_measurement_have_null_columns(
    season: Season, voted: list[Battle], tmp_path: Path
) -> None:
    release = released(season)
    assert {row["overlap"] for row in lines(release, "sciarena")} == {None}
    assert "leaderboard-overlap.json" not in {file["name"] for file in release.files}
    verified(release, tmp_path)


def test_digests_stand_in_the_log_and_on_disk(simulated: Season) -> None:
    release = released(simulated)
    assert release.entry is not None
    body = release.entry.body
    folder = releases.folder_of(release)
    assert body["files"] == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    assert (body["release"], body["tree_size"], body["n_votes"]) == (str(release.pk), release.tree_size, 40)


def export_log(tmp_path: Path) -> Path:
    folder = tmp_path / f"log-{Entry.objects.count()}"
    call_command("export_log", str(folder), stdout=io.StringIO())
    return folder


def verified(release: ArenaExport, tmp_path: Path) -> verify.Replay:
    """Hold log and release against each other, offline."""
    report = verify.verify(export_log(tmp_path))
    assert [str(wrong) for wrong in report.findings] == []
    assert f"{release.n_votes} votes" in verify.check_release(releases.folder_of(release), report.replay)
    return report.replay


@pytest.fixture
def voted(season: Season, trio: list[Contestant], voter: Voter) -> list[Battle]:
    """Twelve closed votes by two voters; the first prompt is of its own."""
    voters = [voter, eligible_voter()]
    prompts = ["Remember the blue heron", *["Return a new"] * 11]
    battles = [battled(season, voters[n % 2], VERDICTS[n % 4], prompt) for n, prompt in enumerate(prompts)]
    sequence_entries()
    return battles


def test_newest_tenth_is_withheld_and_told_by_the_next_release(
    season: Season, voted: list[Battle], voter: Voter, tmp_path: Path
) -> None:
    first = released(season)
    assert (first.n_votes, first.n_withheld) == (11, 1)
    newest = str(voted[-1].pk)
    for_judges = lines(first, FOR_JUDGES.name)
    assert [row["id"] for row in for_judges] == [newest]
    assert for_judges[0].keys() == FOR_JUDGES.columns.keys()
    assert for_judges[0]["conversation_a"][1]["content"] == voted[-1].turns.get().generation_a.text
    assert all(newest not in json.dumps(lines(first, schema.name)) for schema in SCHEMAS)
    verified(first, tmp_path)
    with pytest.raises(ConflictError, match="Nothing has changed"):
        releases.request_release(season=season)
    battled(season, voter, "b")
    sequence_entries()
    second = released(season)
    assert first.tree_size <= second.votes_size <= second.tree_size
    assert (second.n_votes, second.n_withheld) == (12, 1)
    assert newest in {row["id"] for row in lines(second, "arena-human-preference-140k")}
    verified(second, tmp_path)


def test_leaderboard_in_the_release_is_that_of_the_votes_told(season: Season, voted: list[Battle]) -> None:
    release = released(season)
    names = {str(c.pk): c.slug for c in season.contestants.all()}
    board = boards.compute_board(season, Slice(), size=release.votes_size)
    path = releases.folder_of(release) / "arena-human-preference-140k.parquet"
    answer = rated(path, "--min-votes", 1)
    assert answer["ratings"] == named_alike(board.result["ratings"], names)
    shown = json.loads((releases.folder_of(release) / "leaderboard.json").read_text(encoding="utf-8"))
    assert shown["ratings"] == board.result["ratings"]
    assert shown["input_digest"] == board.input_digest


def test_votes_set_aside_are_told_and_not_counted(season: Season, voted: list[Battle], tmp_path: Path) -> None:
    exclude_battle(battle=voted[0], rule="identity-leak", numbers={})
    battled(season, voted[0].voter)
    release = released(season)
    rows = lines(release, "arena-human-preference-140k")
    statuses = {row["id"]: row["status"] for row in rows}
    if release.votes_size > (Entry.objects.get(kind="exclude").index or 0):
        assert statuses.pop(str(voted[0].pk)) == "excluded:identity-leak"
    assert set(statuses.values()) == {"counted"}
    verified(release, tmp_path)


def test_private_variant_never_leaks_before_its_rating_is_published(
    season: Season, trio: list[Contestant], enter: Enter, voter: Voter, tmp_path: Path
) -> None:
    variant = enter("very-hidden-slug", visibility="private", title="Very hidden title", system_prompt="Hidden words")
    sequence_entries()
    for _ in range(24):
        battled(season, voter, "a")
    first = released(season)
    held = [
        r
        for r in lines(first, "arena-human-preference-140k")
        if str(variant.pk) in (r["contestant_a"], r["contestant_b"])
    ]
    assert held, "24 draws of 6 pairs never drew the variant"
    for path in releases.folder_of(first).iterdir():
        content = path.read_bytes()
        assert not any(word in content for word in (b"very-hidden", b"Very hidden", b"Hidden words")), path.name
    for row in held:
        assert (row["status"], row["answer_salt"]) == ("pre-release", None)
        assert f"private:{variant.pk}" in (row["model_a"], row["model_b"])
        assert row["conversation_a"][1]["content"][0]["text"] == f"sha256:{row['answer_sha256_a']}"
    made = {str(b.pk) for b in Battle.objects.filter(is_pre_release=True)}
    assert not made & {row["id"] for row in lines(first, FOR_JUDGES.name)}
    verified(first, tmp_path)
    variants.launch(variant)
    second = released(season)
    shown = {row["id"]: row for row in lines(second, "arena-human-preference-140k")}
    for row in held:
        assert "very-hidden-slug" in (shown[row["id"]]["model_a"], shown[row["id"]]["model_b"])
        assert shown[row["id"]]["status"] == "pre-release"
        assert shown[row["id"]]["answer_salt"]
    verified(second, tmp_path)


def test_erased_text_leaves_earlier_releases_and_the_log_still_verifies(
    season: Season, voted: list[Battle], tmp_path: Path, django_capture_on_commit_callbacks: Any
) -> None:
    release = released(season)
    before = {name: lines(release, name) for name in (s.name for s in SCHEMAS)}
    assert b"blue heron" in (releases.folder_of(release) / "sciarena.parquet").read_bytes()
    first_entry = release.entry_id
    with django_capture_on_commit_callbacks(execute=False) as callbacks:
        reveal.erase_texts(voted[0])
    assert not releases.get_release(release.pk).is_open
    with pytest.raises(ConflictError, match="being made"):
        releases.open_file(releases.get_release(release.pk), "sciarena.jsonl")
    for callback in callbacks:
        if getattr(callback, "func", None) is not None:
            callback()
    assert not releases.folder_of(release).exists()
    release_jobs.run_release(release.pk)
    again = releases.get_release(release.pk)
    assert again.is_open
    assert (again.tree_size, again.votes_size, again.released_at) == (
        release.tree_size,
        release.votes_size,
        release.released_at,
    )
    assert again.entry is not None
    assert again.entry.body["replaces"] == str(first_entry)
    for path in releases.folder_of(again).iterdir():
        assert b"blue heron" not in path.read_bytes(), path.name
    for schema in SCHEMAS:
        changed = [
            n
            for n, (old, new) in enumerate(zip(before[schema.name], lines(again, schema.name), strict=True))
            if old != new
        ]
        assert changed == [0]
    row = lines(again, "sciarena")[0]
    assert row["question"] == f"sha256:{row['prompt_sha256'][0]}"
    assert (row["responseA"], row["prompt_salt"], row["answer_salt"]) == (
        f"sha256:{row['answer_sha256_a']}",
        [None],
        None,
    )
    sequence_entries()
    verified(again, tmp_path)


def test_text_erased_while_the_files_are_made_is_not_released(
    season: Season, voted: list[Battle], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = releases.request_release(season=season)
    publish = release_jobs.publish

    def erase_first(row: ArenaExport, files: list[dict[str, Any]]) -> bool:
        if hasattr(voted[0].turns.get(), "text"):
            reveal.erase_texts(voted[0])
        return publish(row, files)

    monkeypatch.setattr(release_jobs, "publish", erase_first)
    release_jobs.run_release(release.pk)
    done = releases.get_release(release.pk)
    assert done.is_open
    assert all(b"blue heron" not in path.read_bytes() for path in releases.folder_of(done).iterdir())
    assert Entry.objects.filter(kind="release").count() == 1


def test_killed_worker_is_followed_by_one_that_goes_on_and_makes_the_same_bytes(
    simulated: Season, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = releases.request_release(season=simulated)
    made: list[str] = []
    table = release_jobs._Maker._table

    def die_at_the_third(self: Any, name: str, *rest: Any) -> None:
        made.append(name)
        if len(made) == 3:
            raise KeyboardInterrupt
        table(self, name, *rest)

    monkeypatch.setattr(release_jobs._Maker, "_table", die_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        release_jobs.run_release(whole.pk)
    assert not releases.get_release(whole.pk).is_open
    assert release_jobs.requeue_unfinished(older_than_s=0) == 1
    release_jobs.run_release(whole.pk)
    names = ["arena-human-preference-140k", "sciarena", "multipref", "comparia-votes", "judge-set", "contestants"]
    assert made == [*names[:3], *names[2:]]
    done = releases.get_release(whole.pk)
    assert done.is_open
    for name in ("arena-human-preference-140k.parquet", "multipref.jsonl"):
        path = releases.folder_of(done) / name
        content = path.read_bytes()
        maker = release_jobs._Maker(done)
        schema = next(s for s in TABLES if path.name.startswith(s.name))
        table(maker_without_pulse(maker), schema.name, schema.all_columns, maker._rows(schema, maker.extent.told()))
        assert path.read_bytes() == content


def maker_without_pulse(maker: Any) -> Any:
    """A finished release has no sign of life to show."""
    maker._pulse = lambda **_: None
    return maker


def test_only_one_is_made_at_a_time_and_the_next_follows(
    simulated: Season, season: Season, voted: list[Battle]
) -> None:
    first, second = releases.request_release(season=simulated), releases.request_release(season=season)
    assert releases.request_release(season=season).pk == second.pk
    ArenaExport.objects.filter(pk=first.pk).update(
        status=JobStatus.RUNNING, started_at=timezone.now(), heartbeat_at=timezone.now()
    )
    release_jobs.run_release(second.pk)
    assert releases.get_release(second.pk).status == JobStatus.PENDING
    ArenaExport.objects.filter(pk=first.pk).update(status=JobStatus.PENDING)
    release_jobs.run_release(first.pk)
    assert releases.get_release(first.pk).is_open
    assert releases.get_release(second.pk).is_open
    release_jobs.run_release(first.pk)
    assert Entry.objects.filter(kind="release").count() == 2


def test_release_that_keeps_ending_its_worker_fails_and_says_so(simulated: Season) -> None:
    release = releases.request_release(season=simulated)
    ArenaExport.objects.filter(pk=release.pk).update(n_starts=release_jobs.MAX_STARTS)
    release_jobs.run_release(release.pk)
    failed = releases.get_release(release.pk)
    assert failed.status == JobStatus.FAILED
    assert "ended the worker 3 times" in failed.error
    assert releases.request_release(season=simulated).pk != release.pk


@pytest.mark.parametrize("change", [{"tree_size": 1}, {"votes_size": 1}, {"n_votes": 7}, {"released_at": None}])
def test_database_refuses_to_change_or_delete_what_was_released(
    season: Season, voted: list[Battle], change: dict[str, Any]
) -> None:
    release = released(season)
    with pytest.raises(DatabaseError, match="never changes"), transaction.atomic():
        ArenaExport.objects.filter(pk=release.pk).update(**change)
    with pytest.raises(DatabaseError, match="stays"), transaction.atomic():
        release.delete()


def test_described_vote_is_told_in_the_words_of_multipref(season: Season, voted: list[Battle]) -> None:
    said = {"strength": 2, "confidence": 5, "aspects": {"truthful": "b"}, "tags": ["clear"], "comment": "My own words"}
    votes.describe_vote(battle_id=voted[0].pk, voter=voted[0].voter, **said)  # type: ignore[arg-type]
    release = released(season)
    annotation = lines(release, "multipref")[0]["normal_worker_annotations"][0]
    assert (annotation["overall_pref"], annotation["overall_confidence"]) == (
        "A-is-slightly-better",
        "absolutely-confident",
    )
    assert (annotation["truthful_pref"], annotation["helpful_pref"]) == ("B-is-clearly-better", None)
    assert annotation["checked_reasons"] == ["clear"]
    assert all(b"My own words" not in path.read_bytes() for path in releases.folder_of(release).iterdir())


def _damage_verdict(row: dict[str, Any]) -> None:
    row["verdict"] = "a" if row["verdict"] != "a" else "b"


def _damage_text(row: dict[str, Any]) -> None:
    row["conversation_a"][0]["content"][0]["text"] += "!"


def _damage_status(row: dict[str, Any]) -> None:
    row["status"] = "excluded:random"


@pytest.mark.parametrize(
    ("damage", "word"), [(_damage_verdict, "verdict"), (_damage_text, "open its hash"), (_damage_status, "status")]
)
def test_verifier_names_the_row_when_the_host_signs_a_file_that_is_not_the_log(
    season: Season, voted: list[Battle], tmp_path: Path, damage: Any, word: str
) -> None:
    release = released(season)
    replay = verified(release, tmp_path)
    path = releases.folder_of(release) / "arena-human-preference-140k.jsonl"
    rows = lines(release, "arena-human-preference-140k")
    damage(rows[4])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(verify.Wrong, match="not in the log with this content"):
        verify.check_release(path.parent, replay)
    body = replay.seasons["main"].releases[str(release.entry_id)]
    body["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(verify.Wrong, match=rf"row 5: .*{word}"):
        verify.check_release(path.parent, replay)


def test_command_releases_to_everyone_and_copies(simulated: Season, tmp_path: Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    call_command("export_arena", str(tmp_path / "one"), season="simulated", stdout=out, stderr=err)
    release = ArenaExport.objects.get(pk=out.getvalue().strip())
    assert release.is_open
    assert "40 votes" in err.getvalue()
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == set(release.entry.body["files"])  # type: ignore[union-attr]
    with pytest.raises(CommandError, match="holds something already"):
        call_command("export_arena", str(tmp_path / "one"), season="simulated", stdout=out, stderr=err)
    again = io.StringIO()
    call_command("export_arena", str(tmp_path / "two"), season="simulated", stdout=again, stderr=err)
    assert again.getvalue() == out.getvalue()


def _age(release: ArenaExport, **span: int) -> None:
    """Make a release older than it is; the guard on released rows is about what they cover."""
    ArenaExport.objects.filter(pk=release.pk).update(created_at=timezone.now() - timedelta(**span))


def test_release_is_due_once_a_week_when_there_are_new_votes(season: Season, voted: list[Battle], voter: Voter) -> None:
    first = releases.release_when_due(season)
    assert first is not None
    release_jobs.run_release(first.pk)
    battled(season, voter)
    assert releases.release_when_due(season) is None
    _age(first, days=8)
    second = releases.release_when_due(season)
    assert second is not None
    assert second.tree_size > first.tree_size
    release_jobs.run_release(second.pk)
    _age(second, days=8)
    assert releases.release_when_due(season) is None, "nothing is new"


def test_nothing_is_due_without_votes(season: Season, trio: list[Contestant]) -> None:
    assert releases.release_when_due(season) is None
    assert not ArenaExport.objects.exists()


def test_failed_release_is_tried_again_after_an_hour_only(season: Season, voted: list[Battle]) -> None:
    failed = releases.release_when_due(season)
    assert failed is not None
    ArenaExport.objects.filter(pk=failed.pk).update(status=JobStatus.FAILED, finished_at=timezone.now())
    assert releases.release_when_due(season) is None
    _age(failed, hours=2)
    again = releases.release_when_due(season)
    assert again is not None
    release_jobs.run_release(again.pk)
    ago = timezone.now() - timedelta(hours=2)
    ArenaExport.objects.filter(pk=again.pk).update(status=JobStatus.FAILED, finished_at=ago, files=[])
    releases.release_when_due(season)
    assert releases.get_release(again.pk).status == JobStatus.PENDING
    release_jobs.run_release(again.pk)
    assert releases.get_release(again.pk).is_open
