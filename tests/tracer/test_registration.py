"""Indexes built elsewhere are registered where they lie; indexes no longer registered are closed."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from tests.tracer.conftest import SENTENCE, MakeCorpus
from tests.tracer.engine.conftest import MakeReader, make_reader
from tracer import registry, services
from tracer.models import Corpus, Index
from webapp.errors import BadInputError, ConflictError, NotFoundError
from webapp.jobs import JobStatus
from webapp.transparency.models import Entry

__all__ = ["make_reader"]
ABOUT = ["--owner", "The Fair", "--licence", "CC0-1.0", "--title", "From elsewhere"]


@pytest.fixture
def foreign(make_reader: MakeReader, tmp_path: Path) -> Path:
    """A folder without manifest, whose lines are the stock indexer's."""
    source = make_reader((SENTENCE, "Nothing else.")).folder
    (source / "manifest.json").unlink()
    (source / "tokenizer.json").unlink()
    places, lines = [], b""
    for number in range(2):
        places.append(len(lines))
        stored = {"path": "part/a.jsonl", "linenum": number, "metadata": {"title": f"Title {number}"}}
        lines += json.dumps(stored).encode() + b"\n"
    (source / "metadata.0").write_bytes(lines)
    (source / "metaoff.0").write_bytes(b"".join(place.to_bytes(8, "little") for place in places))
    return source


def test_command_makes_the_corpus_and_traces_in_the_foreign_index(
    db: None, foreign: Path, tokenizer_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("register_index", "elsewhere", str(foreign), "--tokenizer", str(tokenizer_path), *ABOUT)
    index = Index.objects.get(digest=capsys.readouterr().out.strip())
    assert (index.corpus.slug, index.corpus.n_documents, index.corpus.owner) == ("elsewhere", 2, "The Fair")
    assert Entry.objects.filter(kind="corpus", leaf__contains=index.digest).exists()
    trace = services.request_trace(text=SENTENCE)
    services.run_trace(trace.id)
    trace.refresh_from_db()
    assert trace.status == JobStatus.DONE
    assert trace.result["coverage"] > 0.9
    assert trace.result["documents"][0]["id"] == "elsewhere/part/a.jsonl:0"
    takedown = services.take_down(corpus="elsewhere", document="part/a.jsonl:0", reason="asked")
    assert takedown.document_key == "part/a.jsonl:0"


def test_damage_is_named_with_its_path_and_leaves_nothing(db: None, foreign: Path, tokenizer_path: Path) -> None:
    (foreign / "unigram.0").write_text("1 1\n")
    with pytest.raises(CommandError, match=rf"{foreign}/unigram.0: .*counts sum to 1 instead"):
        call_command("register_index", "elsewhere", str(foreign), "--tokenizer", str(tokenizer_path), *ABOUT)
    assert not Corpus.objects.exists()
    assert not list((Path(settings.DATA_DIR) / "indexes" / "elsewhere").glob("*"))


def test_what_is_missing_is_asked_for(make_corpus: MakeCorpus, foreign: Path, tokenizer_path: Path) -> None:
    make_corpus()
    with pytest.raises(BadInputError, match=r"--tokenizer tokenizer.json, or --bytes"):
        services.register_index(slug="fair", folder=foreign)
    with pytest.raises(BadInputError, match="no tokenizer file"):
        services.register_index(slug="fair", folder=foreign, tokenizer=foreign / "none.json")
    with pytest.raises(BadInputError, match="either"):
        services.register_index(slug="fair", folder=foreign, tokenizer=tokenizer_path, is_bytes=True)
    with pytest.raises(BadInputError, match="not of bytes"):
        services.register_index(slug="fair", folder=foreign, is_bytes=True)
    with pytest.raises(NotFoundError):
        services.register_index(slug="none", folder=foreign, tokenizer=tokenizer_path)
    with pytest.raises(CommandError, match="--owner, --licence and --title"):
        call_command("register_index", "new", str(foreign), "--owner", "Who")
    with pytest.raises(CommandError, match="Leave --owner"):
        call_command("register_index", "fair", str(foreign), "--tokenizer", str(tokenizer_path), *ABOUT)


def test_an_index_built_here_is_registered_again_by_its_manifest(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    index = make_corpus().indexes.get()
    folder = shutil.copytree(index.folder, tmp_path / "copy")
    Index.objects.filter(pk=index.pk).update(is_enabled=False)
    assert services.register_index(slug="fair", folder=folder).pk == index.pk
    index.refresh_from_db()
    assert index.is_enabled
    make_corpus("other", texts=("Other text.",))
    with pytest.raises(ConflictError):
        services.register_index(slug="other", folder=folder)


def _is_mapped(folder: Path) -> bool:
    return str(folder) in Path("/proc/self/maps").read_text()


def test_an_index_switched_off_is_closed(make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = make_corpus("kept").indexes.get()
    gone = make_corpus("gone", texts=("Something that goes.", "And more.")).indexes.get()
    registry.document_numbers(registry.open_index(gone))
    registry.open_index(kept)
    assert _is_mapped(gone.folder)
    Index.objects.filter(pk=gone.pk).update(is_enabled=False)
    monkeypatch.setattr(registry, "_next_look", 0.0)
    registry.open_index(kept)
    gc.collect()
    assert not _is_mapped(gone.folder)
    assert _is_mapped(kept.folder)
