"""Pages of the log: what they show checks out, and a damaged log is called damaged."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from django.core.cache import cache
from django.test import Client

from tests.transparency.arena_log import write_arena_log
from tests.transparency.conftest import Append
from webapp.transparency import verify, views
from webapp.transparency.exports import VERIFIER, write_export
from webapp.transparency.models import Checkpoint, Entry
from webapp.transparency.services import sequence_entries

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_checked_yet() -> None:
    cache.clear()


@pytest.fixture
def grown(append: Append) -> None:
    """Seven leaves under two checkpoints."""
    for n in (3, 4):
        append(n)
        sequence_entries()


def test_empty_log_says_so(client: Client) -> None:
    assert "The log is empty" in client.get("/log/").content.decode()
    assert client.post("/log/check/").status_code == 404


def test_entries_are_listed_newest_first_in_pages(
    client: Client, append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "PAGE", 4)
    append(10)
    sequence_entries()
    first = client.get("/log/")
    assert [entry.index for entry in first.context["entries"]] == [9, 8, 7, 6]
    second = client.get("/log/", {"before": first.context["older_than"], "kind": "takedown"})
    assert [entry.index for entry in second.context["entries"]] == [5, 4, 3, 2]
    assert client.get("/log/", {"kind": "epoch"}).context["entries"] == []
    assert len(client.get("/log/", {"kind": "<script>", "before": "x"}).context["entries"]) == 4


def test_entry_shows_its_leaf_and_a_proof_that_holds(client: Client, grown: None) -> None:
    for entry in Entry.objects.all():
        page = client.get(entry.get_absolute_url()).content.decode()
        assert "The proof holds" in page
        assert entry.full_hash in page
    assert client.get("/log/entries/99/").status_code == 404


def test_entry_without_a_place_says_that_it_waits(client: Client, append: Append) -> None:
    (entry,) = append(1)
    assert "Ask again then" in client.get(entry.get_absolute_url()).content.decode()


def test_every_checkpoint_begins_the_newest_log(client: Client, grown: None) -> None:
    assert client.get("/log/checkpoints/").status_code == 200
    for checkpoint in Checkpoint.objects.all():
        page = client.get(checkpoint.get_absolute_url()).content.decode()
        assert "holds" in page
        assert checkpoint.note.splitlines()[0] in page
    assert client.get("/log/checkpoints/5/").status_code == 404


def test_proof_that_does_not_hold_is_called_so(client: Client, grown: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.transparency.proofs.consistency_roots", lambda *_: (b"", b""))
    assert "does not begin with these leaves" in client.get("/log/checkpoints/3/").content.decode()


def test_check_recomputes_the_whole_log_and_is_kept(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    write_arena_log(n_battles=6)
    page = client.post("/log/check/").content.decode()
    assert "Nothing is wrong" in page

    monkeypatch.setattr(verify, "verify", None)  # would fail if asked again
    assert "Nothing is wrong" in client.get("/log/").content.decode()


def test_check_names_what_is_wrong(client: Client, grown: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from webapp.transparency import exports

    honest = exports.leaf_record

    def forged(entry: Entry) -> dict[str, object]:
        record = honest(entry)
        if entry.index == 2:
            record["leaf"]["body"]["corpus"] = "other"
        return record

    monkeypatch.setattr(exports, "leaf_record", forged)
    page = client.post("/log/check/").content.decode()
    assert "wrong at 7 leaves" in page
    assert "leaf 2" in page


def test_one_check_runs_at_a_time(client: Client, grown: None) -> None:
    cache.set(views.RUNNING, 1)
    assert client.post("/log/check/").status_code == 503
    cache.delete(views.RUNNING)
    assert client.post("/log/check/").status_code == 200
    assert cache.get(views.RUNNING) is None


def test_long_log_is_for_the_offline_verifier(client: Client, grown: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MAX_CHECKED_LEAVES", 5)
    assert "check it offline" in client.get("/log/").content.decode()
    refused = client.post("/log/check/")
    assert refused.status_code == 400
    assert "Download the log" in refused.content.decode()


def test_offline_verifier_is_the_file_itself(client: Client) -> None:
    answer = client.get("/log/verify.py")
    assert b"".join(answer.streaming_content) == VERIFIER.read_bytes()  # type: ignore[attr-defined]


def test_digest_of_the_verifier_is_that_of_the_served_file_and_of_an_export(
    client: Client, grown: None, tmp_path: Path
) -> None:
    served = b"".join(client.get("/log/verify.py"))  # type: ignore[arg-type]
    digest = hashlib.sha256(served).hexdigest()
    write_export(tmp_path / "export")
    assert (tmp_path / "export" / "verify.py").read_bytes() == served
    assert digest in client.get("/log/").content.decode()
    key = client.get("/api/v1/log/key/").json()
    assert key["verifier_sha256"] == digest
    assert key["verifier"].endswith("/log/verify.py")
