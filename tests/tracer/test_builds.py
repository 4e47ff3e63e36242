"""Indexes built shard by shard: equal to one built at once, resumable, and nothing half-registered."""

from __future__ import annotations

import errno
import gzip
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import zstandard
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from tests.looks import later
from tests.tracer.conftest import tokenizer_path
from tracer import build_progress, builds, corpus_store, services
from tracer.engine import IndexReader, build_index, read_slice, validate_index
from tracer.engine.build import Stage
from tracer.engine.layout import PARTS
from tracer.models import Corpus, Index, IndexBuild, ShardBuild
from webapp import queueing
from webapp.errors import BadInputError, FairgroundError
from webapp.jobs import JobStatus

__all__ = ["tokenizer_path"]
pytestmark = pytest.mark.django_db
ABOUT = {"owner": "The Fair", "licence": "CC0-1.0", "title": "Fair texts"}
TEXTS = [f"Carousel number {i} turns {'round and ' * (i % 7)}round. 🎠" for i in range(60)]


def _line(number: int, **more: Any) -> str:
    return json.dumps({"id": f"doc-{number}", "text": TEXTS[number], **more}, ensure_ascii=False) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Dolma's layout: three files in two folders, plain, gzip and zstd in two frames."""
    root = tmp_path / "texts"
    (root / "more").mkdir(parents=True)
    lines = [_line(i, source="web", metadata={"url": f"https://fair.example/{i}"}) for i in range(60)]
    (root / "a.jsonl").write_text("".join(lines[:20]), encoding="utf-8")
    (root / "b.json.gz").write_bytes(gzip.compress("".join(lines[20:40]).encode()))
    frames = [zstandard.compress("".join(part).encode()) for part in (lines[40:50], lines[50:])]
    (root / "more" / "c.jsonl.zst").write_bytes(b"".join(frames))
    (root / "README.md").write_text("no corpus file")
    return root


@pytest.fixture
def corpus(folder: Path) -> Corpus:
    return services.add_corpus(slug="fair", file=folder, **ABOUT)


def _texts(index: Index) -> dict[str, str]:
    return {document.key: document.text for document in IndexReader.open(index.folder).documents()}


def test_a_folder_of_all_kinds_of_files_is_one_corpus(corpus: Corpus, tokenizer_path: Path) -> None:
    assert (corpus.n_documents, len(corpus.files)) == (60, 3)
    build = builds.start_build(slug="fair", tokenizer=tokenizer_path, n_shards=4)
    index = builds.run_build(build)
    validate_index(index.folder)
    assert _texts(index) == {f"doc-{i}": text for i, text in enumerate(TEXTS)}
    document = next(IndexReader.open(index.folder).documents())
    assert document.metadata == {"source": "web", "url": "https://fair.example/0"}
    assert not build.folder.exists()


@pytest.mark.parametrize("n_shards", [1, 3, 7])
def test_shards_are_the_slices_built_each_alone(
    corpus: Corpus, tokenizer_path: Path, tmp_path: Path, n_shards: int
) -> None:
    index = builds.run_build(builds.start_build(slug="fair", tokenizer=tokenizer_path, n_shards=n_shards))
    parts = corpus_store.corpus_parts(corpus)
    for shard, (begin, end) in enumerate(corpus_store.split(parts, n_shards)):
        alone = tmp_path / f"alone-{shard}"
        build_index([document for document, _ in read_slice(parts, begin, end)], alone, tokenizer_path)
        for part in PARTS:
            assert (alone / f"{part}.0").read_bytes() == (index.folder / f"{part}.{shard}").read_bytes()


def test_the_same_corpus_gives_the_same_index_by_every_way(corpus: Corpus, tokenizer_path: Path) -> None:
    one = builds.run_build(builds.start_build(slug="fair", tokenizer=tokenizer_path, n_shards=3))
    assert services.build_corpus_index(slug="fair", tokenizer=tokenizer_path, n_shards=3).pk == one.pk


