"""The offline verifier finds nothing in a right export, and every change of a single record."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.transparency.arena_log import write_arena_log
from tests.transparency.conftest import Append, takedown
from tests.transparency.forge import read_lines, read_log, record, rewrite_log, write_lines
from webapp.transparency import verify
from webapp.transparency.services import public_key, sequence_entries, sign_receipt


@pytest.fixture(autouse=True)
def _one_key(settings: Any) -> None:
    settings.LOG_KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test of the module puts the export that all of them read."""
    return tmp_path_factory.mktemp("written") / "export"


@pytest.fixture
def export(written: Path, tmp_path: Path, db: None) -> Path:
    """A copy of one right export, to be damaged."""
    if not written.exists():
        write_arena_log(n_battles=16)
        call_command("export_log", str(written), stdout=io.StringIO())
    return Path(shutil.copytree(written, tmp_path / "export"))


def found(folder: Path, **more: Any) -> list[str]:
    return [str(wrong) for wrong in verify.verify(folder, **more).findings]


def test_verifier_finds_nothing_when_the_export_is_right(export: Path) -> None:
    report = verify.verify(export)
    assert [str(w) for w in report.findings] == []
    arena = {"policy", "contestant", "roster_change", "epoch", "draw", "vote", "close", "exclude", "include"}
    others = {"corpus", "index", "takedown", "opt_out", "overlap"}
    assert report.replay.kinds.keys() == arena | {"reveal", "board", "release"} | others


@pytest.mark.django_db
def test_verifier_finds_nothing_when_a_longer_log_is_right(tmp_path: Path) -> None:
    write_arena_log(seed=1, n_battles=70)
    call_command("export_log", str(tmp_path / "e"), stdout=io.StringIO())
    assert found(tmp_path / "e") == []


