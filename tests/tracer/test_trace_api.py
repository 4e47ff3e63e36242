"""Traces, corpora and documents over REST: the promises made to clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tests.tracer.conftest import SENTENCE, MakeCorpus
from tracer import services
from tracer.engine import TraceParameters
from tracer.models import Trace

TEXT = "Look 🎡: the music plays on."
SECRET = "The carousel turns"


def ask(client: Client, **body: Any) -> Any:
    return client.post("/api/v1/traces/", body, content_type="application/json")


def traced(client: Client, **body: Any) -> dict[str, Any]:
    """Ask for a trace, run its job in this process, return what the resource shows."""
    created = ask(client, **body)
    assert created.status_code == 202
    services.run_trace(created.json()["id"])
    shown: dict[str, Any] = client.get(created.headers["Location"]).json()
    return shown


def test_gives_exact_code_point_offsets_when_text_has_emoji(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    shown = traced(client, text=TEXT, parameters={"density": None})
    assert shown["status"] == "done"
    assert shown["spans"]
    for span in shown["spans"]:
        assert TEXT[span["start"] : span["end"]] == span["text"]
        assert span["text"] in SENTENCE
        for match in span["matches"]:
            assert match["snippet"][match["snippet_start"] : match["snippet_end"]] == span["text"]
    assert shown["documents"][0]["licence"] == "CC0-1.0"
    assert shown["documents"][0]["owner"] == "The Fair"


def test_preset_fixes_its_settings_and_the_interface_explains_all(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    explained = client.get("/api/v1/traces/settings/").json()
    properties = explained["parameters"]["properties"]
    defaults = {name: about["default"] for name, about in properties.items() if name != "preset"}
    assert defaults == TraceParameters().to_dict()
    assert properties["min_length_tokens"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 1000,
        "default": 1,
        "description": "In tokens; shorter ones are left out.",
    }
    for name, fixed in explained["presets"].items():
        kept = traced(client, text=TEXT, parameters={"preset": name, "seed": 3})["parameters"]
        assert kept == defaults | fixed | {"seed": 3}
    for bad in ({"preset": "other"}, {"preset": "olmotrace", "density": 0.05}, {"preset": 1}):
        refused = ask(client, text=TEXT, parameters=bad)
        assert refused.status_code == 400
        assert f"parameters.{list(bad)[-1]}" in refused.json()["errors"]


def test_names_index_digests_when_done(client: Client, make_corpus: MakeCorpus) -> None:
    corpus = make_corpus()
    shown = traced(client, text=TEXT)
    assert corpus.indexes.get().digest in str(shown["corpora"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": " "}, "text"),
        ({"text": "x" * 100_001}, "text"),
        ({"text": "x", "corpora": ["nowhere"]}, "corpora"),
        ({"text": "x", "corpora": []}, "corpora"),
        ({"text": "x", "parameters": {"density": 7}}, "parameters.density"),
    ],
)
def test_names_the_field_when_input_is_bad(
    client: Client, make_corpus: MakeCorpus, body: dict[str, Any], field: str
) -> None:
    make_corpus()
    answer = ask(client, **body)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert list(answer.json()["errors"]) == [field]
    assert not Trace.objects.exists()


def test_makes_one_trace_when_a_request_is_repeated_with_its_key(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    headers = {"Idempotency-Key": "once"}
    answers = [
        client.post("/api/v1/traces/", {"text": TEXT}, content_type="application/json", headers=headers)
        for _ in range(2)
    ]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert Trace.objects.count() == 1
    other = client.post("/api/v1/traces/", {"text": "other"}, content_type="application/json", headers=headers)
    assert other.status_code == 409


def test_answers_problem_json_when_nothing_is_there(client: Client, db: None) -> None:
    for path in ("/api/v1/nowhere/", "/api/v1/traces/01890000-0000-7000-8000-000000000000/", "/api/v1/corpora/none/"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_shows_only_counts_when_the_corpus_is_closed(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(slug="closed", disclosure="counts")
    shown = traced(client, text=SENTENCE, parameters={"density": None})
    assert shown["spans"]
    assert shown["documents"] == []
    assert all(span["matches"] == [] for span in shown["spans"])
    assert client.get("/api/v1/documents/closed/doc-0/").status_code == 404
    assert SECRET not in client.get("/documents/closed/doc-0/").content.decode()


def test_reads_no_whole_document_when_the_corpus_shows_snippets(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(slug="half", disclosure="snippet")
    assert client.get("/api/v1/documents/half/doc-0/").status_code == 404


def test_hides_a_document_everywhere_when_taken_down(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    before = traced(client, text=SENTENCE, parameters={"density": None})
    assert SECRET in str(before["documents"]) + str(before["spans"])
    services.take_down(corpus="fair", document="doc-0", reason="asked by its author")
    after = client.get(f"/api/v1/traces/{before['id']}/").json()
    assert all(match["snippet"] == "" for span in after["spans"] for match in span["matches"])
    gone = client.get("/api/v1/documents/fair/doc-0/")
    assert gone.status_code == 410
    assert "asked by its author" in gone.json()["detail"]


def test_fails_with_the_file_when_an_index_was_truncated(client: Client, make_corpus: MakeCorpus) -> None:
    index = make_corpus().indexes.get()
    table = index.folder / "table.0"
    table.chmod(0o644)
    with table.open("r+b") as file:
        file.truncate(3)
    shown = traced(client, text=TEXT)
    assert shown["status"] == "failed"
    assert "table.0" in shown["error"]


def test_exports_quotations_with_owner_and_licence_when_done(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    shown = traced(client, text=SENTENCE)
    for kind in ("csv", "md"):
        body = client.get(f"/api/v1/traces/{shown['id']}/export.{kind}").content.decode()
        assert "The Fair" in body
        assert "CC0-1.0" in body


def test_names_file_and_line_when_a_corpus_file_is_broken(db: None, tmp_path: Path) -> None:
    from webapp.errors import BadInputError

    file = tmp_path / "broken.jsonl"
    file.write_bytes(b'{"id": "1", "text": "fine"}\n{"text": "\xff"}\n')
    with pytest.raises(BadInputError, match=r"broken\.jsonl.*2"):
        services.add_corpus(slug="broken", file=file, owner="o", licence="l", title="t")
    assert not list(Path(services.settings.DATA_DIR).rglob("*.jsonl*"))


def test_fails_a_trace_when_its_worker_died_twice(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    trace = services.request_trace(text=TEXT)
    Trace.objects.filter(pk=trace.pk).update(n_starts=services.MAX_STARTS)
    services.run_trace(trace.pk)
    trace.refresh_from_db()
    assert trace.status == "failed"
    assert "2 times" in trace.error