def test_slices_share_no_document_and_leave_none_out(corpus: Corpus) -> None:
    parts = corpus_store.corpus_parts(corpus)
    whole = [document.id for document, _ in read_slice(parts, 0, 10**9)]
    n_bytes = sum(part.n_bytes for part in parts)
    for n_slices in (1, 2, 5, 59, n_bytes):
        edges = [n_bytes * i // n_slices for i in range(n_slices + 1)]
        if n_slices == n_bytes:
            edges = edges[1000:1400]  # every byte for a while
        found = [d.id for i in range(len(edges) - 1) for d, _ in read_slice(parts, edges[i], edges[i + 1])]
        expected = [document.id for document, _ in read_slice(parts, edges[0], edges[-1])]
        assert found == expected
        assert n_slices == n_bytes or found == whole


def test_a_glob_and_files_left_in_place(folder: Path, tokenizer_path: Path) -> None:
    corpus = services.add_corpus(slug="fair", file=folder / "*.json*", in_place=True, **ABOUT)
    assert [Path(entry["path"]).name for entry in corpus.files] == ["a.jsonl", "b.json.gz"]
    assert not (Path(settings.DATA_DIR) / "corpora").exists()
    assert len(_texts(builds.run_build(builds.start_build(slug="fair", tokenizer=tokenizer_path)))) == 40
    (folder / "a.jsonl").write_text(_line(3))
    with pytest.raises(BadInputError, match=r"a\.jsonl is gone or has changed"):
        builds.start_build(slug="fair", tokenizer=tokenizer_path)


def test_documents_without_an_id_are_named_by_file_and_line(folder: Path, tokenizer_path: Path) -> None:
    (folder / "more" / "c.jsonl.zst").unlink()
    for name in ("a.jsonl", "more/d.jsonl"):
        (folder / name).write_text('{"text": "One."}\n\n{"text": "Two."}\n')
    (folder / "b.json.gz").unlink()
    services.add_corpus(slug="fair", file=folder, **ABOUT)
    index = builds.run_build(builds.start_build(slug="fair", tokenizer=tokenizer_path, n_shards=2))
    assert list(_texts(index)) == ["a.jsonl:0", "a.jsonl:2", "more/d.jsonl:0", "more/d.jsonl:2"]


def test_what_cannot_be_a_corpus_is_refused_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such file"):
        services.add_corpus(slug="fair", file=tmp_path / "none", **ABOUT)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="no folder or pattern"):
        services.add_corpus(slug="fair", file=tmp_path / "empty", **ABOUT)
    (folder / "z.jsonl").write_text(_line(5))
    with pytest.raises(BadInputError, match=r"z\.jsonl: the id 'doc-5' stands twice"):
        services.add_corpus(slug="fair", file=folder, **ABOUT)
    (folder / "z.jsonl").write_text('{"text": 1}\n')
    with pytest.raises(BadInputError, match=r"z\.jsonl, line 1"):
        services.add_corpus(slug="fair", file=folder, **ABOUT)
    assert not Corpus.objects.exists()
    assert not (Path(settings.DATA_DIR) / "corpora").exists()


def test_bad_values_are_refused(corpus: Corpus, tokenizer_path: Path) -> None:
    for values, reason in (
        ({"tokenizer": tokenizer_path, "n_shards": 61}, "cannot fill 61 shards"),
        ({"tokenizer": tokenizer_path, "n_shards": -1}, "from 1 to 1024"),
        ({"tokenizer": Path("none.json")}, "no tokenizer file"),
        ({"tokenizer": tokenizer_path, "folds_case": True}, "Only an index of bytes"),
    ):
        with pytest.raises(BadInputError, match=reason):
            builds.start_build(slug="fair", **values)
    assert not IndexBuild.objects.exists()


