"""Operators start builds from page and interface; nobody else does, and nobody names a path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.tracer.conftest import MakeCorpus
from tracer import build_requests, builds
from tracer.models import Index, IndexBuild
from webapp.accounts.models import Scope
from webapp.accounts.services import create_token
from webapp.jobs import JobStatus
from webapp.roles import Role, grant_role

ADDRESS = "/api/v1/corpora/fair/builds/"


@pytest.fixture
def operator(client: Client, make_corpus: MakeCorpus) -> User:
    make_corpus(texts=tuple(f"Text number {n}." for n in range(20)))
    user = User.objects.create_user("boss")
    grant_role(user=user, role=Role.OPERATOR)
    client.force_login(user)
    return user


def ask(client: Client, **body: Any) -> Any:
    return client.post(ADDRESS, body, content_type="application/json")


def test_a_build_is_queued_followed_and_registered(client: Client, operator: User) -> None:
    answer = ask(client, is_bytes=True, folds_case=True, n_shards=2)
    assert answer.status_code == 202
    assert (answer.json()["status"], answer.json()["n_shards"]) == ("pending", 2)
    assert ask(client, is_bytes=True).status_code == 409, "one at a time"
    builds.run_build(IndexBuild.objects.get())
    done = client.get(answer.headers["Location"]).json()
    assert Index.objects.get(digest=done["index"]).unit == "bytes, case folded"


def test_a_repeated_request_makes_one_build(client: Client, operator: User) -> None:
    send = {"data": {"is_bytes": True}, "content_type": "application/json", "headers": {"Idempotency-Key": "b"}}
    assert client.post(ADDRESS, **send).json() == client.post(ADDRESS, **send).json()
    assert IndexBuild.objects.count() == 1


def test_page_starts_resumes_and_discards(client: Client, operator: User) -> None:
    page = client.get("/corpora/fair/").content.decode()
    for words in ("Build an index", "tokens by demonstration", "regardless of case"):
        assert words in page
    assert client.post("/corpora/fair/builds/", {"kind": "demonstration", "n_shards": "3"}).status_code == 302
    build = IndexBuild.objects.get()
    assert (build.n_shards, build.is_bytes) == (3, False)
    assert "Discard" in client.get("/corpora/fair/").content.decode()
    build.shards.update(status=JobStatus.FAILED)
    IndexBuild.objects.update(status=JobStatus.FAILED, error="The reason.")
    assert "Resume" in client.get("/corpora/fair/").content.decode()
    assert client.post(f"/builds/{build.pk}/resume/").status_code == 302
    assert builds.get_build(build.pk).status == JobStatus.PENDING
    assert client.post(f"/builds/{build.pk}/discard/").status_code == 302
    assert builds.get_build(build.pk).status == JobStatus.CANCELLED
    assert client.post(f"/builds/{build.pk}/resume/").status_code == 409
    assert client.post(f"/builds/{build.pk}/delete/").status_code == 404
    for form in (
        {"kind": "../x"},
        {"kind": ""},
        {"kind": "bytes", "n_shards": "x"},
        {"kind": "bytes", "n_shards": "9999"},
    ):
        assert client.post("/corpora/fair/builds/", form).status_code == 422


@pytest.mark.parametrize("role", [None, *[role for role in Role if role is not Role.OPERATOR]])
def test_nobody_else_builds(operator: User, role: Role | None) -> None:
    build = builds.start_build(slug="fair", tokenizer=None)
    client = Client()
    if role is not None:
        user = User.objects.create_user("other")
        grant_role(user=user, role=role)
        client.force_login(user)
    assert ask(client, is_bytes=True).status_code == 403
    for address in (f"/api/v1/builds/{build.pk}/resume/", f"/api/v1/builds/{build.pk}/discard/"):
        assert client.post(address).status_code == 403
    for address in ("/corpora/fair/builds/", f"/builds/{build.pk}/resume/", f"/builds/{build.pk}/discard/"):
        assert client.post(address, {"kind": "bytes"}).status_code == 403
    page = client.get("/corpora/fair/").content.decode()
    assert "Build an index" not in page
    assert "Discard" not in page
    assert builds.get_build(build.pk).status == JobStatus.PENDING


def test_an_operators_token_needs_the_scope_of_managing(operator: User) -> None:
    for scope, status in ((Scope.TRACE, 403), (Scope.MANAGE, 202)):
        _, token = create_token(user=operator, name=scope.value, scopes=[scope.value], days=1)
        headers = {"Authorization": f"Bearer {token}"}
        answer = Client().post(ADDRESS, {"is_bytes": True}, content_type="application/json", headers=headers)
        assert answer.status_code == status


def test_tokenizers_are_named_from_the_configured_folders_alone(
    client: Client, operator: User, tmp_path: Path, tokenizer_path: Path, settings: Any
) -> None:
    root, outside = tmp_path / "tokenizers", tmp_path / "outside.json"
    (root / "deep").mkdir(parents=True)
    outside.write_bytes(tokenizer_path.read_bytes())
    (root / "deep" / "tiny.json").write_bytes(tokenizer_path.read_bytes())
    (root / "broken.json").write_text("{}")
    (root / "link.json").symlink_to(outside)
    (root / "loop.json").symlink_to(root / "loop.json")
    settings.TOKENIZER_FOLDERS = [str(root), str(tmp_path / "missing")]
    assert list(build_requests.tokenizers()) == ["demonstration", "tokenizers/broken.json", "tokenizers/deep/tiny.json"]
    paths = [
        str(outside),
        "tokenizers/link.json",
        "tokenizers/../outside.json",
        "/etc/passwd",
        "..",
        "\0",
        "",
        "x" * 501,
    ]
    for name in (*paths, "tokenizers/loop.json"):
        answer = ask(client, tokenizer=name)
        assert (answer.status_code, list(answer.json()["errors"])) == (400, ["tokenizer"]), name
    assert "not a readable tokenizer" in ask(client, tokenizer="tokenizers/broken.json").json()["detail"]
    assert not IndexBuild.objects.exists()
    assert ask(client, tokenizer="tokenizers/deep/tiny.json").status_code == 202
    builds.run_build(IndexBuild.objects.get())


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"n_shards": 0}, "n_shards"),
        ({"n_shards": 1025}, "n_shards"),
        ({"n_shards": 21}, "shards"),
        ({"folds_case": True}, "folds_case"),
    ],
)
def test_a_bad_value_names_its_field(client: Client, operator: User, body: dict[str, Any], field: str) -> None:
    answer = ask(client, **body)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [field])
    assert client.post("/api/v1/corpora/none/builds/", {}, content_type="application/json").status_code == 404
