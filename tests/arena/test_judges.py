"""Judges: who may give verdicts, that they stand, and that nothing is shown before people's verdicts are told."""

from __future__ import annotations

import io
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from arena.models import ArenaExport, Battle, Contestant, Judge, JudgeVerdict, Season, Voter
from arena.personal import export_personal
from arena.services import judge_files, judges, release_jobs, releases, seasons
from arena.services.exclusions import exclude_battle
from tests.arena.conftest import battled, eligible_voter
from webapp.transparency.services import sequence_entries

pytestmark = pytest.mark.django_db
JUDGES = reverse("api-arena-judges")
VERDICTS = reverse("api-arena-judge-verdicts", args=["fair"])


@pytest.fixture(autouse=True)
def _own_data_folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "data"


@pytest.fixture
def owner(client: Client) -> User:
    user = User.objects.create_user("owner")
    client.force_login(user)
    return user


@pytest.fixture
def judge(owner: User) -> Judge:
    return judges.add_judge(user=owner, slug="fair", title="A fair judge")


@pytest.fixture
def voted(season: Season, trio: list[Contestant], voter: Voter) -> list[Battle]:
    voters = [voter, eligible_voter()]
    made = [battled(season, voters[n % 2], "ab"[n % 2]) for n in range(10)]
    sequence_entries()
    return made


def released(season: Season) -> ArenaExport:
    made = releases.request_release(season=season)
    release_jobs.run_release(made.pk)
    sequence_entries()
    return releases.get_release(made.pk)


@pytest.fixture
def release(season: Season, voted: list[Battle]) -> ArenaExport:
    made = released(season)
    assert (made.n_votes, made.n_withheld) == (9, 1)
    return made


def give(client: Client, release: ArenaExport, *given: tuple[Battle, str, bool], **headers: str) -> Any:
    rows = [{"battle": str(b.pk), "verdict": v, "is_swapped": s} for b, v, s in given]
    body = {"release": str(release.pk), "verdicts": rows}
    return client.post(VERDICTS, body, content_type="application/json", headers=headers)


def test_judge_is_registered_once_in_its_owners_name(client: Client, owner: User) -> None:
    body = {"slug": "fair", "title": "A fair judge", "description": "Model X, prompt 2"}
    headers = {"Idempotency-Key": "one"}
    answers = [client.post(JUDGES, body, content_type="application/json", headers=headers) for _ in range(2)]
    assert [a.status_code for a in answers] == [201, 201]
    assert answers[0]["Location"] == reverse("api-arena-judge", args=["fair"])
    assert Judge.objects.get().owner == owner
    again = client.post(JUDGES, body, content_type="application/json")
    assert (again.status_code, again.json()["code"]) == (409, "taken")
    assert [row["id"] for row in export_personal(owner) if row["kind"] == "judge"] == ["fair"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"slug": "Not a slug"}, "slug"),
        ({"slug": "-x"}, "slug"),
        ({"title": " "}, "title"),
        ({"title": "x" * 201}, "title"),
    ],
)
def test_faulty_judge_is_refused_with_its_field(
    client: Client, owner: User, changes: dict[str, str], field: str
) -> None:
    answer = client.post(JUDGES, {"slug": "fair", "title": "Fair", **changes}, content_type="application/json")
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert field in answer.json()["errors"]


def test_nobody_registers_without_signing_in_or_without_end(client: Client, owner: User) -> None:
    for number in range(judges.MAX_JUDGES):
        judges.add_judge(user=owner, slug=f"judge-{number}", title="One of many")
    one_more = client.post(JUDGES, {"slug": "fair", "title": "Fair"}, content_type="application/json")
    assert (one_more.status_code, one_more.json()["code"]) == (409, "too-many")
    client.logout()
    assert client.post(JUDGES, {"slug": "fair", "title": "Fair"}, content_type="application/json").status_code == 403


def test_verdicts_on_the_withheld_count_once_the_next_release_tells_them(
    client: Client, judge: Judge, season: Season, voted: list[Battle], release: ArenaExport, voter: Voter
) -> None:
    newest = voted[-1]
    answer = give(client, release, (newest, "b", False), (newest, "b", True))
    assert answer.status_code == 200
    assert answer.json() == {"n_new": 2, "n_known": 0, "n_held_out": 2}
    before = client.get(reverse("api-arena-judge", args=["fair"])).json()
    assert (before["n_judged"], before["n_waiting"], before["held_out"]["n_battles"]) == (1, 1, 0)
    assert client.get(VERDICTS).json()["results"] == []
    assert "none yet" in client.get(judge.get_absolute_url()).content.decode()
    battled(season, voter, "tie")
    sequence_entries()
    released(season)
    after = client.get(reverse("api-arena-judge", args=["fair"])).json()
    assert (after["n_waiting"], after["held_out"]["n_battles"], after["afterwards"]["n_battles"]) == (0, 1, 0)
    assert after["held_out"]["accuracy"]["value"] == 1.0
    assert after["held_out"]["consistency"]["value"] == 1.0
    assert [row["battle"] for row in client.get(VERDICTS).json()["results"]] == [str(newest.pk)] * 2
    assert client.get(JUDGES).json() == [after]
    page = client.get(reverse("arena:judges")).content.decode()
    assert "A fair judge" in page
    assert "1.00" in page


