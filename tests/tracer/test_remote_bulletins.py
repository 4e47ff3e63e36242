"""Bulletins of corpora on other servers: another Fairground as a process of its own, and servers that misbehave."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.management import call_command
from django.test import Client

from tests.faults.embedded import EmbeddedSite
from tests.tracer.attribution_server import Answer, answering, send, serving
from tests.tracer.conftest import MakeCorpus
from tests.tracer.test_bulletins import brute_force, items, lines, texts
from tracer import bulletin_remotes, bulletins, compat_windows
from tracer.bulletin_report import present_bulletin
from tracer.models import Bulletin, BulletinPart, Corpus, RemoteIndex
from tracer.remote_client import RemoteIndexError
from tracer.remote_windows import UNIT_OF_SPANS, read_windows
from webapp.errors import ConflictError
from webapp.jobs import JobStatus
from webapp.ownership import Author

__all__ = ["items", "texts"]
OPERATOR = Author(is_operator=True)
UNIT = {"indexDigest": "d" * 64, "unit": "tokens"}


@pytest.fixture(autouse=True)
def allow_loopback(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.REMOTE_PRIVATE_HOSTS = ["127.0.0.1"]
    monkeypatch.setattr(bulletin_remotes, "PAUSES_S", (0.0,))


@pytest.fixture(scope="module")
def fairground(
    tmp_path_factory: pytest.TempPathFactory, tokenizer_path: Path, texts: tuple[str, ...]
) -> Iterator[EmbeddedSite]:
    """Serve another site whose owner shows one corpus in full, one by snippets and one by counts."""
    folder = tmp_path_factory.mktemp("fairground")
    site = EmbeddedSite(folder / "data")
    site.manage("migrate", "--verbosity", "0")
    for disclosure in ("full", "snippet", "counts"):
        file = folder / f"{disclosure}.jsonl"  # no two corpora may be of the same index
        documents = [{"id": f"doc-{n}", "text": text} for n, text in enumerate([*texts, f"Only here: {disclosure}."])]
        file.write_text("".join(json.dumps(document) + "\n" for document in documents))
        facts = ("--owner", "The Fair", "--licence", "CC0-1.0", "--title", "Fair", "--disclosure", disclosure)
        site.manage("add_corpus", disclosure, str(file), *facts)
        site.manage("build_index", disclosure, "--tokenizer", str(tokenizer_path))
    start(site)
    yield site
    site.stop()


@pytest.fixture
def running(fairground: EmbeddedSite) -> EmbeddedSite:
    """Serve it again where a test has ended it."""
    if fairground.process is None:
        start(fairground)
    return fairground


def start(site: EmbeddedSite) -> None:
    """Serve, and let it compile its search once, which takes longer than a request may."""
    site.start()
    asked = {"texts": ["The carousel turns and the music plays on and on and on."]}
    httpx.post(f"{site.address}/compat/infinigram-api/full/windows", json=asked, timeout=300).raise_for_status()
    spans = {"response": asked["texts"][0]}
    httpx.post(f"{site.address}/compat/infinigram-api/full/attribution", json=spans, timeout=300).raise_for_status()


def register(url: str, *, name: str = "full", slug: str = "away", disclosure: str = "snippet", **facts: Any) -> Corpus:
    corpus = Corpus.objects.create(
        slug=slug, title="Away", owner="Owner", licence="CC-BY-4.0", disclosure=disclosure, file="", n_documents=0
    )
    known = {"kind": "fairground", "url": url, "name": name, "timeout_s": 60.0, **facts}
    RemoteIndex.objects.create(corpus=corpus, **known)
    return corpus


def measure(
    items: list[dict[str, Any]], *corpora: str, watch: Callable[[], None] = lambda: None, **values: Any
) -> Bulletin:
    asked = {"content": lines(items), "field": "question", "title": "Quiz", "corpora": corpora or ("away",), **values}
    bulletin = bulletins.measure_benchmark(**asked)
    bulletins.run_bulletin(bulletin.pk, watch=watch)
    bulletin.refresh_from_db()
    return bulletin


def found_in(bulletin: Bulletin, corpus: str = "away") -> list[int]:
    found: list[int] = bulletin.parts.get(corpus=corpus).found
    return found


def expected(items: list[dict[str, Any]], texts: tuple[str, ...]) -> list[int]:
    return [brute_force(item["question"], texts)[0] for item in items]


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["full", "snippet"])
def test_another_fairground_counts_exactly_and_shows_passages(
    running: EmbeddedSite, items: list[dict[str, Any]], texts: tuple[str, ...], name: str
) -> None:
    register(running.address, name=name)
    bulletin = measure(items)
    assert (bulletin.status, bulletin.error) == (JobStatus.DONE, "")
    assert found_in(bulletin) == expected(items, texts)
    [part] = present_bulletin(bulletin)["parts"]
    assert (part["unit"], part["unavailable"], len(part["index"])) == ("tokens", "", 64)
    assert {example["level"] for example in part["examples"]} == {"dirty", "suspicious"}
    for example in part["examples"]:
        passage = example["text"][example["start"] : example["end"]]
        assert example["snippet"][example["snippet_start"] : example["snippet_end"]] == passage
        assert passage in texts[int(example["document"].removeprefix("away/remote-doc-"))]
        assert example["licence"] == "CC-BY-4.0"
        assert not example["is_readable"]


@pytest.mark.django_db
def test_spans_of_an_infinigram_api_give_a_lower_bound(
    running: EmbeddedSite, items: list[dict[str, Any]], texts: tuple[str, ...]
) -> None:
    register(f"{running.address}/compat/infinigram-api", kind="infinigram-api")
    bulletin = measure(items)
    [part] = present_bulletin(bulletin)["parts"]
    assert (part["unit"], part["unavailable"]) == (UNIT_OF_SPANS, "")
    exact, found = expected(items, texts), found_in(bulletin)
    assert all(n <= m for n, m in zip(found, exact, strict=True))
    assert found[0] == exact[0], "an item that was copied whole has no edge"
    assert part["levels"]["dirty"] > 0
    assert part["examples"]
    for example in part["examples"]:
        passage = example["text"][example["start"] : example["end"]]
        assert example["snippet"][example["snippet_start"] : example["snippet_end"]] == passage
        assert any(passage in text for text in texts)


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["fairground", "infinigram-api"])
def test_a_corpus_of_counts_there_is_named_and_tells_no_item(
    running: EmbeddedSite, make_corpus: MakeCorpus, items: list[dict[str, Any]], texts: tuple[str, ...], kind: str
) -> None:
    make_corpus(texts=texts)
    place = "" if kind == "fairground" else "/compat/infinigram-api"
    register(f"{running.address}{place}", name="counts", kind=kind)
    bulletin = measure(items, "fair", "away")
    assert bulletin.status == JobStatus.DONE
    away, fair = present_bulletin(bulletin)["parts"]
    assert "counts only" in away["unavailable"]
    assert found_in(bulletin) == away["examples"] == []
    assert found_in(bulletin, "fair") == expected(items, texts)
    assert fair["unavailable"] == ""


@pytest.mark.django_db
def test_a_remote_corpus_of_counts_here_tells_numbers_alone(
    running: EmbeddedSite, client: Client, items: list[dict[str, Any]]
) -> None:
    register(running.address, disclosure="counts")
    bulletin = measure(items)
    [part] = client.get(f"/api/v1/bulletins/{bulletin.pk}/").json()["parts"]
    assert not part["is_open"]
    assert part["examples"] == bulletin.parts.get().examples == []
    assert part["levels"]["dirty"] == "<10"
    assert client.get(f"/api/v1/bulletins/{bulletin.pk}/items/?corpus=away").status_code == 403


@pytest.mark.django_db
def test_a_server_that_is_killed_is_named_and_asked_for_the_rest_later(
    running: EmbeddedSite,
    client: Client,
    make_corpus: MakeCorpus,
    items: list[dict[str, Any]],
    texts: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_corpus(texts=texts)
    register(running.address)
    monkeypatch.setattr(bulletin_remotes, "MAX_TEXTS", 3)

    def kill() -> None:
        if len(BulletinPart.objects.get(corpus="away").found) == 6 and running.process is not None:
            running.process.kill()
            running.process.wait()
            running.process = None

    bulletin = measure(items, "fair", "away", watch=kill)
    assert (bulletin.status, len(found_in(bulletin))) == (JobStatus.DONE, 6)
    away, fair = present_bulletin(bulletin)["parts"]
    assert "cannot be reached" in away["unavailable"]
    assert "127.0.0.1" not in json.dumps(present_bulletin(bulletin))
    assert found_in(bulletin, "fair") == expected(items, texts)
    assert fair["unavailable"] == ""
    outsider = client.get(f"/bulletins/{bulletin.pk}/").content.decode()
    assert "Not measured to its end" in outsider
    assert "Go on where it ended" not in outsider

    start(running)
    asked: list[list[str]] = []
    real = bulletin_remotes.ask_remote

    def noting(server: Any, body: Any, **rest: Any) -> Any:
        asked.append(body["texts"])
        return real(server, body, **rest)

    monkeypatch.setattr(bulletin_remotes, "ask_remote", noting)
    bulletins.run_bulletin(bulletins.resume_bulletin(bulletin.pk, author=OPERATOR).pk)
    bulletin.refresh_from_db()
    assert found_in(bulletin) == expected(items, texts)
    assert [text for texts in asked for text in texts] == [item["question"] for item in items[6:]]
    with pytest.raises(ConflictError):
        bulletins.resume_bulletin(bulletin.pk, author=OPERATOR)


@pytest.mark.django_db
def test_no_item_leaves_the_site_unless_its_corpus_is_named(
    client: Client, make_corpus: MakeCorpus, items: list[dict[str, Any]]
) -> None:
    make_corpus()
    with serving(answering({})) as server:
        register(server.url)
        assert bulletins.measurable(None) == ["fair"]
        bulletin = measure(items, corpora=None)
        assert [part.corpus for part in bulletin.parts.all()] == ["fair"]
        assert server.seen == []
    page = client.get("/bulletins/").content.decode()
    assert 'value="fair" checked' in page
    assert 'value="away">' in page
    assert "to which the items are sent" in page


def counting(n_found: Callable[[str], int], **changes: Any) -> Answer:
    """Answer each item with a number of windows, as a Fairground does."""

    def answer(handler: Any, body: dict[str, Any]) -> None:
        told = [{"found": n_found(text), "undecided": 0, "example": None} for text in body["texts"]]
        send(handler, json.dumps({**UNIT, "items": told, **changes}).encode())

    return answer


@pytest.mark.django_db
def test_short_items_are_not_sent_and_long_ones_go_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulletin_remotes, "MAX_CHARACTERS", 130)
    questions = ["short", "a" * 60, "b" * 60, "c" * 140, "d" * 60, "tiny"]
    with serving(counting(lambda text: len(text) - 49)) as server:
        register(server.url)
        bulletin = measure([{"question": question} for question in questions])
        sent = [body["texts"] for _, body, _ in server.seen]
    assert sent == [["a" * 60, "b" * 60], ["c" * 140], ["d" * 60]]
    assert found_in(bulletin) == [0, 11, 11, 91, 11, 0]
    assert bulletin.status == JobStatus.DONE


@pytest.mark.django_db
def test_items_that_were_not_answered_are_asked_again(items: list[dict[str, Any]]) -> None:
    def one_at_a_time(handler: Any, body: dict[str, Any]) -> None:
        counting(lambda text: 1)(handler, {"texts": body["texts"][:1]})

    with serving(one_at_a_time) as server:
        register(server.url)
        bulletin = measure(items)
        assert [len(body["texts"]) for _, body, _ in server.seen] == list(range(len(items) - 1, 0, -1))
    assert found_in(bulletin) == [int(len(item["question"]) >= 50) for item in items]


@pytest.mark.django_db
def test_an_overloaded_server_is_asked_again(items: list[dict[str, Any]]) -> None:
    def overloaded_at_first(handler: Any, body: dict[str, Any]) -> None:
        if len(server.seen) == 1:
            send(handler, b"no", 503)
        else:
            counting(lambda text: 2)(handler, body)

    with serving(overloaded_at_first) as server:
        register(server.url)
        bulletin = measure(items)
        assert len(server.seen) == 2
    assert bulletin.parts.get().unavailable == ""
    assert set(found_in(bulletin)) == {0, 2}


@pytest.mark.django_db
def test_a_corpus_of_counts_that_was_measured_in_part_tells_nothing(
    client: Client, make_corpus: MakeCorpus, items: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulletin_remotes, "MAX_TEXTS", 4)
    make_corpus()

    def away_after_the_first(handler: Any, body: dict[str, Any]) -> None:
        if len(server.seen) == 1:
            counting(lambda text: 1)(handler, body)
        else:
            send(handler, b"no", 503)

    with serving(away_after_the_first) as server:
        register(server.url, disclosure="counts")
        bulletin = measure(items, "away", "fair")
    assert (bulletin.status, len(found_in(bulletin))) == (JobStatus.DONE, 4)
    away, _ = client.get(f"/api/v1/bulletins/{bulletin.pk}/").json()["parts"]
    assert "overloaded" in away["unavailable"]
    assert (away["n_measured"], away["levels"]["dirty"], away["levels"]["clean"]) == (None, None, None)


@pytest.mark.django_db
@pytest.mark.parametrize("n_digests", [2, 3])
def test_an_index_replaced_there_is_measured_anew_once(
    items: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, n_digests: int
) -> None:
    monkeypatch.setattr(bulletin_remotes, "MAX_TEXTS", 4)

    def replaced(handler: Any, body: dict[str, Any]) -> None:
        version = min(len(server.seen), n_digests)
        counting(lambda text: version, indexDigest=str(version) * 64)(handler, body)

    with serving(replaced) as server:
        register(server.url)
        bulletin = measure(items)
    part = bulletin.parts.get()
    if n_digests == 2:
        assert (part.index, set(part.found), part.unavailable) == ("2" * 64, {0, 2}, "")
        assert len(part.found) == len(items)
    else:
        assert "replaced more than once" in part.unavailable
        assert bulletin.status == JobStatus.FAILED


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda handler, _: send(handler, b"no", 503), "overloaded"),
        (lambda handler, _: send(handler, b"", 302, Location="http://127.0.0.1:1/"), "redirects"),
        (lambda handler, _: send(handler, b"no", 403), "refuses this site's key"),
        (lambda handler, _: send(handler, b"no", 404), "refused the request"),
        (lambda handler, _: send(handler, b"{"), "no JSON"),
        (lambda handler, _: send(handler, b" " * 17_000_000), "longer than 16 MB"),
        (lambda handler, _: handler.wfile.write(b"SSH-2.0\r\n"), "broke off"),
        (answering({**UNIT, "items": []}), "shape"),
        (answering({**UNIT, "items": [{"found": 1, "undecided": 0}] * 99}), "shape"),
        (answering({"items": [{"found": 1, "undecided": 0}]}), "shape"),
        (counting(lambda text: -1), "shape"),
        (counting(lambda text: len(text) - 48), "shape"),
        (counting(lambda text: True), "shape"),
    ],
)
def test_a_server_that_misbehaves_is_named_and_the_others_are_measured(
    make_corpus: MakeCorpus, items: list[dict[str, Any]], texts: tuple[str, ...], answer: Answer, reason: str
) -> None:
    make_corpus(slug="fair", texts=texts)
    with serving(answer) as server:
        register(server.url, timeout_s=60.0)
        bulletin = measure(items, "away", "fair")
    away, fair = bulletin.parts.all()
    assert bulletin.status == JobStatus.DONE
    assert reason in away.unavailable
    assert "127.0.0.1" not in away.unavailable
    assert (away.found, fair.found, fair.unavailable) == ([], expected(items, texts), "")


@pytest.mark.django_db
def test_goes_into_no_private_network_that_was_not_named(items: list[dict[str, Any]], settings: Any) -> None:
    settings.REMOTE_PRIVATE_HOSTS = []
    with serving(counting(lambda text: 1)) as server:
        register(server.url)
        bulletin = measure(items)
        assert server.seen == []
    assert "private network" in bulletin.parts.get().unavailable


@pytest.mark.django_db
def test_a_bulletin_is_stopped_while_its_server_is_slow(
    items: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulletin_remotes, "SAVE_EVERY_S", 0.01)
    may_answer = threading.Event()

    def slow(handler: Any, body: dict[str, Any]) -> None:
        may_answer.wait(60)
        counting(lambda text: 1)(handler, body)

    def cancel() -> None:
        bulletin = Bulletin.objects.get()
        if not may_answer.is_set():
            bulletins.cancel_bulletin(bulletin.pk, author=OPERATOR)
            may_answer.set()

    with serving(slow) as server:
        register(server.url, timeout_s=60.0)
        bulletin = measure(items, watch=cancel)
    assert bulletin.status == JobStatus.CANCELLED
    assert found_in(bulletin) == []


TEXT = "The carousel turns and the music plays on, mail a@example.org now."
EXAMPLE = {
    "start": 4,
    "end": 61,
    "document": "doc-1",
    "title": "T",
    "licence": "L",
    "url": "",
    "snippet": f"<{TEXT[4:61]}>",
    "snippetStart": 1,
    "snippetEnd": 58,
}


def read_example(**changes: Any) -> Any:
    entry = {"found": 3, "undecided": 0, "example": {**EXAMPLE, **changes}}
    return read_windows({**UNIT, "items": [entry]}, [TEXT]).items[0].example


def test_a_passage_is_kept_with_personal_data_masked() -> None:
    for shown in (TEXT[4:61], TEXT[4:61].upper()):
        example = read_example(snippet=f"<{shown}>")
        assert (example.start, example.end, example.key) == (4, 61, "remote-doc-1")
        assert "example.org" not in example.snippet.lower()
        assert len(example.snippet) == 59


@pytest.mark.parametrize(
    "changes",
    [
        {"snippet": f"<{'x' * 57}>"},
        {"snippet": 5},
        {"snippetEnd": 57},
        {"snippetStart": -1},
        {"start": True},
        {"start": 61},
        {"end": 500, "snippetEnd": 497},
        {"snippet": EXAMPLE["snippet"] + "x" * 5000},  # type: ignore[operator]
    ],
)
def test_a_passage_that_does_not_stand_in_item_and_snippet_is_left_out(changes: dict[str, Any]) -> None:
    assert read_example(**changes) is None


def test_an_example_of_another_shape_costs_no_number() -> None:
    answer = read_windows({**UNIT, "items": [{"found": 3, "undecided": 1, "example": ["?"]}]}, [TEXT])
    assert (answer.items[0].n_found, answer.items[0].n_undecided, answer.items[0].example) == (3, 1, None)
    with pytest.raises(RemoteIndexError, match="shape"):
        read_windows({**UNIT, "items": ["?"]}, [TEXT])


WINDOWS = "/compat/infinigram-api/fair/windows"


def ask(client: Client, *asked: str, path: str = WINDOWS) -> Any:
    return client.post(path, {"texts": asked}, content_type="application/json")


def test_windows_are_bounded_and_of_known_corpora(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    assert ask(client).status_code == 400
    assert ask(client, *["x"] * 101).status_code == 400
    assert ask(client, *["x" * 10_001] * 2).status_code == 400
    assert ask(client, "x", path="/compat/infinigram-api/none/windows").status_code == 404
    make_corpus(slug="closed", disclosure="counts", texts=("Closed.",))
    refused = ask(client, "x", path="/compat/infinigram-api/closed/windows")
    assert (refused.status_code, refused.json()["code"]) == (403, "blocked-by-disclosure")


def test_windows_of_what_was_taken_down_are_not_found(
    client: Client, make_corpus: MakeCorpus, texts: tuple[str, ...]
) -> None:
    make_corpus(texts=texts)
    before = ask(client, texts[0], texts[1]).json()["items"]
    assert [item["found"] for item in before] == expected([{"question": text} for text in texts[:2]], texts)
    assert before[0]["example"]["document"] == "doc-0"
    call_command("take_down", "fair", "doc-0", "--reason", "Asked for.")
    after = ask(client, texts[0], texts[1]).json()["items"]
    assert [item["found"] for item in after] == expected([{"question": text} for text in texts[:2]], texts[1:])
    assert after[1] == before[1]


def test_items_beyond_the_time_of_an_answer_are_left_for_the_next(
    client: Client, make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_corpus()
    monkeypatch.setattr(compat_windows, "ANSWER_WITHIN_S", -1.0)
    assert len(ask(client, "one", "two").json()["items"]) == 1


def test_command_measures_a_remote_corpus_by_name(items: list[dict[str, Any]], tmp_path: Path, db: None) -> None:
    file = tmp_path / "quiz.jsonl"
    file.write_bytes(lines(items))
    with serving(counting(lambda text: 0)) as server:
        register(server.url)
        call_command("measure_contamination", str(file), "--field", "question", "--corpora", "away")
    assert found_in(Bulletin.objects.get()) == [0] * len(items)