def test_progress_tells_shards_bytes_and_time_left(corpus: Corpus, tokenizer_path: Path) -> None:
    build = builds.start_build(slug="fair", tokenizer=tokenizer_path, n_shards=4)
    assert build_progress.state_of(build) == build_progress.BuildState(0, 0, 0, 0.0, None)
    first, second = build.shards.all()[:2]
    builds.run_shard(first.pk)
    build.refresh_from_db()
    state = build_progress.state_of(build)
    assert (state.n_shards_done, state.n_bytes_done) == (1, first.end)
    assert state.fraction == pytest.approx(first.end / build.n_bytes)
    IndexBuild.objects.filter(pk=build.pk).update(started_at=timezone.now() - timedelta(seconds=100))
    ShardBuild.objects.filter(pk=second.pk).update(n_bytes_done=second.end - second.begin, stage=Stage.SORTING)
    state = build_progress.state_of(builds.get_build(build.pk))
    assert state.fraction == pytest.approx(3 / 8, rel=0.01)
    assert state.seconds_left == pytest.approx(100 * 5 / 3, rel=0.02)
    assert "1 of 4 shards" in build_progress.progress_line(builds.get_build(build.pk))
    assert "about 3 min left" in build_progress.progress_line(builds.get_build(build.pk))


def test_a_shard_that_is_taken_or_done_is_left_alone(corpus: Corpus, tokenizer_path: Path) -> None:
    build = builds.start_build(slug="fair", tokenizer=tokenizer_path, n_shards=2)
    taken = build.shards.first()
    assert taken is not None
    ShardBuild.objects.filter(pk=taken.pk).update(status=JobStatus.RUNNING, n_starts=1)
    builds.run_shard(taken.pk)
    taken.refresh_from_db()
    assert (taken.status, taken.n_starts) == (JobStatus.RUNNING, 1)
    assert not (build.folder / "shard-0").exists()


def test_a_shard_whose_worker_died_is_built_by_another(corpus: Corpus, tokenizer_path: Path, settings: Any) -> None:
    settings.STALE_AFTER_S = 0.1
    build = builds.start_build(slug="fair", tokenizer=tokenizer_path, n_shards=2)
    dead = build.shards.first()
    assert dead is not None
    long_ago = timezone.now() - timedelta(hours=1)
    ShardBuild.objects.filter(pk=dead.pk).update(status=JobStatus.RUNNING, n_starts=1, heartbeat_at=long_ago)
    (build.folder / f".shard-{dead.number}-dead").mkdir()
    (build.folder / f".shard-{dead.number}-dead" / "tokenized.0").write_bytes(b"half")
    index = builds.run_build(build)
    assert len(_texts(index)) == 60
    dead.refresh_from_db()
    assert (dead.status, dead.n_starts) == (JobStatus.DONE, 2)


def test_a_shard_that_killed_two_workers_fails_the_build(corpus: Corpus, tokenizer_path: Path, settings: Any) -> None:
    settings.STALE_AFTER_S = 0.1
    build = builds.start_build(slug="fair", tokenizer=tokenizer_path, n_shards=2)
    long_ago = timezone.now() - timedelta(hours=1)
    build.shards.filter(number=1).update(status=JobStatus.RUNNING, n_starts=2, heartbeat_at=long_ago)
    with pytest.raises(FairgroundError, match=r"Shard 1 ended its worker 2 times.*more shards.*--resume"):
        builds.run_build(build)
    assert not Index.objects.exists()
    index = builds.run_build(builds.resume_build(build.pk))
    assert len(_texts(index)) == 60