def test_verdicts_on_what_was_told_are_shown_apart(
    client: Client, judge: Judge, voted: list[Battle], release: ArenaExport
) -> None:
    given = [(battle, "a", False) for battle in voted[:4]]
    assert give(client, release, *given).json() == {"n_new": 4, "n_known": 0, "n_held_out": 0}
    report = client.get(reverse("api-arena-judge", args=["fair"])).json()
    assert report["held_out"]["n_battles"] == 0
    assert report["afterwards"]["accuracy"] == {"value": 0.5, "lower": 0.0, "upper": 1.0, "n": 4}
    assert "may come from knowing the answer" in client.get(judge.get_absolute_url()).content.decode()


def test_votes_set_aside_are_left_out(
    client: Client, judge: Judge, season: Season, voted: list[Battle], voter: Voter
) -> None:
    exclude_battle(battle=voted[0], rule="identity-leak", numbers={})
    battled(season, voter, "a")
    sequence_entries()
    made = released(season)
    give(client, made, (voted[0], "a", False), (voted[1], "b", False))
    report = judges.report_judge(judge, season)
    assert (report.n_judged, report.afterwards.n_battles) == (2, 1)


def test_verdict_stands_and_all_or_nothing_is_taken(
    client: Client, judge: Judge, voted: list[Battle], release: ArenaExport
) -> None:
    give(client, release, (voted[0], "a", False))
    assert give(client, release, (voted[0], "a", False), (voted[0], "b", True)).json()["n_known"] == 1
    other = give(client, release, (voted[1], "a", False), (voted[0], "tie", False))
    assert (other.status_code, other.json()["code"]) == (409, "verdict-stands")
    assert "verdicts[1]" in other.json()["detail"]
    assert JudgeVerdict.objects.count() == 2
    with pytest.raises(DatabaseError, match="written once"), transaction.atomic():
        JudgeVerdict.objects.update(verdict="tie")
    with pytest.raises(DatabaseError, match="written once"), transaction.atomic():
        JudgeVerdict.objects.all().delete()


def test_same_key_gives_the_same_receipt(
    client: Client, judge: Judge, voted: list[Battle], release: ArenaExport
) -> None:
    answers = [give(client, release, (voted[0], "a", False), **{"Idempotency-Key": "k"}).json() for _ in range(2)]
    assert answers == [{"n_new": 1, "n_known": 0, "n_held_out": 0}] * 2


def test_only_the_owner_gives_verdicts(client: Client, judge: Judge, voted: list[Battle], release: ArenaExport) -> None:
    client.force_login(User.objects.create_superuser("operator"))
    assert give(client, release, (voted[0], "a", False)).status_code == 403
    client.logout()
    refused = give(client, release, (voted[0], "a", False))
    assert refused.status_code == 403
    assert refused["Content-Type"] == "application/problem+json"


def test_faulty_verdicts_are_refused_with_their_place(
    client: Client, judge: Judge, season: Season, voted: list[Battle], release: ArenaExport, voter: Voter
) -> None:
    later = battled(season, voter, "a")
    unknown = give(client, release, (voted[0], "a", False), (later, "a", False))
    assert unknown.status_code == 400
    assert "verdicts[1]: the release has no battle" in unknown.json()["detail"]
    twice = give(client, release, (voted[0], "a", False), (voted[0], "b", False))
    assert "stands twice in the same order" in twice.json()["detail"]
    assert give(client, release, (voted[0], "left", False)).status_code == 400
    assert give(client, release).status_code == 400
    too_many = give(client, release, *[(voted[0], "a", False)] * (judges.MAX_VERDICTS + 1))
    assert (too_many.status_code, "send 1 to 1000" in too_many.json()["detail"]) == (400, True)
    assert not JudgeVerdict.objects.exists()


def test_release_in_the_making_and_simulated_ones_take_no_verdicts(
    client: Client, judge: Judge, season: Season, voted: list[Battle]
) -> None:
    making = releases.request_release(season=season)
    assert give(client, making, (voted[0], "a", False)).status_code == 404
    release_jobs.run_release(making.pk)
    simulated = seasons.open_season(slug="simulated", title="Simulation", is_simulated=True)
    other = released(simulated)
    answer = give(client, other, (voted[0], "a", False))
    assert (answer.status_code, "Simulated votes" in answer.json()["detail"]) == (400, True)


def test_unknown_judge_is_404_on_page_and_interface(client: Client, season: Season) -> None:
    assert client.get(reverse("arena:judge", args=["none"])).status_code == 404
    assert client.get(reverse("api-arena-judge", args=["none"])).status_code == 404
    assert "No judge has given a verdict" in client.get(reverse("arena:judges")).content.decode()