@pytest.mark.django_db
def test_verifier_finds_nothing_when_releases_of_real_votes_withhold_the_newest(tmp_path: Path) -> None:
    write_arena_log(seed=2, n_battles=30, simulated=False)
    call_command("export_log", str(tmp_path / "export"), stdout=io.StringIO())
    report = verify.verify(tmp_path / "export")
    assert [str(w) for w in report.findings] == []
    told = [(r["n_votes"], r["n_withheld"]) for r in report.replay.seasons["s1"].releases.values()]
    n = len(report.replay.seasons["s1"].votes) - 1  # one came after the last release
    assert told[0][1] > 0
    assert told[1] == (n - n // 10, n // 10)
    assert told[2] == told[0]


def test_verifier_runs_alone_when_copied_elsewhere(export: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copyfile(export / "verify.py", elsewhere / "v.py")
    command = [sys.executable, "-I", str(elsewhere / "v.py"), str(export)]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Nothing is wrong." in done.stdout


def test_verifier_needs_only_the_standard_library_and_cryptography_when_imported() -> None:
    code = (
        "import sys; before = set(sys.modules); import webapp.transparency.verify\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)\n"
        "print(sorted(name for name in new if not name.startswith('_')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout.replace("'", '"'))) <= {"webapp", "cryptography", "typing_extensions"}


# --- a single record changed, dropped, duplicated or moved by somebody without the key ---

FILES = pytest.mark.parametrize(("name", "word"), [("leaves.jsonl", "leaf"), ("checkpoints.jsonl", "checkpoint")])


def _first(folder: Path, name: str, lines: list[bytes]) -> str:
    write_lines(folder / name, lines)
    return next(iter(found(folder)), "nothing found")


@FILES
def test_every_record_is_named_when_dropped(export: Path, name: str, word: str) -> None:
    lines = read_lines(export / name)
    for k in range(len(lines)):
        first = _first(export, name, lines[:k] + lines[k + 1 :])
        last_checkpoint = word == "checkpoint" and k == len(lines) - 1
        expected = "is covered by no checkpoint" if last_checkpoint else f"{word} {k}: "
        assert expected in first, (k, first)


@FILES
def test_every_record_is_named_when_duplicated(export: Path, name: str, word: str) -> None:
    lines = read_lines(export / name)
    for k in range(len(lines)):
        for copied in ([*lines[:k], lines[k], *lines[k:]], [*lines, lines[k]]):
            first = _first(export, name, copied)
            place = len(copied) - 1 if copied[-1] == lines[k] and copied[k : k + 2] != [lines[k]] * 2 else k + 1
            said = "is missing; in its place stands" if word == "leaf" else "the record holds checkpoint"
            assert first.startswith(f"{word} {place}: {said} {k}"), (k, first)


@FILES
def test_every_record_is_named_when_moved(export: Path, name: str, word: str) -> None:
    lines = read_lines(export / name)
    chance = random.Random(5)
    for k in range(len(lines)):
        other = chance.choice([i for i in range(len(lines)) if i != k])
        moved = lines.copy()
        moved.insert(other, moved.pop(k))
        first = _first(export, name, moved)
        assert first.startswith(f"{word} {min(k, other)}: "), (k, other, first)


@FILES
def test_every_record_is_named_when_a_character_changes(export: Path, name: str, word: str) -> None:
    lines = read_lines(export / name)
    chance = random.Random(7)
    for k, line in enumerate(lines):
        for _ in range(3):
            at = chance.randrange(len(line))
            changed = line[:at] + bytes([line[at] ^ (1 << chance.randrange(7))]) + line[at + 1 :]
            if b"\n" in changed or changed == line:
                continue
            first = _first(export, name, [*lines[:k], changed, *lines[k + 1 :]])
            assert first.startswith(f"{word} {k}: "), (k, at, changed, first)


def test_every_leaf_is_found_when_changed_together_with_its_hash(export: Path) -> None:
    lines = read_lines(export / "leaves.jsonl")
    sizes = [json.loads(line)["tree_size"] for line in read_lines(export / "checkpoints.jsonl")]
    for k, leaf in enumerate(read_log(export)):
        leaf["at"] = leaf["at"][:-2] + ("1Z" if leaf["at"][-2] != "1" else "2Z")
        write_lines(export / "leaves.jsonl", [*lines[:k], record(k, leaf), *lines[k + 1 :]])
        start = max([size for size in sizes if size <= k], default=0)
        end = min(size for size in sizes if size > k) - 1
        between = f"leaves {start} to {end} do" if end > start else f"leaves {end} do"
        assert any(between in text for text in found(export)), k


def test_every_member_of_the_manifest_is_found_when_changed(export: Path) -> None:
    manifest = json.loads((export / "manifest.json").read_text())
    changes: list[dict[str, Any]] = [
        {"n_leaves": manifest["n_leaves"] - 1},
        {"n_checkpoints": 0},
        {"files": {**manifest["files"], "leaves.jsonl": "0" * 64}},
        {"key": verify_key_of_another()},
    ]
    for change in changes:
        (export / "manifest.json").write_text(json.dumps({**manifest, **change}))
        assert found(export), change


def verify_key_of_another() -> str:
    from webapp.transparency.notes import Signer

    return Signer(bytes(32)).verifier.to_text()


# --- the host itself lies: its leaves are signed anew, and still contradict each other ---

Leaves = list[dict[str, Any]]
Lie = Callable[[Leaves], int]


def _where(leaves: Leaves, kind: str, number: int = 0, **body: Any) -> int:
    fits = [
        index
        for index, leaf in enumerate(leaves)
        if leaf["kind"] == kind and all(leaf["body"].get(name) == value for name, value in body.items())
    ]
    return fits[number]


def _set(kind: str, number: int = 0, /, *, pick: dict[str, Any] | None = None, **changes: Any) -> Lie:
    """Change fields of a leaf; a callable makes the new value of the old one."""

    def lie(leaves: Leaves) -> int:
        index = _where(leaves, kind, number, **(pick or {}))
        body = leaves[index]["body"]
        for name, change in changes.items():
            body[name] = change(body[name]) if callable(change) else change
        return index

    return lie


def _drop(kind: str, number: int = 0, /, **pick: Any) -> Lie:
    def lie(leaves: Leaves) -> int:
        index = _where(leaves, kind, number, **pick)
        leaves[index] = {**leaves[index], "kind": "takedown", "body": takedown()}
        return -1

    return lie


def _rating(**changes: Callable[[Any], Any]) -> Lie:
    def lie(leaves: Leaves) -> int:
        index = _where(leaves, "board")
        row = leaves[index]["body"]["ratings"][0]
        for name, change in changes.items():
            row[name] = change(row[name])
        return index

    return lie


def _move_vote_behind_its_close(leaves: Leaves) -> int:
    close = _where(leaves, "close", outcome="vote")
    vote = next(i for i, leaf in enumerate(leaves) if leaf["id"] == leaves[close]["body"]["vote"])
    leaves.insert(close, leaves.pop(vote))
    return close - 1


def _other_nonce(leaves: Leaves) -> int:
    index = _where(leaves, "draw")
    body = leaves[index]["body"]
    close = _where(leaves, "close", battle=body["battle"])
    reveal, epoch = (leaves[_where(leaves, kind)]["body"] for kind in ("reveal", "epoch"))
    seed = bytes.fromhex(reveal["seed"])
    right = verify.draw_number(seed, 0, bytes.fromhex(body["nonce"]), 1 << 32)
    for guess in range(100):
        nonce = bytes([guess]) * 16
        value, swap = verify.draw_number(seed, 0, nonce, 1 << 32)
        if swap != right[1] and abs(value - right[0]) > 1 << 20:
            body["nonce"] = nonce.hex()
            break
    assert epoch["epoch"] == body["epoch"] == 0
    return close


def _late_edit(leaves: Leaves) -> int:
    index = next(i for i, leaf in enumerate(leaves) if "supersedes" in leaf["body"])
    leaves[index]["at"] = "2099-01-01T00:00:00.000000Z"
    return index


def _never_published(leaves: Leaves) -> int:
    launch = _where(leaves, "roster_change", change="launched")
    del leaves[launch:]  # the variant stays private, and time goes on
    leaves.append({**leaves[_where(leaves, "exclude")], "id": "00000000-0000-0000-0000-000000000001"})
    leaves[-1]["body"] = {**leaves[-1]["body"], "exclusion": "00000000-0000-0000-0000-000000000002"}
    leaves[-1]["at"] = "2099-01-01T00:00:00.000000Z"
    return _where(leaves, "contestant", visibility="private")


def _same_entry_twice(leaves: Leaves) -> int:
    leaves.append(leaves[_where(leaves, "draw")])
    return len(leaves) - 1


def _hide_a_contestant(leaves: Leaves) -> int:
    index = _where(leaves, "board")
    body = leaves[index]["body"]
    body["ratings" if body["ratings"] else "unrankable"].pop()
    return index


def _of(kind: str, name: str, value: Any) -> Lie:
    def lie(leaves: Leaves) -> int:
        index = _where(leaves, kind)
        leaves[index][name] = value
        return index

    return lie


def _overlap(side: str, **changes: Callable[[int], int]) -> Lie:
    def lie(leaves: Leaves) -> int:
        index = _where(leaves, "overlap", outcome="measured")
        coverage = leaves[index]["body"][side]
        for name, change in changes.items():
            coverage[name] = change(coverage[name])
        return index

    return lie


def _move_overlap_before_its_close(leaves: Leaves) -> int:
    overlap = _where(leaves, "overlap")
    close = _where(leaves, "close", battle=leaves[overlap]["body"]["battle"])
    leaves.insert(close, leaves.pop(overlap))
    return close


def _overlap_twice(leaves: Leaves) -> int:
    overlap = _where(leaves, "overlap")
    leaves.insert(overlap + 1, {**leaves[overlap], "id": "z"})
    return overlap + 1


def _overlap_of_a_variant(leaves: Leaves) -> int:
    variant = leaves[_where(leaves, "contestant", visibility="private")]["body"]["contestant"]
    close = next(
        leaf["body"]
        for leaf in leaves
        if leaf["kind"] == "close" and leaf["body"]["outcome"] == "vote" and variant in str(leaf["body"])
    )
    index = _where(leaves, "overlap", -1)  # after everything of the first epoch
    leaves[index]["body"]["battle"] = close["battle"]
    return index


def _controlled(**changes: Any) -> Lie:
    def lie(leaves: Leaves) -> int:
        index = next(
            i
            for i, leaf in enumerate(leaves)
            if leaf["kind"] == "board" and "overlap" in leaf["body"]["method"]["covariates"]
        )
        for name, change in changes.items():
            leaves[index]["body"][name] = change(leaves[index]["body"][name])
        return index

    return lie


def _without_column(leaves: Leaves) -> int:
    index = _where(leaves, "board")
    row = next(row for row in leaves[index]["body"]["ratings"] if row["n_overlap"])
    del row["overlap"]
    return index


def _without_any_column(leaves: Leaves) -> int:
    index = _where(leaves, "board")
    del leaves[index]["body"]["n_without_overlap"]
    for row in leaves[index]["body"]["ratings"]:
        row.pop("overlap", None)
        del row["n_overlap"]
    return index


def _up(text: str) -> str:
    return f"{float(text) + 0.01:.2f}"


LIES: dict[str, tuple[Lie, str]] = {
    "another version": (_of("draw", "v", 2), "not a leaf of format version 1"),
    "an unknown kind": (_of("exclude", "kind", "forget"), "unknown to this verifier"),
    "an entry twice": (_same_entry_twice, "stands in the log twice"),
    "a policy left out": (_set("policy", 1, version=3), "version 3 follows version 1"),
    "simulated votes made real": (_set("policy", 1, simulated=False), "between simulated and real"),
    "another artifact": (_set("contestant", artifact={"weights": "another"}), "does not have its digest"),
    "a contestant twice": (
        lambda leaves: _set("contestant", 1, contestant=leaves[_where(leaves, "contestant")]["body"]["contestant"])(
            leaves
        ),
        "registered twice",
    ),
    "a variant above the cap": (
        lambda leaves: [_set("policy", variant_cap=0)(leaves), _where(leaves, "contestant", visibility="private")][1],
        "the cap is 0",
    ),
    "a variant never published": (_never_published, "unpublished after 30 days"),
    "a launch without a board": (
        _set("roster_change", pick={"change": "launched"}, board="0" * 8 + "-0000-0000-0000-" + "0" * 12),
        "no board before it publishes",
    ),
    "a removal by no rule": (_set("roster_change", rule="because"), "does not have"),
    "a removal by an old policy": (_set("roster_change", -1, policy=1), "cites policy 1, in force is 2"),
    "a contestant kept from being drawn": (_set("epoch", roster=lambda r: r[1:]), "the roster is not that"),
    "votes kept from the weights": (_set("epoch", 1, n_votes=lambda n: n - 1), "votes count at tree size"),
    "hand-set weights": (_set("epoch", 1, weights_digest="0" * 64), "weight table does not recompute"),
    "another share for all": (
        lambda leaves: [
            _set("policy", 1, sampling=lambda s: {**s, "epsilon": "1/5"})(leaves),
            _where(leaves, "epoch", epoch=1),
        ][1],
        "weight table does not recompute",
    ),
    "an epoch left out": (_set("epoch", 1, epoch=2), "epoch 2 follows 1 epochs"),
    "a table from the future": (_set("epoch", tree_size=10**6), "lies after it"),
    "a draw hidden": (_drop("draw", 3), "follows 3 draws"),
    "a draw repeated": (_set("draw", 1, draw_index=0), "draw 0 of epoch 0 follows 1"),
    "another nonce": (_other_nonce, "draw 0 of epoch 0 gives"),
    "another seed": (_set("reveal", seed="0" * 64), "does not open the commitment"),
    "too few draws": (_set("reveal", n_draws=lambda n: n - 1), "draws, not"),
    "another voter": (_set("vote", voter="0" * 64), "not by the voter who asked"),
    "a vote over another": (_set("vote", 3, supersedes="0" * 8 + "-0000-0000-0000-" + "0" * 12), "does not supersede"),
    "a vote changed late": (_late_edit, "after more than 60 s"),
    "a vote after the reveal": (_move_vote_behind_its_close, "does not name the battle's last vote"),
    "a vote dropped": (
        lambda leaves: [
            _set("close", pick={"outcome": "vote"}, outcome="skip")(leaves),
        ][0],
        "closes a battle that has a vote as skip",
    ),
    "a verdict turned": (
        lambda leaves: [_set("vote", -2, verdict=lambda v: "b" if v == "a" else "a")(leaves), -1][1],
        "",
    ),
    "a battle closed twice": (
        lambda leaves: [leaves.insert(30, {**leaves[_where(leaves, "close")], "id": "x"}), 30][1],  # type: ignore[func-returns-value]
        "was closed by leaf",
    ),
    "a battle never closed": (_drop("close", 2), "is not closed"),
    "sides swapped": (_set("close", swap=lambda s: not s), "do not fit the swap"),
    "another probability": (_set("close", probability="1/7"), "probability is"),
    "a pair from elsewhere": (_set("close", side_a="0" * 8 + "-0000-0000-0000-" + "0" * 12), "not on the epoch's"),
    "an exclusion by no rule": (_set("exclude", rule="dislike"), "does not have"),
    "an exclusion hidden": (_drop("exclude"), "votes"),
    "an exclusion ended twice": (
        lambda leaves: [leaves.append({**leaves[_where(leaves, "include")], "id": "y"}), len(leaves) - 1][1],  # type: ignore[func-returns-value]
        "was ended by leaf",
    ),
    "a rating raised": (_rating(rating=_up), "rating of"),
    "an interval narrowed": (_rating(lower=_up), "lower of"),
    "an interval moved": (_rating(upper=_up), "upper of"),
    "a rank improved": (_rating(rank_low=lambda r: r + 1), "rank_low of"),
    "votes made up": (_rating(n_votes=lambda n: n + 1), "n_votes of"),
    "a contestant hidden": (_hide_a_contestant, "should rank exactly|is "),
    "more covered than there is": (_overlap("a", covered=lambda n: n + 1000), "characters of side a are covered"),
    "fewer covered than none": (_overlap("b", covered=lambda n: -1), "characters of side b are covered"),
    "half a character covered": (_overlap("b", covered=lambda n: f"{n}"), "is no whole number"),
    "another answer measured": (_overlap("a", characters=lambda n: n + 1), "characters, not"),
    "an overlap before the close": (_move_overlap_before_its_close, "is not closed with a vote"),
    "an overlap measured again": (_overlap_twice, "already"),
    "an overlap of a variant": (_overlap_of_a_variant, "a private variant took part"),
    "an overlap by other settings": (_set("overlap", settings="0" * 64), "not measured with the settings"),
    "settings changed behind the votes": (
        lambda leaves: [_set("policy", overlap={"min_length_tokens": 9})(leaves), _where(leaves, "overlap")][1],
        "not measured with the settings",
    ),
    "an overlap neither measured nor not": (_set("overlap", outcome="guessed"), "is unknown"),
    "an overlap measured and not": (
        _set("overlap", pick={"outcome": "measured"}, outcome="unmeasured"),
        "says what was measured and why it was not",
    ),
    "an overlap of a simulated answer in an index": (
        _set("overlap", pick={"outcome": "measured"}, indexes=[{"corpus": "wiki", "index": "6" * 64}]),
        "a simulated one in none",
    ),
    "an overlap kept back": (_drop("overlap", outcome="measured"), "have no measured overlap"),
    "a share raised": (_rating(overlap=lambda s: f"{float(s) + 0.0002:.4f}"), "overlap of"),
    "a share rounded away": (_rating(overlap=lambda s: s[:4]), "overlap of"),
    "shares made up": (_rating(n_overlap=lambda n: n + 1), "overlap of"),
    "a share hidden": (_without_column, "overlap of"),
    "all shares hidden": (_without_any_column, "have no measured overlap"),
    "votes without overlap unsaid": (_set("board", n_without_overlap=lambda n: n + 1), "have no measured overlap"),
    "overlap controlled for and not said": (
        _controlled(method=lambda m: {**m, "covariates": ["characters"]}),
        "its input has",
    ),
    "overlap said and not controlled for": (_controlled(method=lambda m: {**m, "covariates": ["overlap"]}), " is "),
    "another order": (_set("board", ratings=lambda rows: rows[::-1]), "best first"),
    "another gate": (_set("board", method=lambda m: {**m, "min_votes": 1}), "min_votes is 1; policy 1 says 3"),
    "another level": (_set("board", method=lambda m: {**m, "level": "0.5"}), "level is 0.5; policy 1 says 0.95"),
    "another input": (_set("board", input_digest="0" * 64), "does not have its digest"),
    "fewer votes": (_set("board", n_votes=lambda n: n - 1), "its input has"),
    "early votes counted": (
        lambda leaves: _set(
            "board", pre_release=[leaves[_where(leaves, "contestant", visibility="private")]["body"]["contestant"]]
        )(leaves),
        "its input has",
    ),
    "both bad left out unsaid": (_set("board", both_bad=False), "its input has"),
    "another policy": (_set("board", policy=2), "which was not in force"),
    "verdicts kept back": (_set("release", 1, n_votes=lambda n: n - 1, n_withheld=1), "tells the verdicts below"),
    "a release of later verdicts": (_set("release", votes_size=lambda n: n + 1), "tells the verdicts below"),
    "a release from the future": (_set("release", tree_size=10**6), "lies after it"),
    "other files in a release made again": (
        _set("release", 2, files={"more.jsonl": "a" * 64}),
        "differs in more.jsonl",
    ),
    "a release made again that tells more": (_set("release", 2, n_votes=lambda n: n + 1), "differs in n_votes"),
    "no digest of a file": (_set("release", files={"votes.jsonl": "ab"}), "is not one"),
}


@pytest.mark.parametrize("name", LIES)
def test_host_is_found_out_when_it_signs(export: Path, name: str) -> None:
    lie, text = LIES[name]
    leaves = read_log(export)
    index = lie(leaves)
    rewrite_log(export, leaves)
    report = verify.verify(export)
    first = report.findings[0]
    assert index in (-1, first.leaf), [str(w) for w in report.findings][:3]
    assert any(part in str(w) for w in report.findings for part in text.split("|")), [str(w) for w in report.findings]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda found: [], "at least one index"),
        (lambda found: [{**found[0], "index": "5" * 64}], "was not registered"),
        (lambda found: [{**found[0], "corpus": "another"}], "was not registered"),
        (lambda found: found * 2, "stands twice"),
    ],
)
@pytest.mark.django_db
def test_index_that_nobody_registered_is_found_when_people_voted(
    tmp_path: Path, change: Callable[[list[Any]], list[Any]], text: str
) -> None:
    write_arena_log(seed=2, n_battles=12, simulated=False)
    call_command("export_log", str(tmp_path / "e"), stdout=io.StringIO())
    leaves = read_log(tmp_path / "e")
    index = _set("overlap", pick={"outcome": "measured"}, indexes=change)(leaves)
    rewrite_log(tmp_path / "e", leaves)
    first = verify.verify(tmp_path / "e").findings[0]
    assert first.leaf == index
    assert text in str(first)