def test_shards_without_a_sign_of_life_are_queued_again(
    corpus: Corpus, tokenizer_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    from tracer import tasks

    monkeypatch.setattr(
        queueing, "enqueue_on_commit", lambda task, pk: sent.append(str(pk)) if task is tasks.build_shard else None
    )
    build = builds.start_build(slug="fair", tokenizer=tokenizer_path, n_shards=3)
    first, second, third = (str(shard.pk) for shard in build.shards.all())
    long_ago = timezone.now() - timedelta(hours=1)
    build.shards.update(heartbeat_at=long_ago)
    ShardBuild.objects.filter(pk=second).update(status=JobStatus.RUNNING, heartbeat_at=timezone.now())
    assert builds.requeue_unfinished(older_than_s=60) == 0, "the queue moves: the others wait their turn"
    ShardBuild.objects.filter(pk=second).update(heartbeat_at=long_ago)
    assert builds.requeue_unfinished(older_than_s=60) == 0, "a step of the clock: it showed life meanwhile"
    with later(61):
        assert builds.requeue_unfinished(older_than_s=60) == 3
    assert sent == [first, second, third]


def test_an_interruption_while_joining_is_caught_up(
    corpus: Corpus, tokenizer_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tracer import registration

    build = builds.start_build(slug="fair", tokenizer=tokenizer_path, n_shards=2)

    class Killed(BaseException):
        """Stands for the end of the process at this point."""

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(registration, "register_folder", die)
        with pytest.raises(Killed):
            builds.run_build(build)
    assert not Index.objects.exists()
    builds.finish_build(build.pk)
    assert len(_texts(Index.objects.get())) == 60
    assert builds.get_build(build.pk).status == JobStatus.DONE


@contextmanager
def _no_room_above(n_bytes: int) -> Iterator[None]:
    """Let no file grow beyond `n_bytes`; the database is in memory, or a server's."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


FILL = """
import sys, errno
from pathlib import Path
from tracer.engine import CorpusDocument, EngineError, build_index, build_shard
from tracer.engine.tokens import IndexTokenizer
out, n = Path(sys.argv[1]), int(sys.argv[2])
try:
    documents = ((CorpusDocument(str(i), "round and round " * 40), i) for i in range(n))
    build_shard(documents, out / "shard-0", 0, IndexTokenizer(None))
except EngineError as error:
    print(error)
print(sorted(p.name for p in out.iterdir()))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
@pytest.mark.parametrize("n_documents", [2000, 300], ids=["while-reading", "while-sorting"])
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(tmp_path: Path, n_documents: int) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    script = tmp_path / "fill.py"
    script.write_text(FILL)
    command = (
        f'mount -t tmpfs -o size=512k tmpfs "{mount}" && exec "{sys.executable}" "{script}" "{mount}" {n_documents}'
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(
        ["unshare", "--mount", "--", "sh", "-c", command], capture_output=True, text=True, env=environment
    )
    if "mount" in done.stderr and "denied" in done.stderr:
        pytest.skip("this container may not mount")
    assert done.returncode == 0, done.stderr
    message, left = done.stdout.strip().splitlines()
    assert "There is no room in" in message
    assert "No space left on device" in message
    assert "resume the build" in message
    assert left == "[]"


@pytest.mark.parametrize("limit", [1000, 3000, 4600])
def test_a_build_that_cannot_write_on_is_resumed_and_never_half_registered(
    corpus: Corpus, tokenizer_path: Path, limit: int
) -> None:
    build = builds.start_build(slug="fair", tokenizer=tokenizer_path, n_shards=1)
    with _no_room_above(limit), pytest.raises(FairgroundError, match=r"There is no room in .* --resume") as caught:
        builds.run_build(build)
    assert os.strerror(errno.EFBIG) in str(caught.value)
    assert not Index.objects.exists()
    assert [p.name for p in build.folder.iterdir()] == ["tokenizer.json"]
    assert sorted(p.name for p in build.folder.parent.iterdir()) == [build.folder.name]
    index = builds.run_build(builds.resume_build(build.pk))
    assert len(_texts(index)) == 60


def test_a_discarded_build_leaves_nothing_and_stops_its_shards(corpus: Corpus, tokenizer_path: Path) -> None:
    build = builds.start_build(slug="fair", tokenizer=tokenizer_path, n_shards=2)
    first, second = build.shards.all()
    builds.run_shard(first.pk)
    builds.run_shard(second.pk, pulse=lambda: builds.discard_build(build.pk))
    second.refresh_from_db()
    assert second.status == JobStatus.CANCELLED
    assert not Index.objects.exists()
    assert not build.folder.exists()
    with pytest.raises(FairgroundError, match="was discarded"):
        builds.resume_build(build.pk)


def test_command_builds_resumes_and_refuses(
    corpus: Corpus, tokenizer_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("build_index", "fair", "--tokenizer", str(tokenizer_path), "--shards", "2")
    shown = capsys.readouterr()
    assert Index.objects.get(digest=shown.out.strip()).n_shards == 2
    assert "of 2 shards" in shown.err
    build = builds.start_build(slug="fair", tokenizer=tokenizer_path, n_shards=3)
    call_command("build_index", "--resume", str(build.pk))
    assert Index.objects.get(digest=capsys.readouterr().out.strip()).n_shards == 3
    with pytest.raises(CommandError, match="done already"):
        call_command("build_index", "--resume", str(build.pk))
    for arguments, reason in (
        ([], "Name a corpus"),
        (["fair", "--fold-case"], "needs --bytes"),
        (["fair", "--bytes", "--tokenizer", str(tokenizer_path)], "either"),
        (["none"], "no corpus"),
    ):
        with pytest.raises(CommandError, match=reason):
            call_command("build_index", *arguments)


def test_page_and_interface_tell_progress_and_hide_reasons_from_outsiders(
    corpus: Corpus, tokenizer_path: Path, client: Client
) -> None:
    build = builds.start_build(slug="fair", tokenizer=tokenizer_path, n_shards=4)
    builds.run_shard(build.shards.all()[0].pk)
    page = client.get("/corpora/fair/").content.decode()
    assert "1 of 4 shards done" in page
    assert 'hx-trigger="load delay:2s"' in page
    shown = client.get(f"/api/v1/builds/{build.pk}/").json()
    assert (shown["status"], shown["n_shards"], shown["n_shards_done"]) == ("running", 4, 1)
    assert 0 < shown["n_bytes_done"] < shown["n_bytes"]
    assert shown["seconds_left"] > 0
    assert shown["index"] is None
    assert client.get("/api/v1/corpora/fair/builds/").json()["results"] == [
        client.get(f"/api/v1/builds/{build.pk}/").json() | {"seconds_left": ANY}
    ]
    IndexBuild.objects.filter(pk=build.pk).update(status=JobStatus.FAILED, error="file secret.jsonl, line 3")
    assert "secret.jsonl" in client.get("/corpora/fair/").content.decode()
    services.change_disclosure(slug="fair", disclosure="snippet")
    for address in ("/corpora/fair/", f"/api/v1/builds/{build.pk}/", "/api/v1/corpora/fair/builds/"):
        assert "secret.jsonl" not in client.get(address).content.decode()
    assert "--resume" in client.get("/corpora/fair/").content.decode()
    index = builds.run_build(builds.resume_build(build.pk))
    assert client.get(f"/api/v1/builds/{build.pk}/").json()["index"] == index.digest
    assert client.get("/api/v1/corpora/none/builds/").status_code == 404
    assert client.get(f"/api/v1/builds/{'0' * 8}-0000-0000-0000-{'0' * 12}/").status_code == 404


def test_an_index_of_bytes_is_another_index_of_the_corpus(
    corpus: Corpus, tokenizer_path: Path, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("build_index", "fair", "--bytes", "--fold-case", "--shards", "2")
    folded = Index.objects.get(digest=capsys.readouterr().out.strip())
    builds.run_build(builds.start_build(slug="fair", tokenizer=tokenizer_path))
    page = client.get("/corpora/fair/").content.decode()
    assert "bytes, case folded, of 60 documents in 2 shards" in page
    assert "tokens of 60 documents in 1 shard" in page
    units = [index["unit"] for index in client.get("/api/v1/corpora/fair/").json()["indexes"]]
    assert sorted(units) == ["bytes, case folded", "tokens"]
    text = "CAROUSEL NUMBER 17 TURNS round"
    trace = services.request_trace(text=text, corpora=["fair"], parameters={"density": None})
    services.run_trace(trace.id)
    trace.refresh_from_db()
    assert trace.result["coverage"] == 1.0
    assert folded.digest in trace.result["corpora"][0]["indexes"]
    shown = client.get("/api/v1/documents/fair/doc-17/").json()
    assert shown["text"] == TEXTS[17], "documents are read from the index that keeps their case"
    services.take_down(corpus="fair", document="doc-17", reason="asked")
    again = services.request_trace(text=text, corpora=["fair"])
    services.run_trace(again.id)
    again.refresh_from_db()
    assert "fair/doc-17" not in {document["id"] for document in again.result["documents"]}