def lines(battles: list[Battle], path: Path, verdict: str = "a") -> Path:
    rows = [{"battle": str(b.pk), "verdict": verdict, "is_swapped": s} for b in battles for s in (False, True)]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return path


def submit(file: Path, *arguments: str) -> str:
    out = io.StringIO()
    call_command("submit_verdicts", str(file), "--judge", "fair", *arguments, stdout=out)
    return out.getvalue()


def test_verdicts_come_from_a_file_in_the_owners_name(
    client: Client, season: Season, owner: User, release: ArenaExport, voted: list[Battle], tmp_path: Path
) -> None:
    file = lines(voted, tmp_path / "verdicts.jsonl")
    with pytest.raises(CommandError, match="no judge 'fair'"):
        submit(file)
    assert submit(file, "--owner", "owner", "--title", "A fair judge") == "20 new, 0 known, 2 held-out\n"
    assert submit(file, "--release", str(release.pk)) == "0 new, 20 known, 0 held-out\n"
    assert Judge.objects.get().owner == owner
    page = client.get("/arena/judges/fair/").content.decode()
    assert page.count("<svg") == 0, "nothing held-out is told yet"
    battled(season, eligible_voter())
    for _ in range(9):
        battled(season, eligible_voter())
    sequence_entries()
    released(season)
    for path in ("/arena/judges/fair/", "/arena/judges/"):
        page = client.get(path).content.decode()
        assert "Accuracy, in per cent" in page
        assert page.count('class="dot"') == page.count("<svg") >= 1


def test_a_file_is_taken_whole_or_not(
    judge: Judge, release: ArenaExport, voted: list[Battle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_files, "MAX_VERDICTS", 3)
    file = lines(voted, tmp_path / "verdicts.jsonl")
    file.write_text(file.read_text() + json.dumps({"battle": str(uuid.uuid4()), "verdict": "a"}))
    with pytest.raises(CommandError, match=r"verdicts\[20\]: the release has no battle"):
        submit(file)
    assert not JudgeVerdict.objects.exists()


def test_a_file_with_a_battle_twice_in_one_order_is_refused_however_far_apart(
    judge: Judge, release: ArenaExport, voted: list[Battle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_files, "MAX_VERDICTS", 3)
    file = lines(voted, tmp_path / "verdicts.jsonl")
    file.write_text(file.read_text() + file.read_text().splitlines()[0])
    with pytest.raises(CommandError, match=r"verdicts\[20\]: battle .* stands twice in the same order"):
        submit(file)
    assert not JudgeVerdict.objects.exists()


def test_verdict_that_arrives_while_a_judge_is_reported_on_waits_for_the_next_look(
    client: Client, judge: Judge, voted: list[Battle], release: ArenaExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(client, release, (voted[0], "a", False), (voted[1], "a", False))
    all_told = judges.told_verdicts

    def told_before_the_second(of: Judge, season: Season) -> Any:
        return all_told(of, season).exclude(battle=voted[1])

    monkeypatch.setattr(judges, "told_verdicts", told_before_the_second)
    assert judges.report_judge(judge, release.season).afterwards.n_battles == 1


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "Line 1 is not JSON"),
        ("[]", "Line 1: a verdict is a map"),
        ('{"battle": "x", "verdict": "a"}', "Line 1: 'x' is no battle's id"),
        ('{"battle": "x"}', "Line 1: a verdict is a map"),
        ('{"battle": "x", "verdict": "a", "swapped": true}', "Line 1: a verdict is a map"),
        ('{"battle": "x", "verdict": "a", "is_swapped": 1}', "is_swapped true or false"),
        ("", "no verdict"),
    ],
)
def test_faulty_line_is_named(judge: Judge, release: ArenaExport, tmp_path: Path, line: str, fault: str) -> None:
    file = tmp_path / "verdicts.jsonl"
    file.write_text(line)
    with pytest.raises(CommandError, match=fault):
        submit(file)


def test_list_of_judges_asks_no_more_for_more_judges(
    judge: Judge, owner: User, voted: list[Battle], season: Season, release: ArenaExport
) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as asked:
            judges.report_judges(season)
        return len(asked)

    def give_verdict(slug: str) -> None:
        by = judges.get_judge(slug)
        JudgeVerdict.objects.create(judge=by, battle=voted[0], verdict="a", is_swapped=False, is_held_out=False)

    give_verdict("fair")
    assert [report.judge.slug for report in judges.report_judges(season)] == ["fair"]
    n_for_one = statements()
    for number in range(4):
        judges.add_judge(user=owner, slug=f"other-{number}", title="Another")
        give_verdict(f"other-{number}")
    reports = judges.report_judges(season)
    assert statements() == n_for_one
    assert reports == sorted(
        (judges.report_judge(one, season) for one in Judge.objects.all()),
        key=lambda report: (-(report.held_out.accuracy.value or 0.0), report.judge.slug),
    )