def test_log_as_rewritten_is_right_when_nothing_was_changed(export: Path) -> None:
    rewrite_log(export, read_log(export))
    assert found(export) == []


# --- what a reader kept ---


def test_another_history_is_found_when_a_checkpoint_was_kept(export: Path) -> None:
    notes = [json.loads(line)["note"] for line in read_lines(export / "checkpoints.jsonl")]
    assert found(export, kept=notes) == []
    leaves = read_log(export)
    leaves[0]["at"] = "2026-01-01T00:00:00.000000Z"
    rewrite_log(export, leaves)
    assert found(export) == []
    assert any("leaves 0 to 9 do not have the signed root" in text for text in found(export, kept=notes[:1]))
    assert any("has another root" in text for text in found(export, kept=notes[-1:]))
    forged = notes[1].replace("\n", "\n1", 1)  # another tree size
    assert any("the signature does not hold" in text for text in found(export, kept=[forged]))


def test_another_key_is_found_when_the_key_was_kept(export: Path) -> None:
    assert found(export, pinned=public_key().to_text()) == []
    assert "not the one given" in found(export, pinned=verify_key_of_another())[0]


def _receipt(export: Path, **changes: Any) -> str:
    leaves = read_log(export)
    draw = leaves[_where(leaves, "draw")]
    epoch = leaves[_where(leaves, "epoch")]["body"]
    committed = {name: epoch[name] for name in ("seed_commitment", "weights_digest")}
    return sign_receipt({**draw["body"], "entry": draw["id"], "at": draw["at"], **committed, **changes})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"nonce": "00" * 16}, "differs from the receipt in nonce"),
        ({"at": "2026-01-01T00:00:00.000000Z"}, "differs from the receipt in at"),
        ({"seed_commitment": "0" * 64}, "differs from the receipt in seed_commitment"),
        ({"entry": "0" * 8 + "-0000-0000-0000-" + "0" * 12}, "is not in the log"),
    ],
)
def test_receipt_is_held_against_the_log(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], problem: str
) -> None:
    file = tmp_path / "receipt"
    file.write_text(_receipt(export, **changes))
    assert verify.main([str(export), "--receipt", str(file)]) == (1 if problem else 0)
    assert (problem or "receipt receipt: leaf ") in capsys.readouterr().out


