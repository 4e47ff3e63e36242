"""Contamination bulletins: numbers against a brute-force twin, what each viewer is told, jobs that end half way."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from tests.looks import later
from tests.tracer.conftest import MakeCorpus
from tracer import builds, bulletin_parts, bulletins, personal, services
from tracer.bulletin_report import list_items, present_bulletin
from tracer.models import Benchmark, BenchmarkItem, Bulletin, BulletinPart, Index
from webapp import queueing
from webapp.jobs import JobStatus
from webapp.ownership import Author

WORDS = [
    "carousel",
    "music",
    "children",
    "laugh",
    "fair",
    "lights",
    "round",
    "booth",
    "prize",
    "wheel",
    "crowd",
    "lantern",
]
OPERATOR = Author(is_operator=True)
Measure = Callable[..., Bulletin]


def sentence(chance: random.Random, n_words: int) -> str:
    return " ".join(chance.choices(WORDS, k=n_words)).capitalize() + "."


@pytest.fixture(scope="module")
def texts() -> tuple[str, ...]:
    chance = random.Random(3)
    return tuple(" ".join(sentence(chance, 12) for _ in range(6)) for _ in range(12))


@pytest.fixture(scope="module")
def items(texts: tuple[str, ...]) -> list[dict[str, Any]]:
    """Copied whole, copied in part, new, too short, and with edges of other words."""
    chance = random.Random(4)
    questions = [texts[0], f"Q: {texts[1][40:180]}", "Never seen before: " + "zyx " * 30, "Too short."]
    questions += [texts[n][7:140] + " " + "".join(chance.choices("qvxz ", k=200)) for n in range(2, 8)]
    questions += [f"x{texts[9][3:120]}y"]
    return [{"id": f"q-{n}", "question": question, "doc": {"text": question}} for n, question in enumerate(questions)]


def lines(items: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(item) + "\n" for item in items).encode()


def brute_force(text: str, texts: tuple[str, ...]) -> tuple[int, int]:
    windows = [text[i : i + 50] for i in range(len(text) - 49)]
    return sum(any(window in other for other in texts) for window in windows), len(windows)


@pytest.fixture
def measure(make_corpus: MakeCorpus, texts: tuple[str, ...], items: list[dict[str, Any]]) -> Measure:
    """Measure the items against corpora that are there; by default one open corpus of tokens is made."""

    def do(*, run: bool = True, **values: Any) -> Bulletin:
        if not Index.objects.exists():
            make_corpus(texts=texts)
        asked = {"content": lines(items), "field": "question", "title": "Quiz", **values}
        bulletin = bulletins.measure_benchmark(**asked)
        if run:
            bulletins.run_bulletin(bulletin.pk)
        bulletin.refresh_from_db()
        return bulletin

    return do


@pytest.mark.parametrize("kind", ["tokens", "bytes", "folded"])
def test_each_item_has_the_windows_that_a_search_of_the_raw_text_finds(
    measure: Measure, make_corpus: MakeCorpus, texts: tuple[str, ...], items: list[dict[str, Any]], kind: str
) -> None:
    make_corpus(texts=texts)
    if kind != "tokens":
        Index.objects.update(is_enabled=False)
        builds.run_build(builds.start_build(slug="fair", tokenizer=None, folds_case=kind == "folded", n_shards=2))
    if kind == "folded":
        texts = tuple(text.casefold() for text in texts)
        items = [{**item, "question": item["question"].casefold()} for item in items]
    bulletin = measure(content=lines(items))
    assert bulletin.status == JobStatus.DONE
    part = bulletin.parts.get()
    expected = [brute_force(item["question"], texts) for item in items]
    assert list(zip(part.found, bulletin.benchmark.n_windows, strict=True)) == expected
    assert part.n_undecided == 0
    shown = present_bulletin(bulletin)
    levels = [
        "short" if not m else "dirty" if n >= 0.8 * m else "suspicious" if n >= 0.2 * m else "clean"
        for n, m in expected
    ]
    assert shown["parts"][0]["levels"] == {
        name: levels.count(name) for name in ("clean", "suspicious", "dirty", "short")
    }
    assert min(shown["parts"][0]["levels"].values()) > 0, "every level occurs"


def test_an_index_of_bytes_is_preferred_and_one_that_folds_case_comes_last(
    measure: Measure, make_corpus: MakeCorpus, texts: tuple[str, ...]
) -> None:
    make_corpus(texts=texts)
    builds.run_build(builds.start_build(slug="fair", tokenizer=None, folds_case=True))
    assert measure().parts.get().unit == "tokens"
    builds.run_build(builds.start_build(slug="fair", tokenizer=None))
    assert measure().parts.get().unit == "bytes"


def test_examples_show_the_passage_in_item_and_document(measure: Measure, texts: tuple[str, ...]) -> None:
    part = present_bulletin(measure())["parts"][0]
    assert {example["level"] for example in part["examples"]} == {"dirty", "suspicious"}
    for example in part["examples"]:
        passage = example["text"][example["start"] : example["end"]]
        assert len(passage) >= 50
        assert example["snippet"][example["snippet_start"] : example["snippet_end"]] == passage
        assert passage in texts[int(example["document"].removeprefix("fair/doc-"))]
        assert example["licence"] == "CC0-1.0"


def test_what_was_taken_down_is_neither_counted_nor_shown(measure: Measure, texts: tuple[str, ...]) -> None:
    earlier = measure()
    services.take_down(corpus="fair", document="doc-0", reason="asked by its author")
    later = measure()
    assert earlier.parts.get().found[0] == len(texts[0]) - 49
    assert later.parts.get().found[0] == brute_force(texts[0], texts[1:])[0] < 20
    assert "fair/doc-0" not in json.dumps(later.parts.get().examples)
    [shown] = [e for e in present_bulletin(earlier)["parts"][0]["examples"] if e["document"] == "fair/doc-0"]
    assert shown["removed_because"] == "asked by its author"
    assert (shown["snippet"], shown["is_readable"]) == ("", False)
    assert "Title 0" not in json.dumps(present_bulletin(earlier))


def outsiders_answers(client: Client, bulletin: Bulletin) -> str:
    """Return all that somebody without any right gets to read of a bulletin."""
    api = f"/api/v1/bulletins/{bulletin.pk}"
    addresses = [f"/bulletins/{bulletin.pk}/?corpus=closed&level=dirty", f"{api}/", f"{api}/items/?corpus=closed"]
    addresses += [f"{api}/export.json", f"{api}/export.csv", f"/bulletins/{bulletin.pk}/?corpus=closed&start=0"]
    return "".join(client.get(address).content.decode() for address in addresses)


def test_a_corpus_of_counts_tells_blurred_numbers_and_no_item(
    client: Client, measure: Measure, make_corpus: MakeCorpus, texts: tuple[str, ...], items: list[dict[str, Any]]
) -> None:
    make_corpus(slug="closed", disclosure="counts", texts=texts)
    owner = User.objects.create_user("owner")
    owner.groups.add(Group.objects.create(name="owners"))
    services.change_disclosure(slug="closed", disclosure="counts", group="owners")
    bulletin = measure(author=Author(owner.pk))
    assert bulletin.parts.get().examples, "its maker may see them"
    part = present_bulletin(bulletin)["parts"][0]
    assert part["levels"] == {"clean": None, "suspicious": "<10", "dirty": "<10", "short": 1}
    assert (part["examples"], part["n_undecided"], part["is_open"]) == ([], None, False)
    read = outsiders_answers(client, bulletin)
    for secret in ("Title 0", "doc-0", texts[0][:40], "q-0", '"found"'):
        assert secret not in read, secret
    assert "blocked-by-disclosure" in read
    client.force_login(owner)
    assert "Title 0" in outsiders_answers(client, bulletin)
    many = measure(content=lines([{**item, "id": n} for n, item in enumerate(items * 12)]))
    exact = present_bulletin(many)["parts"][0]["levels"]
    assert all(isinstance(count, int) for count in exact.values())
    assert not many.parts.get().examples, "an outsider's bulletin does not even read them"


def test_a_corpus_of_counts_tells_nothing_before_the_end(measure: Measure, make_corpus: MakeCorpus) -> None:
    make_corpus(slug="closed", disclosure="counts", texts=("Some words.",))
    bulletin = measure(run=False)
    BulletinPart.objects.update(found=[100, 50, 0])
    for status in (JobStatus.RUNNING, JobStatus.CANCELLED, JobStatus.FAILED):  # resumed it would tell of each item
        bulletin.status = status
        part = present_bulletin(bulletin)["parts"][0]
        assert (part["levels"]["clean"], part["levels"]["dirty"], part["n_measured"]) == (None, None, None)


def test_a_corpus_of_snippets_bounds_what_an_example_shows(measure: Measure, make_corpus: MakeCorpus) -> None:
    long = " ".join(f"word{n}" for n in range(400))
    make_corpus(slug="half", disclosure="snippet", texts=(long,))
    bulletin = measure(content=lines([{"question": long[1000:1100]}]))
    [example] = present_bulletin(bulletin)["parts"][0]["examples"]
    assert example["snippet"][example["snippet_start"] : example["snippet_end"]] == long[1000:1100]
    assert len(example["snippet"]) <= 100 + 2 * 300
    assert not example["is_readable"]


def test_a_worker_that_dies_leaves_what_it_measured_to_the_next(
    measure: Measure, monkeypatch: pytest.MonkeyPatch, items: list[dict[str, Any]]
) -> None:
    class Killed(BaseException):
        """Stands for the end of the process at this point."""

    monkeypatch.setattr(bulletin_parts, "SAVE_EVERY_S", 0.0)
    bulletin = measure(run=False)
    real, measured = bulletin_parts.measure_item, []

    def dies_at_the_fifth(reader: Any, text: str, hidden: Any) -> Any:
        if len(measured) == 4:
            raise Killed
        measured.append(text)
        return real(reader, text, hidden)

    with monkeypatch.context() as patch:
        patch.setattr(bulletin_parts, "measure_item", dies_at_the_fifth)
        with pytest.raises(Killed):
            bulletins.run_bulletin(bulletin.pk)
    assert len(bulletin.parts.get().found) == 4
    again: list[str] = []
    monkeypatch.setattr(
        bulletin_parts, "measure_item", lambda r, text, hidden: (again.append(text), real(r, text, hidden))[1]
    )
    bulletins.run_bulletin(bulletin.pk)
    assert len(again) == len(items) - 4
    bulletin.refresh_from_db()
    assert (bulletin.status, len(bulletin.parts.get().found)) == (JobStatus.DONE, len(items))


def test_a_killed_worker_is_noticed_and_two_deaths_at_one_item_end_it(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(queueing, "enqueue_on_commit", lambda task, pk: sent.append(str(pk)))
    bulletin = measure(run=False)
    long_ago = timezone.now() - timedelta(hours=1)
    Bulletin.objects.update(status=JobStatus.RUNNING, n_starts=1, heartbeat_at=timezone.now())
    assert bulletins.requeue_unfinished(older_than_s=60) == 0
    bulletins.run_bulletin(bulletin.pk)
    assert bulletin.parts.get().found == [], "another process works on it"
    Bulletin.objects.update(heartbeat_at=long_ago)
    assert bulletins.requeue_unfinished(older_than_s=60) == 0
    bulletins.run_bulletin(bulletin.pk)
    assert bulletin.parts.get().found == [], "it looks old by a clock alone"
    with later(61):
        assert bulletins.requeue_unfinished(older_than_s=60) == 1
    assert sent == [str(bulletin.pk)]
    Bulletin.objects.update(n_starts=2)
    bulletins.run_bulletin(bulletin.pk)
    bulletin.refresh_from_db()
    assert bulletin.status == JobStatus.FAILED
    assert "2 times at the same item" in bulletin.error
    bulletins.resume_bulletin(bulletin.pk, author=OPERATOR)
    bulletins.run_bulletin(bulletin.pk)
    bulletin.refresh_from_db()
    assert bulletin.status == JobStatus.DONE


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_a_bulletin_that_is_ended_meanwhile_stops(measure: Measure, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    monkeypatch.setattr(bulletin_parts, "SAVE_EVERY_S", 0.0)
    author = Author(User.objects.create_user("a").pk)
    bulletin = measure(run=False, author=author)
    act = {"cancel": bulletins.cancel_bulletin, "delete": bulletins.delete_bulletin}[end]
    ended: list[int] = []

    def watch() -> None:
        if not ended:
            ended.append(1)
            act(bulletin.pk, author=author)

    bulletins.run_bulletin(bulletin.pk, watch=watch)
    if end == "cancel":
        bulletin.refresh_from_db()
        assert bulletin.status == JobStatus.CANCELLED
        assert len(bulletin.parts.get().found) == 1
        with pytest.raises(Exception, match="ended already"):
            bulletins.cancel_bulletin(bulletin.pk, author=author)
    else:
        assert not Bulletin.objects.exists()
        assert not Benchmark.objects.exists()
        assert not BenchmarkItem.objects.exists()


def test_a_damaged_index_is_told_and_the_others_are_measured(
    measure: Measure, make_corpus: MakeCorpus, texts: tuple[str, ...]
) -> None:
    make_corpus(texts=texts)
    make_corpus(slug="other", texts=texts[:9])
    file = Index.objects.get(corpus__slug="fair").folder / "table.0"
    file.write_bytes(file.read_bytes()[:-1])
    bulletin = measure()
    assert bulletin.status == JobStatus.DONE
    fair, other = present_bulletin(bulletin)["parts"]
    assert "table.0" in fair["unavailable"]
    assert other["levels"]["dirty"] > 0
    Index.objects.filter(corpus__slug="other").update(is_enabled=False)
    failed = measure(corpora=["fair"])
    assert failed.status == JobStatus.FAILED
    assert "table.0" in failed.error


def test_an_index_replaced_half_way_is_measured_from_the_beginning(
    measure: Measure, items: list[dict[str, Any]]
) -> None:
    bulletin = measure(run=False)
    BulletinPart.objects.update(found=[1] * 5, index="0" * 64)
    bulletins.run_bulletin(bulletin.pk)
    assert len(bulletin.parts.get().found) == len(items)
    assert bulletin.parts.get().found[:3] != [1] * 3


def test_items_come_in_pages_by_level(measure: Measure) -> None:
    bulletin = measure()
    count, page = list_items(bulletin, corpus="fair", level="suspicious", start=1, size=2)
    assert count == present_bulletin(bulletin)["parts"][0]["levels"]["suspicious"]
    assert [row["level"] for row in page] == ["suspicious"] * 2
    assert page[0]["id"].startswith("q-")


def test_exports_have_every_item_and_no_formula(client: Client, measure: Measure, items: list[dict[str, Any]]) -> None:
    items = [*items, {"id": "=HYPERLINK(1)", "question": "x" * 60}]
    bulletin = measure(content=lines(items))
    whole = client.get(f"/api/v1/bulletins/{bulletin.pk}/export.json").json()
    assert [row["id"] for row in whole["parts"][0]["items"]] == [item["id"] for item in items]
    table = client.get(f"/api/v1/bulletins/{bulletin.pk}/export.csv")
    assert table["Content-Disposition"].endswith('.csv"')
    rows = list(csv.DictReader(io.StringIO(table.content.decode())))
    assert len(rows) == 4 + len(items)
    assert rows[-1]["id"] == "'=HYPERLINK(1)"
    assert {row["level"]: row["items"] for row in rows[:4]} == {
        level: str(n) for level, n in whole["parts"][0]["levels"].items()
    }


def test_command_measures_resumes_and_refuses(
    measure: Measure,
    items: list[dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = measure(run=False)
    file = tmp_path / "quiz.jsonl"
    file.write_bytes(lines(items))
    call_command("measure_contamination", str(file), "--name", "quiz", "--field", "doc.text", "--visibility", "public")
    shown = capsys.readouterr()
    assert "quiz.jsonl" in shown.out
    assert "100.0 % measured" in shown.err
    call_command("measure_contamination", "--benchmark", "quiz", "--corpora", "fair", "--format", "json")
    assert json.loads(capsys.readouterr().out)["benchmark"]["slug"] == "quiz"
    call_command("measure_contamination", "--resume", str(first.pk), "--format", "csv")
    assert capsys.readouterr().out.startswith("corpus,owner")
    for arguments, reason in (
        ([], "Give one of"),
        ([str(file), "--benchmark", "quiz"], "Give one of"),
        (["--resume", "x"], "no id"),
        (["--resume", str(first.pk)], "done already"),
        ([str(file), "--name", "quiz"], "already"),
        ([str(file), "--field", "answer"], "Line 1 has no field 'answer'. It has: 'id', 'question', 'doc'"),
        ([str(tmp_path / "none.jsonl")], "none.jsonl"),
        (["--benchmark", "none"], "By name there are: quiz"),
    ):
        with pytest.raises(CommandError, match=reason):
            call_command("measure_contamination", *arguments)


def test_a_persons_bulletins_leave_with_them(measure: Measure) -> None:
    user, other = User.objects.create_user("a"), User.objects.create_user("b")
    mine = measure(author=Author(user.pk), visibility="private")
    kinds = [entry["kind"] for entry in personal.export_personal(user)]
    assert kinds == ["bulletin", "benchmark"]
    shared = measure(author=Author(user.pk))
    bulletins.measure_benchmark(content=None, benchmark=str(shared.benchmark_id), author=Author(other.pk))
    personal.erase_personal(user)
    assert list(Bulletin.objects.values_list("created_by", flat=True)) == [other.pk]
    assert list(Benchmark.objects.values_list("pk", "created_by")) == [(shared.benchmark_id, user.pk)]
    assert not BenchmarkItem.objects.filter(benchmark=mine.benchmark_id).exists()
