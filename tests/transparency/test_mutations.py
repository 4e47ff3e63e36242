"""Any single record of an export changed in any field, dropped, duplicated or moved is found by the verifier."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from django.core.management import call_command
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.transparency.arena_log import write_arena_log
from tests.transparency.forge import read_lines, read_log, record, rewrite_log, write_lines
from tests.transparency.mutations import changed, other_values, paths_of, replaced
from webapp.transparency import verify
from webapp.transparency.kinds import KINDS
from webapp.transparency.notes import Signer

FILES = {"leaves.jsonl": "leaf", "checkpoints.jsonl": "checkpoint"}
HOSTILE: list[Any] = [None, True, "", "x", [], {}, [[]], -1, 0, 2**53 - 1, -(2**53) + 1, 0.5, 1e308, "9" * 5000]
EXAMPLES = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def _one_key(settings: Any) -> None:
    settings.LOG_KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("written") / "export"


@pytest.fixture
def export(written: Path, tmp_path: Path, db: None) -> Path:
    """A copy of one right export that holds every kind of entry."""
    if not written.exists():
        write_arena_log(n_battles=12)
        call_command("export_log", str(written), stdout=io.StringIO())
    return Path(shutil.copytree(written, tmp_path / "export"))


def findings(folder: Path) -> list[str]:
    try:
        return [str(wrong) for wrong in verify.verify(folder).findings]
    except verify.Unreadable as error:
        return [str(error)]


def test_export_holds_every_kind_and_is_right(export: Path) -> None:
    assert findings(export) == []
    assert verify.verify(export).replay.kinds.keys() == KINDS.keys()


def other_bytes(value: Any) -> bytes:
    """Return a record's line as somebody would write it who knows the format but not every rule of it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


@EXAMPLES
@given(data=st.data())
def test_any_field_is_found_when_changed(export: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FILES)))
    right = read_lines(export / name)
    k = data.draw(st.integers(0, len(right) - 1))
    path, damaged = data.draw(changed(json.loads(right[k])))
    try:
        write_lines(export / name, [*right[:k], other_bytes(damaged), *right[k + 1 :]])
        found = findings(export)
        assert found, (name, k, path)
        assert f"{FILES[name]} {k}: " in found[0], (name, k, path, found)
    finally:
        write_lines(export / name, right)


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_member_of_a_record_is_found_when_it_is_something_else(export: Path, name: str) -> None:
    """Also another leaf's number, and values of another type than the verifier expects."""
    right = read_lines(export / name)
    k = len(right) - 1
    members = json.loads(right[k])
    for member, value in members.items():
        for other in [*other_values(value), k - 1, k + 1, 10**30, 1.5]:
            if other != value or type(other) is not type(value):
                write_lines(export / name, [*right[:k], other_bytes({**members, member: other})])
                assert f"{FILES[name]} {k}: " in findings(export)[0], (member, other)


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:12])
def test_leaf_that_is_none_is_named(export: Path, value: Any) -> None:
    leaves = read_log(export)
    leaves[3] = value
    rewrite_log(export, leaves)
    assert "leaf 3: " in findings(export)[0]


@pytest.mark.parametrize("name", sorted(FILES))
def test_record_nested_without_end_is_named(export: Path, name: str) -> None:
    right = read_lines(export / name)
    write_lines(export / name, [*right[:-1], b"[" * 100_000 + b"]" * 100_000])
    assert f"{FILES[name]} {len(right) - 1}: " in findings(export)[0]


@EXAMPLES
@given(data=st.data())
def test_whatever_a_host_signs_is_checked_to_its_end(export: Path, data: st.DataObject) -> None:
    """With its key a host can make a log of anything; the verifier answers all the same."""
    right = [(export / name).read_bytes() for name in (*FILES, "manifest.json")]
    leaves = read_log(export)
    k = data.draw(st.integers(0, len(leaves) - 1))
    path = data.draw(st.sampled_from([(), *paths_of(leaves[k])]))
    leaves[k] = replaced(leaves[k], path, data.draw(st.sampled_from(HOSTILE)))
    try:
        rewrite_log(export, leaves)
        findings(export)
    finally:
        for name, content in zip((*FILES, "manifest.json"), right, strict=True):
            (export / name).write_bytes(content)


