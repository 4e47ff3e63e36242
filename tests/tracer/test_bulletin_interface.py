"""Bulletins over REST and on pages: promises to clients, and uploads that mean no good."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tests.tracer.conftest import SENTENCE, MakeCorpus
from tracer import benchmark_files, bulletin_parts, bulletins
from tracer.models import Benchmark, Bulletin
from webapp.accounts.models import Scope
from webapp.accounts.services import create_token
from webapp.jobs import JobStatus
from webapp.roles import Role, grant_role

LONG = f"{SENTENCE} {SENTENCE.lower()}"
LINES = json.dumps({"id": "a", "question": LONG}) + "\n" + json.dumps({"id": "b", "question": "zq" * 40}) + "\n"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def ask(client: Client, **body: Any) -> Any:
    values = {"title": "Quiz", "field": "question", "lines": LINES, **body}
    return client.post("/api/v1/bulletins/", values, content_type="application/json")


def upload(client: Client, content: bytes, **values: str) -> Any:
    file = SimpleUploadedFile("quiz.jsonl", content)
    return client.post("/bulletins/", {"field": "question", "corpora": "fair", "file": file, **values})


@pytest.fixture
def corpus(make_corpus: MakeCorpus) -> None:
    make_corpus(texts=(LONG, "Nothing else."))


@pytest.fixture
def person(client: Client) -> User:
    user = User.objects.create_user("person")
    client.force_login(user)
    return user


@pytest.mark.usefixtures("corpus")
def test_is_queued_polled_listed_shared_and_deleted(client: Client, person: User) -> None:
    created = ask(client)
    assert created.status_code == 202
    address = created.headers["Location"]
    assert (created.json()["status"], created.json()["fraction"]) == ("pending", 0.0)
    bulletins.run_bulletin(created.json()["id"])
    shown = client.get(address).json()
    assert (shown["status"], shown["fraction"]) == ("done", 1.0)
    assert shown["parts"][0]["levels"] == {"clean": 1, "suspicious": 0, "dirty": 1, "short": 0}
    assert (shown["window_characters"], shown["suspicious_from_percent"], shown["dirty_from_percent"]) == (50, 20, 80)
    items = client.get(f"{address}items/?corpus=fair&page_size=1").json()
    assert (items["count"], [item["id"] for item in items["results"]]) == (2, ["a"])
    assert [item["id"] for item in client.get(items["next"]).json()["results"]] == ["b"]
    assert [entry["id"] for entry in client.get("/api/v1/bulletins/").json()["results"]] == [shown["id"]]
    outsider = Client()
    assert outsider.get("/api/v1/bulletins/").json()["results"] == []
    assert outsider.get(address).status_code == 200
    assert outsider.delete(address).status_code == 403
    assert outsider.post(f"{address}cancel/").status_code == 403
    client.patch(address, {"visibility": "private"}, content_type="application/json")
    for answer in (outsider.get(address), outsider.get(f"{address}items/?corpus=fair"), outsider.delete(address)):
        assert answer.status_code == 404
    assert outsider.get(f"/bulletins/{shown['id']}/").status_code == 404
    assert client.delete(address).status_code == 204
    assert not Benchmark.objects.exists()


@pytest.mark.usefixtures("corpus")
def test_one_request_repeated_with_its_key_makes_one_bulletin(client: Client) -> None:
    values = {"title": "Quiz", "field": "question", "lines": LINES}
    headers = {"Idempotency-Key": "once"}
    answers = [
        client.post("/api/v1/bulletins/", values, content_type="application/json", headers=headers) for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["Location"] == answers[0].headers["Location"]
    assert (Bulletin.objects.count(), Benchmark.objects.count()) == (1, 1)
    values["title"] = "Other"
    other = client.post("/api/v1/bulletins/", values, content_type="application/json", headers=headers)
    assert other.status_code == 409


@pytest.mark.usefixtures("corpus")
def test_a_running_bulletin_is_cancelled_by_its_maker_or_an_operator(client: Client, person: User) -> None:
    first, second = ask(client).json()["id"], ask(client).json()["id"]
    assert client.post(f"/api/v1/bulletins/{first}/cancel/").json()["status"] == "cancelled"
    assert client.post(f"/api/v1/bulletins/{first}/cancel/").status_code == 409
    bulletins.run_bulletin(first)
    assert Bulletin.objects.get(pk=first).status == JobStatus.CANCELLED
    operator = User.objects.create_user("operator-one")
    grant_role(user=operator, role=Role.OPERATOR)
    client.force_login(operator)
    assert client.post(f"/bulletins/{second}/cancel/").status_code == 302
    assert Bulletin.objects.get(pk=second).status == JobStatus.CANCELLED


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize("place", ["/bulletins", "/api/v1/bulletins"])
@pytest.mark.parametrize("end", [JobStatus.CANCELLED, JobStatus.FAILED])
def test_one_that_ended_goes_on_where_it_ended(
    client: Client, person: User, monkeypatch: pytest.MonkeyPatch, place: str, end: JobStatus
) -> None:
    monkeypatch.setattr(bulletin_parts, "SAVE_EVERY_S", 0.0)
    bulletin = Bulletin.objects.get(pk=ask(client).json()["id"])
    resume = f"{place}/{bulletin.pk}/resume/"
    assert client.post(resume).status_code == 409, "it waits"

    def cut() -> None:
        if not Bulletin.objects.filter(pk=bulletin.pk).exclude(status=JobStatus.RUNNING).exists():
            Bulletin.objects.filter(pk=bulletin.pk).update(
                status=end, error="It was cut.", started_at=None, finished_at=bulletin.created_at
            )

    bulletins.run_bulletin(bulletin.pk, watch=cut)
    assert [len(part.found) for part in bulletin.parts.all()] == [1]
    assert "Go on where it ended" in client.get(f"/bulletins/{bulletin.pk}/").content.decode()
    outsider = Client()
    assert "Go on where it ended" not in outsider.get(f"/bulletins/{bulletin.pk}/").content.decode()
    assert outsider.post(resume).status_code == 403
    sent: list[str] = []
    monkeypatch.setattr(bulletins, "enqueue_on_commit", lambda task, pk: sent.append(str(pk)))
    assert client.post(resume).status_code == (202 if "api" in place else 302)
    assert sent == [str(bulletin.pk)]
    assert client.post(resume).status_code == 409
    measured: list[str] = []
    measure = bulletin_parts.measure_item
    monkeypatch.setattr(
        bulletin_parts,
        "measure_item",
        lambda reader, text, hidden: measured.append(text) or measure(reader, text, hidden),
    )
    bulletins.run_bulletin(bulletin.pk)
    bulletin.refresh_from_db()
    assert (bulletin.status, bulletin.error, measured) == (JobStatus.DONE, "", ["zq" * 40])
    assert client.post(resume).status_code == 409, "it is done"


@pytest.mark.usefixtures("corpus")
def test_one_that_ended_waits_its_turn_when_too_many_wait(client: Client, person: User, settings: Any) -> None:
    settings.MAX_WAITING = 1
    identifier = ask(client).json()["id"]
    client.post(f"/api/v1/bulletins/{identifier}/cancel/")
    ask(client)
    assert client.post(f"/api/v1/bulletins/{identifier}/resume/").status_code == 503
    assert Bulletin.objects.get(pk=identifier).status == JobStatus.CANCELLED


@pytest.mark.usefixtures("corpus")
def test_a_token_needs_the_scope_of_tracing(client: Client) -> None:
    user = User.objects.create_user("reader")
    for scopes, status in (([Scope.READ.value], 403), ([Scope.TRACE.value], 202)):
        _, token = create_token(user=user, name=scopes[0], scopes=scopes, days=1)
        answer = client.post(
            "/api/v1/bulletins/",
            {"title": "Quiz", "field": "question", "lines": LINES},
            content_type="application/json",
            headers={"Authorization": f"Bearer {token}"},
        )
        assert answer.status_code == status


DEEP = b'{"question": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
REFUSED = [
    (b"", "no line"),
    (b" \n\r\n\t\n", "no line"),
    (b'{"question": "caf\xe9"}', "Line 1 is not UTF-8"),
    (b'{"question": "a"}\n{"question": ', "Line 2 is not valid JSON"),
    (b'["question"]', "Line 1 is no JSON object"),
    (b'"question"', "Line 1 is no JSON object"),
    (b'{"answer": "a"}', "Line 1 has no field"),
    (b'{"question": 3}', "is no text"),
    (b'{"question": ["a"]}', "is no text"),
    (b'{"question": null}', "is no text"),
    (b'{"question": "' + b"x" * 20_001 + b'"}', "20,001 characters"),
    (b'{"question": "a", "n": ' + b"9" * 5000 + b"}", "Line 1 is not valid JSON"),
    (b'{"question": "a"}\n' + b" " * 300_000 + b"{}", "Line 2 has 300,002 bytes"),
    (DEEP, "Line 1 is nested too deep"),
    (b"\x00" * 100, "Line 1 is not valid JSON"),
    (b"\xff\xfe{\x00}\x00", "Line 1 is not UTF-8"),
    (b"\x1f\x8b\x08\x00gzip", "not UTF-8"),
    (b'{"question": "a"}\n' * 20_001, "More than 20,000 items"),
    (b" " * (10 * 2**20 + 1), "bytes; at most"),
]


@pytest.mark.parametrize(("content", "reason"), REFUSED, ids=[str(n) for n in range(len(REFUSED))])
@pytest.mark.usefixtures("corpus")
def test_an_upload_that_cannot_be_used_is_refused_by_line(client: Client, content: bytes, reason: str) -> None:
    answer = upload(client, content)
    assert answer.status_code == 422
    assert reason in answer.content.decode().replace("&#x27;", "'")
    assert not Benchmark.objects.exists()
    try:
        lines = content.decode()
    except UnicodeDecodeError:
        return
    problem = ask(client, lines=lines)
    assert problem.status_code in (400, 413)
    assert problem.headers["Content-Type"] == "application/problem+json"
    assert not Benchmark.objects.exists()


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize("address", ["/api/v1/bulletins/", "/api/v1/traces/", "/compat/infini-gram/"])
def test_a_body_too_large_or_too_deep_is_a_problem_and_no_fault(client: Client, address: str) -> None:
    deep = b'{"title": "a", "corpora": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    answer = client.post(address, deep, content_type="application/json")
    assert answer.status_code == 400
    large = json.dumps({"lines": LINES * 20_000, "text": "x"}).encode()
    answer = client.post(address, large, content_type="application/json")
    assert answer.status_code in (400, 413)
    if address.startswith("/api/"):
        assert answer.json()["code"] == "too-large"


@pytest.mark.usefixtures("corpus")
def test_a_large_benchmark_is_sent_as_a_file_and_its_content_counts_for_the_key(client: Client) -> None:
    lines = (json.dumps({"question": "x" * 300}) + "\n").encode() * 10_000
    assert len(lines) > 3_000_000

    def send(content: bytes) -> Any:
        values = {"title": "Quiz", "field": "question", "file": SimpleUploadedFile("quiz.jsonl", content)}
        return client.post("/api/v1/bulletins/", values, headers={"Idempotency-Key": "large"})

    first = send(lines)
    assert (first.status_code, first.json()["benchmark"]["n_items"]) == (202, 10_000)
    assert [part["corpus"] for part in first.json()["parts"]] == ["fair"]
    assert send(lines).json()["id"] == first.json()["id"]
    assert send(lines + lines[:320]).status_code == 409
    assert Bulletin.objects.count() == 1


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"benchmark": "quiz"}, "lines"),
        ({"corpora": []}, "corpora"),
        ({"corpora": ["none"]}, "corpora"),
        ({"title": " "}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"field": ""}, "field"),
        ({"field": "x" * 101}, "field"),
        ({"visibility": "private"}, "visibility"),
    ],
)
def test_a_bad_value_names_its_field(client: Client, body: dict[str, Any], field: str) -> None:
    answer = ask(client, **body)
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [field]
    assert not Benchmark.objects.exists()


@pytest.mark.usefixtures("corpus")
def test_hostile_names_and_texts_stay_text(client: Client, person: User) -> None:
    text = f"{HOSTILE} \u202e\u2066 {LONG} \ud83d 👩‍👩‍👧 \0 \u2028 end"
    item = {"id": HOSTILE, "ques\u2028tion": text, "n": {"a": {"b": text}}}
    content = b"\xef\xbb\xbf" + json.dumps(item).replace("\n", "").encode() + b"\r\n"
    for field in ("ques\u2028tion", "n.a.b"):
        assert upload(client, content, field=field, title=HOSTILE).status_code == 302
    for bulletin in Bulletin.objects.all():
        bulletins.run_bulletin(bulletin.pk)
        stored = bulletin.benchmark.items.get()
        assert len(stored.text) == len(text)
        assert stored.text == text.replace("\ud83d", "\ufffd").replace("\0", "\ufffd")
        page = client.get(bulletin.get_absolute_url())
        assert page.status_code == 200
        assert "<script>alert" not in page.content.decode()
        assert "<img src=x" not in page.content.decode()
        api = client.get(f"/api/v1/bulletins/{bulletin.pk}/").json()
        [example] = api["parts"][0]["examples"]
        assert example["text"][example["start"] : example["end"]].strip() == LONG
    assert "<script>alert" not in client.get("/bulletins/").content.decode()


@pytest.mark.usefixtures("corpus")
def test_page_tells_each_state(client: Client) -> None:
    page = upload(client, LINES.encode(), title="")
    bulletin = Bulletin.objects.get()
    assert page.headers["Location"] == bulletin.get_absolute_url()

    def read() -> str:
        return client.get(bulletin.get_absolute_url()).content.decode()

    shown = read()
    for words in ("Waiting to be measured", 'hx-trigger="load delay:2s"', "quiz.jsonl", "Stop here", "Delete for good"):
        assert words in shown
    assert "Stop here" not in Client().get(bulletin.get_absolute_url()).content.decode()
    Bulletin.objects.update(status=JobStatus.RUNNING)
    assert "Measuring." in read()
    Bulletin.objects.update(status=JobStatus.PENDING)
    bulletins.run_bulletin(bulletin.pk)
    shown = read()
    for words in (
        "below 20 %",
        "from 80 %",
        "50-character windows",
        "50.0 %",
        "Title 0",
        "CC0-1.0",
        "Examples in",
        "<svg",
    ):
        assert words in shown, words
    assert "hx-trigger" not in shown
    assert "No item has this level" in client.get(f"{bulletin.get_absolute_url()}?level=short").content.decode()
    Bulletin.objects.update(status=JobStatus.FAILED, error="The reason.")
    assert "The reason." in read()
    Bulletin.objects.update(status=JobStatus.CANCELLED)
    assert "stopped before its end" in read()
    assert client.post(f"/bulletins/{bulletin.pk}/share/", {"visibility": "public"}).status_code == 302
    assert "quiz.jsonl" in Client().get("/bulletins/").content.decode()
    assert client.post(f"/bulletins/{bulletin.pk}/delete/").status_code == 302
    assert not Bulletin.objects.exists()


@pytest.mark.usefixtures("corpus")
def test_a_benchmark_of_the_site_is_named_on_page_and_interface(client: Client) -> None:
    content = LINES.encode()
    bulletins.measure_benchmark(content=content, field="question", title="The quiz", slug="quiz")
    assert 'value="quiz"' in client.get("/bulletins/").content.decode()
    assert [entry["slug"] for entry in client.get("/api/v1/benchmarks/").json()["results"]] == ["quiz"]
    assert client.post("/bulletins/", {"benchmark": "quiz", "corpora": "fair"}).status_code == 302
    made = client.post("/api/v1/bulletins/", {"benchmark": "quiz"}, content_type="application/json")
    assert made.json()["benchmark"]["title"] == "The quiz"
    for name in ("none", "x\0y", "0" * 32):
        answer = client.post("/api/v1/bulletins/", {"benchmark": name}, content_type="application/json")
        assert answer.status_code in (400, 404)
    assert client.post("/bulletins/", {"corpora": "fair"}).status_code == 422


@pytest.mark.usefixtures("corpus")
def test_too_many_that_wait_are_turned_away(client: Client, settings: Any) -> None:
    settings.MAX_WAITING = 1
    assert ask(client).status_code == 202
    answer = ask(client)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
    assert Benchmark.objects.count() == 1
    assert upload(client, LINES.encode()).status_code == 503


def test_limits_hold_at_their_edges() -> None:
    line = json.dumps({"question": "x"}).encode()
    most = line.ljust(benchmark_files.MAX_LINE_BYTES)
    assert len(benchmark_files.read_items(most + b"\n" + line, "question")) == 2
    full = benchmark_files.read_items((line + b"\n") * benchmark_files.MAX_ITEMS, "question")
    assert (len(full), full[-1].key) == (20_000, "20000")
    longest = json.dumps({"question": "é" * benchmark_files.MAX_ITEM_CHARACTERS}).encode()
    assert len(benchmark_files.read_items(longest, "question")[0].text) == benchmark_files.MAX_ITEM_CHARACTERS
