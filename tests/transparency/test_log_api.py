"""REST resources of the log: what a stranger gets checks out with the verifier's own arithmetic."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client

from tests.transparency.arena_log import write_arena_log
from tests.transparency.conftest import Append
from webapp.transparency import merkle, verify
from webapp.transparency.models import Checkpoint, Entry
from webapp.transparency.services import public_key, sequence_entries

pytestmark = pytest.mark.django_db
API = "/api/v1/log"


@pytest.fixture
def grown(append: Append) -> list[Entry]:
    """Eleven leaves under four checkpoints."""
    for n in (1, 4, 2, 4):
        append(n)
        sequence_entries()
    return list(Entry.objects.order_by("index"))


def get(client: Client, path: str, **query: Any) -> Any:
    answer = client.get(f"{API}{path}", query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_entries_are_mirrored_in_order_when_next_is_followed(client: Client, grown: list[Entry]) -> None:
    page, mirrored = get(client, "/entries/", page_size=4), []
    while True:
        mirrored += page["entries"]
        if page["next"] is None:
            break
        page = client.get(page["next"]).json()
    assert [e["index"] for e in mirrored] == list(range(11))
    assert [e["id"] for e in mirrored] == [str(e.id) for e in grown]
    for found in mirrored:
        assert merkle.leaf_hash(found["canonical"].encode()).hex() == found["leaf_hash"]
        assert found["leaf"] == json.loads(found["canonical"])
    assert page["tree_size"] == 11


def test_entries_are_those_of_a_kind_when_one_is_named(client: Client) -> None:
    write_arena_log(n_battles=4)
    page = get(client, "/entries/", kind="epoch", page_size=2)
    assert [e["leaf"]["body"]["epoch"] for e in page["entries"]] == [0, 1]
    assert [e["leaf"]["body"]["epoch"] for e in client.get(page["next"]).json()["entries"]] == [2]
    refused = client.get(f"{API}/entries/", {"kind": "gossip"})
    assert (refused.status_code, "kind" in refused.json()["errors"]) == (400, True)


def test_waiting_entries_are_not_listed_and_have_no_proof_yet(client: Client, append: Append) -> None:
    [entry] = append()
    assert get(client, "/entries/") == {"tree_size": 0, "next": None, "entries": []}
    assert get(client, f"/entries/{entry.id}/")["index"] is None
    answer = client.get(f"{API}/entries/{entry.id}/proof/")
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    assert "within seconds" in answer.json()["detail"]


def test_every_entry_is_proven_in_every_tree_that_holds_it(client: Client, grown: list[Entry]) -> None:
    roots, frontier = {}, merkle.Frontier()
    for entry in grown:
        list(frontier.append(bytes(entry.leaf_hash)))
        roots[frontier.size] = frontier.root().hex()
    signed = {c.tree_size: c.note for c in Checkpoint.objects.all()}
    for entry in grown:
        assert entry.index is not None
        for size in range(entry.index + 1, 12):
            proof = get(client, f"/entries/{entry.index}/proof/", tree_size=size)
            assert proof["root_hash"] == roots[size]
            assert proof["checkpoint"] == signed.get(size)
            hashes = [bytes.fromhex(h) for h in proof["hashes"]]
            leaf, root = bytes.fromhex(proof["leaf_hash"]), bytes.fromhex(proof["root_hash"])
            assert merkle.proves_inclusion(root, leaf, entry.index, size, hashes)


@pytest.mark.parametrize("size", [3, 12])
def test_proof_is_refused_when_the_tree_does_not_hold_the_entry(client: Client, grown: list[Entry], size: int) -> None:
    answer = client.get(f"{API}/entries/3/proof/", {"tree_size": size})
    assert answer.status_code == 400
    assert "from 4 to 11" in answer.json()["detail"]


def test_any_two_trees_are_proven_consistent(client: Client, grown: list[Entry]) -> None:
    for first in range(1, 12):
        for second in range(first, 12):
            proof = get(client, "/consistency/", first=first, second=second)
            hashes = [bytes.fromhex(h) for h in proof["hashes"]]
            roots = (bytes.fromhex(proof[name]) for name in ("first_root", "second_root"))
            one, two = roots
            assert merkle.proves_consistency(first, one, second, two, hashes)
    assert get(client, "/consistency/", first=2)["second"] == 11


@pytest.mark.parametrize(
    ("query", "field"), [("first=0", "first"), ("first=12", "first"), ("first=5&second=4", "second")]
)
def test_consistency_is_refused_when_sizes_do_not_fit(
    client: Client, grown: list[Entry], query: str, field: str
) -> None:
    answer = client.get(f"{API}/consistency/?{query}")
    assert answer.status_code == 400
    assert field in answer.json()["errors"]


def test_checkpoints_and_key_are_read_by_other_tools(client: Client, grown: list[Entry]) -> None:
    key = get(client, "/key/")
    reader = verify.Key.read(key["key"])
    assert key["public_key"] == public_key().public.hex()
    page = get(client, "/checkpoints/", page_size=3)
    rest = client.get(page["next"]).json()
    assert [c["tree_size"] for c in page["checkpoints"] + rest["checkpoints"]] == [1, 5, 7, 11]
    assert rest["next"] is None
    for found in page["checkpoints"]:
        assert reader.open_checkpoint(found["note"]) == (found["tree_size"], bytes.fromhex(found["root_hash"]))
    assert get(client, "/checkpoints/7/") == page["checkpoints"][2]
    assert client.get(f"{API}/checkpoints/8/").status_code == 404
    newest = client.get(f"{API}/checkpoint")
    assert newest["Content-Type"].startswith("text/plain")
    assert reader.open_checkpoint(newest.content.decode())[0] == 11


@pytest.mark.parametrize("name", ["99", "x", "9" * 30, "-1", "0193649f-0000-7000-8000-000000000000", "٣"])
def test_unknown_entry_is_a_problem_document(client: Client, grown: list[Entry], name: str) -> None:
    for path in (f"/entries/{name}/", f"/entries/{name}/proof/"):
        answer = client.get(f"{API}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_empty_log_says_so(client: Client) -> None:
    for path in ("/checkpoint", "/export/", "/consistency/?first=1"):
        answer = client.get(f"{API}{path}")
        assert (answer.status_code, "empty" in answer.json()["detail"]) == (404, True)


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_nothing_can_be_written(client: Client, grown: list[Entry], method: str) -> None:
    for path in ("/entries/", "/entries/3/", "/checkpoints/", "/checkpoints/7/", "/key/", "/checkpoint"):
        assert getattr(client, method)(f"{API}{path}").status_code == 405


def test_proofs_need_few_queries_whatever_the_size(
    client: Client, append: Append, django_assert_max_num_queries: Any
) -> None:
    append(300)
    sequence_entries()
    with django_assert_max_num_queries(6):
        get(client, "/entries/123/proof/")
    with django_assert_max_num_queries(4):
        get(client, "/consistency/", first=77)


def test_whole_log_verifies_when_downloaded(async_client: AsyncClient, tmp_path: Path) -> None:
    write_arena_log(n_battles=12)

    async def download() -> tuple[str, bytes]:
        answer: Any = await async_client.get(f"{API}/export/")
        return answer["Content-Type"], b"".join([piece async for piece in answer])

    kind, content = async_to_sync(download)()
    assert kind == "application/zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(tmp_path)
    [folder] = [path for path in tmp_path.iterdir() if path.name.startswith("log-")]
    assert [str(w) for w in verify.verify(folder).findings] == []
    assert (folder / "verify.py").read_bytes() == Path(verify.__file__).read_bytes()