@EXAMPLES
@given(data=st.data())
def test_any_field_of_a_leaf_is_found_when_changed_with_its_hash(export: Path, data: st.DataObject) -> None:
    right = read_lines(export / "leaves.jsonl")
    k = data.draw(st.integers(0, len(right) - 1))
    path, leaf = data.draw(changed(json.loads(right[k])["leaf"]))
    try:
        mended = record(k, leaf)
    except (rfc8785.CanonicalizationError, TypeError):
        mended = right[k]  # what has no canonical form has no hash either
    assume(mended != right[k])
    try:
        write_lines(export / "leaves.jsonl", [*right[:k], mended, *right[k + 1 :]])
        assert any("do not have the signed root" in text for text in findings(export)), (k, path)
    finally:
        write_lines(export / "leaves.jsonl", right)


@EXAMPLES
@given(data=st.data())
def test_any_member_of_the_manifest_is_found_when_changed(export: Path, data: st.DataObject) -> None:
    right = (export / "manifest.json").read_text()
    path, damaged = data.draw(changed(json.loads(right)))
    try:
        (export / "manifest.json").write_text(json.dumps(damaged))
        assert findings(export), (path, damaged)
    finally:
        (export / "manifest.json").write_text(right)


@EXAMPLES
@given(data=st.data())
def test_any_record_is_found_when_dropped_duplicated_or_moved(export: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FILES)))
    right = read_lines(export / name)
    k, other = (data.draw(st.integers(0, len(right) - 1)) for _ in range(2))
    what = data.draw(st.sampled_from(["drop", "duplicate", "move", "swap", "replace"]))
    lines = right.copy()
    if what == "drop":
        del lines[k]
    elif what == "duplicate":
        lines.insert(other, lines[k])
    elif what == "move":
        lines.insert(other, lines.pop(k))
    elif what == "swap":
        lines[k], lines[other] = lines[other], lines[k]
    else:
        lines[k] = lines[other]
    assume(lines != right)
    try:
        write_lines(export / name, lines)
        assert findings(export), (name, what, k, other)
    finally:
        write_lines(export / name, right)


def test_every_bit_of_a_signature_is_found_when_changed(export: Path) -> None:
    """The last character of base64 has bits that decoding ignores; they count too."""
    right = read_lines(export / "checkpoints.jsonl")
    note = json.loads(right[0])["note"]
    start = note.rindex(" ") + 1
    for at in range(start, len(note)):
        for bit in range(6):
            damaged = note[:at] + chr(ord(note[at]) ^ (1 << bit)) + note[at + 1 :]
            line = other_bytes({**json.loads(right[0]), "note": damaged})
            write_lines(export / "checkpoints.jsonl", [line, *right[1:]])
            key = verify.Key.read(verify.read_manifest(export)["key"])
            with pytest.raises(verify.Wrong, match="checkpoint 0"):
                verify.read_checkpoints(export, key)


def test_line_that_nobody_of_the_log_signed_is_found_beneath_a_checkpoint(export: Path) -> None:
    right = read_lines(export / "checkpoints.jsonl")
    first = json.loads(right[0])
    stranger = Signer(bytes(32)).sign(first["note"].rpartition("\n\n")[0] + "\n").rpartition("\n\n")[2]
    line = other_bytes({**first, "note": first["note"] + stranger})
    write_lines(export / "checkpoints.jsonl", [line, *right[1:]])
    assert "checkpoint 0" in findings(export)[0]


def test_witness_beneath_a_checkpoint_that_was_kept_is_no_fault(export: Path) -> None:
    note = json.loads(read_lines(export / "checkpoints.jsonl")[0])["note"]
    witnessed = note + Signer(bytes(32)).sign(note.rpartition("\n\n")[0] + "\n").rpartition("\n\n")[2]
    assert [str(w) for w in verify.verify(export, kept=[witnessed]).findings] == []


def test_bytes_behind_the_last_record_are_found(export: Path) -> None:
    for name in FILES:
        right = (export / name).read_bytes()
        for more in (b"\n", b" ", b"{}\n", b"\x00"):
            write_lines(export / name, [])
            (export / name).write_bytes(right + more)
            assert findings(export), (name, more)
        write_lines(export / name, right.split(b"\n")[:-1])
    assert findings(export) == []
