"""Pages and resources of releases: open to everyone alike, begun by operators."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient, Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from arena.models import ArenaExport, Contestant, Season, Voter
from arena.services import release_jobs, releases
from tests.arena.conftest import battled
from webapp.roles import Role, grant_role
from webapp.transparency.services import sequence_entries

pytestmark = pytest.mark.django_db
LIST, RESOURCES = reverse("arena:releases"), reverse("api-arena-releases")


@pytest.fixture(autouse=True)
def _own_data_folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "data"


@pytest.fixture
def operator(client: Client) -> Client:
    user = User.objects.create_user("operator")
    grant_role(user=user, role=Role.OPERATOR)
    client.force_login(user)
    return client


@pytest.fixture
def voted(season: Season, trio: list[Contestant], voter: Voter) -> None:
    for verdict in ("a", "b", "tie"):
        battled(season, voter, verdict)
    sequence_entries()


@pytest.fixture
def release(voted: None, season: Season) -> ArenaExport:
    made = releases.request_release(season=season)
    release_jobs.run_release(made.pk)
    return releases.get_release(made.pk)


def test_page_says_that_nothing_is_released_yet(client: Client, season: Season) -> None:
    page = client.get(LIST)
    assert page.status_code == 200
    assert "Nothing has been released in this season yet." in page.content.decode()
    assert "Release now" not in page.content.decode()


def test_operator_begins_a_release_that_nobody_has_before_it_is_done(operator: Client, voted: None) -> None:
    assert "Release now" in operator.get(LIST).content.decode()
    answer = operator.post(LIST, {"season": "main"}, follow=True)
    made = ArenaExport.objects.get()
    assert answer.redirect_chain == [(made.get_absolute_url(), 302)]
    assert "Nobody can have one until all are." in answer.content.decode()
    assert "A release is being made" in operator.get(LIST).content.decode()
    refused = operator.get(reverse("api-arena-release-file", args=[made.pk, "multipref.jsonl"]))
    assert (refused.status_code, refused.json()["code"]) == (409, "in-the-making")
    assert operator.get(RESOURCES).json()["results"] == []
    assert operator.get(reverse("api-arena-release", args=[made.pk])).json()["files"] == []


@pytest.mark.parametrize("is_signed_in", [False, True])
def test_others_may_not_begin_one(client: Client, voted: None, is_signed_in: bool) -> None:
    if is_signed_in:
        client.force_login(User.objects.create_user("somebody"))
    assert client.post(LIST, {"season": "main"}).status_code == 403
    answer = client.post(RESOURCES, {}, content_type="application/json")
    assert answer.status_code in (401, 403)
    assert answer["Content-Type"] == "application/problem+json"
    assert not ArenaExport.objects.exists()


def test_same_key_begins_one_release_and_nothing_new_is_a_conflict(operator: Client, voted: None) -> None:
    key = {"Idempotency-Key": "one"}
    posts = [
        operator.post(RESOURCES, {"season": "main"}, content_type="application/json", headers=key) for _ in range(2)
    ]
    assert [p.status_code for p in posts] == [202, 202]
    assert posts[0].json()["id"] == posts[1].json()["id"]
    assert posts[0]["Location"] == reverse("api-arena-release", args=[posts[0].json()["id"]])
    release_jobs.run_release(posts[0].json()["id"])
    sequence_entries()
    again = operator.post(RESOURCES, {"season": "main"}, content_type="application/json")
    assert (again.status_code, again.json()["code"]) == (409, "no-change")
    unknown = operator.post(RESOURCES, {"season": "none"}, content_type="application/json")
    assert unknown.status_code == 404


def test_anybody_reads_a_release_with_its_files(client: Client, release: ArenaExport) -> None:
    listed = client.get(RESOURCES, {"season": "main"}).json()["results"]
    one = client.get(reverse("api-arena-release", args=[release.pk])).json()
    assert listed == [one]
    assert (one["status"], one["n_votes"], one["digest"]) == ("done", 3, release.digest)
    page = client.get(release.get_absolute_url()).content.decode()
    for file in one["files"]:
        assert file["sha256"] in page
        assert reverse("arena:release-file", args=[release.pk, file["name"]]) in page
    assert release.get_absolute_url() in client.get(LIST).content.decode()


async def _download(address: str) -> tuple[dict[str, str], bytes]:
    answer = await AsyncClient().get(address)
    assert answer.status_code == 200
    content = b"".join([piece async for piece in answer.streaming_content])  # type: ignore[attr-defined]
    return dict(answer.headers), content


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("route", ["arena:release-file", "api-arena-release-file"])
def test_downloaded_file_has_its_digest(release: ArenaExport, route: str) -> None:
    from asgiref.sync import async_to_sync

    file = next(f for f in release.files if f["name"] == "arena-human-preference-140k.parquet")
    headers, content = async_to_sync(_download)(reverse(route, args=[release.pk, file["name"]]))
    assert hashlib.sha256(content).hexdigest() == file["sha256"]
    assert headers["Content-Length"] == str(file["n_bytes"])
    assert headers["Content-Disposition"] == f'attachment; filename="{file["name"]}"'


@pytest.mark.parametrize("name", ["none.jsonl", "..", "%2e%2e%2fkey", "manifest.json"])
def test_only_released_files_are_sent(client: Client, release: ArenaExport, name: str) -> None:
    (releases.folder_of(release) / "manifest.json").write_text(json.dumps({}), encoding="utf-8")
    answer = client.get(reverse("api-arena-releases") + f"{release.pk}/files/{name}")
    assert answer.status_code == 404


def test_pages_ask_the_database_the_same_however_many_releases_there_are(
    client: Client,
    release: ArenaExport,
    season: Season,
    voter: Voter,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    client.get(LIST)
    with django_assert_num_queries(4):
        client.get(LIST)
    for _ in range(2):
        battled(season, voter)
        release_jobs.run_release(releases.request_release(season=season).pk)
    with django_assert_num_queries(4):
        client.get(LIST)
