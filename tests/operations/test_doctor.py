"""The doctor names each fault that is injected, and what to do about it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.db import DatabaseError
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from tests.playground.conftest import checkpoint, tiny_path
from tests.tracer.conftest import SENTENCE, MakeCorpus, make_corpus, tokenizer_path
from tracer.models import Index, Trace
from webapp.operations import checks
from webapp.operations.findings import Finding, Level, run_checks
from webapp.operations.heartbeat import KEY
from webapp.playground.models import Checkpoint
from webapp.playground.optout import OPERATOR, opt_out

__all__ = ["checkpoint", "make_corpus", "tiny_path", "tokenizer_path"]


@pytest.fixture(autouse=True)
def no_beat_so_far() -> None:
    """Forget a beat that another test noted: the cache outlives tests."""
    cache.delete(KEY)


def faults(name: str) -> list[Finding]:
    found = list(run_checks({name: checks.ALL[name]}))
    assert found
    return [finding for finding in found if finding.level is Level.FAULT]


def only_fault(name: str) -> Finding:
    (finding,) = faults(name)
    assert finding.remedy
    return finding


def test_is_content_with_a_sound_site(
    make_corpus: MakeCorpus, checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    make_corpus()

    call_command("doctor", format="json")

    findings = json.loads(capsys.readouterr().out)
    assert {finding["level"] for finding in findings} == {"ok"}
    assert {"database", "migrations", "index fair", "checkpoint tiny", "disk", "clock"} <= {
        finding["check"] for finding in findings
    }


@pytest.mark.django_db
def test_ends_with_one_and_prints_the_remedy_when_something_is_at_fault(
    capsys: pytest.CaptureFixture[str], settings: Any, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path / "missing"

    with pytest.raises(SystemExit) as end:
        call_command("doctor", only=["disk"])

    assert end.value.code == 1
    assert "→ Give the site's user write access." in capsys.readouterr().out


def test_names_an_index_that_was_truncated(make_corpus: MakeCorpus) -> None:
    make_corpus()
    file = next(Index.objects.get().folder.glob("tokenized*"))
    file.write_bytes(file.read_bytes()[:-2])

    finding = only_fault("indexes")

    assert file.name in finding.detail
    assert "build_index fair" in finding.remedy


def test_names_an_index_that_is_gone(make_corpus: MakeCorpus) -> None:
    make_corpus()
    shutil.rmtree(Index.objects.get().folder)

    assert only_fault("indexes").check == "index fair"


def test_names_a_checkpoint_whose_weights_changed(checkpoint: Checkpoint, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint.folder, copy)
    weights = next(copy.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes() + b"\0")
    Checkpoint.objects.update(path=str(copy))

    assert "registered is" in only_fault("checkpoints").detail


def test_tells_withdrawn_experts_and_names_a_checkpoint_without_any_left(checkpoint: Checkpoint, settings: Any) -> None:
    opt_out(subject="tiny/web", reason="They asked.", author=OPERATOR)
    (finding,) = list(run_checks({"checkpoints": checks.check_checkpoints}))
    assert (finding.level, "withdrawn by their owners: web" in finding.detail) == (Level.OK, True)
    settings.RESIDENT_EXPERTS = ["web"]
    assert "no expert is left" in only_fault("checkpoints").detail


def test_names_resident_experts_that_nobody_has(checkpoint: Checkpoint, settings: Any) -> None:
    settings.RESIDENT_EXPERTS = ["public", "wep"]
    assert only_fault("checkpoints").detail == "no checkpoint has wep"


def test_names_a_checkpoint_that_is_gone(checkpoint: Checkpoint, tmp_path: Path) -> None:
    Checkpoint.objects.update(path=str(tmp_path / "nowhere"))

    assert only_fault("checkpoints").check == "checkpoint tiny"


@pytest.mark.django_db
def test_names_a_migration_that_is_not_applied() -> None:
    MigrationRecorder.Migration.objects.filter(app="accounts").delete()

    finding = only_fault("migrations")

    assert "accounts.0001_token" in finding.detail
    assert "manage.py migrate" in finding.remedy


@pytest.mark.django_db
def test_names_a_database_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise DatabaseError("connection refused")

    monkeypatch.setattr("django.db.backends.utils.CursorWrapper.execute", refuse)

    assert "DATABASE_URL" in only_fault("database").remedy


@pytest.mark.django_db
def test_names_a_clock_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) - timedelta(hours=1)

    monkeypatch.setattr(checks, "datetime", Late)

    assert "time synchronisation" in only_fault("database").remedy


@pytest.mark.django_db
def test_names_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MIN_FREE_BYTES", 2**80)

    assert "GiB free" in only_fault("disk").detail


def test_names_a_cache_that_forgets(settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}

    assert only_fault("cache").check == "cache"


@pytest.fixture
def without_redis(settings: Any) -> None:
    """Set the site up for a Redis that is not there."""
    settings.EMBEDDED, settings.REDIS_URL = False, "redis://127.0.0.1:1/0"


def test_names_a_broker_that_does_not_answer(without_redis: None) -> None:
    assert "REDIS_URL" in only_fault("broker").remedy


@pytest.mark.django_db
def test_names_each_queue_without_a_worker_and_a_missing_beat(
    without_redis: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Inspect:
        def __init__(self, timeout: float) -> None:
            pass

        def active_queues(self) -> dict[str, list[dict[str, str]]]:
            return {"trace@here": [{"name": "trace"}]}

    monkeypatch.setattr(checks.app.control, "inspect", Inspect)

    found = faults("workers")

    assert [finding.check for finding in found] == ["worker build", "worker model", "worker rank", "beat"]
    assert all(finding.remedy for finding in found)


@pytest.mark.django_db
def test_names_settings_that_show_code_to_strangers(settings: Any) -> None:
    settings.EMBEDDED, settings.DEBUG = False, True

    assert "FAIRGROUND_DEBUG" in only_fault("settings").detail


@pytest.mark.django_db
def test_warns_of_jobs_that_wait_too_long() -> None:
    Trace.objects.create(text=SENTENCE, corpora=[], parameters={}, created_at=timezone.now() - timedelta(minutes=9))

    finding, *_ = run_checks({"jobs": checks.check_jobs})

    assert finding.level is Level.WARNING
    assert "9 min" in finding.detail


def test_goes_on_when_a_check_itself_breaks() -> None:
    def broken() -> Iterator[Finding]:
        raise RuntimeError("snapped")
        yield

    found = list(run_checks({"first": broken, "second": checks.check_disk}))

    assert [finding.level for finding in found] == [Level.FAULT, Level.OK]
    assert "snapped" in found[0].detail