def test_forged_receipt_is_refused(export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "receipt"
    file.write_text(_receipt(export).replace('"draw_index":0', '"draw_index":1'))
    assert verify.main([str(export), "--receipt", str(file)]) == 1
    assert "the signature does not hold" in capsys.readouterr().out


# --- the command line and the command ---


def test_exit_status_is_2_when_there_is_nothing_to_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([str(tmp_path)]) == 2
    assert "manifest.json: No such file" in capsys.readouterr().err
    (tmp_path / "manifest.json").write_text('{"format": "other-1"}')
    assert verify.main([str(tmp_path)]) == 2
    assert "format 'other-1' is unknown" in capsys.readouterr().err


def test_exit_status_is_1_when_something_is_wrong(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = read_lines(export / "leaves.jsonl")
    write_lines(export / "leaves.jsonl", lines[:5] + lines[6:])
    assert verify.main([str(export)]) == 1
    assert capsys.readouterr().out.startswith("WRONG leaf 5: is missing")


@pytest.mark.django_db
def test_export_is_refused_when_the_folder_holds_something_else(append: Append, tmp_path: Path) -> None:
    append()
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(CommandError, match="holds something else"):
        call_command("export_log", str(folder))
    assert [p.name for p in folder.iterdir()] == ["notes.txt"]


@pytest.mark.django_db
def test_export_is_refused_when_the_log_is_empty(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no checkpoint yet"):
        call_command("export_log", str(tmp_path))


@pytest.mark.django_db
def test_export_is_renewed_when_the_log_has_grown(append: Append, tmp_path: Path) -> None:
    for n in (1, 2):
        append(n)
        call_command("export_log", str(tmp_path / "e"), stdout=io.StringIO())
    assert found(tmp_path / "e") == []
    assert len(read_lines(tmp_path / "e" / "leaves.jsonl")) == 3
    manifest = json.loads((tmp_path / "e" / "manifest.json").read_text())
    content = (tmp_path / "e" / "leaves.jsonl").read_bytes()
    assert manifest["files"]["leaves.jsonl"] == hashlib.sha256(content).hexdigest()
    assert sequence_entries() is None
