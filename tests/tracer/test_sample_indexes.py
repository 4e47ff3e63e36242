"""`manage.py sample_indexes`: samples for indexes that have none."""

from __future__ import annotations

import shutil
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from tests.tracer.conftest import MakeCorpus
from tracer import registration, registry, sampling, tasks
from tracer.engine import Manifest


def output_of(*arguments: str) -> str:
    out = StringIO()
    call_command("sample_indexes", *arguments, stdout=out)
    return out.getvalue()


def test_samples_are_made_where_there_are_none(make_corpus: MakeCorpus) -> None:
    [index] = make_corpus("fair").indexes.all()
    path = index.folder / "samples.0"
    content = path.read_bytes()
    assert "0 of 1 shards sampled" in output_of()
    path.unlink()
    assert "1 of 1 shards sampled" in output_of("fair")
    assert path.read_bytes() == content


def test_a_worker_makes_them_by_itself_and_open_indexes_use_them(make_corpus: MakeCorpus) -> None:
    [index] = make_corpus("fair").indexes.all()
    path = index.folder / "samples.0"
    content = path.read_bytes()
    path.unlink()
    registry.open_index(index)
    assert registry.open_index(index).shards[0].samples is None
    tasks.sample_indexes()
    assert path.read_bytes() == content
    reader = registry.open_index(index)
    assert reader.shards[0].samples is not None
    assert sampling.sample_missing() == 0
    assert path.read_bytes() == content
    assert registry.open_index(index) is reader
    index.is_enabled = False
    index.save()
    path.unlink()
    assert sampling.sample_missing() == 0


def test_one_worker_at_a_time_makes_those_of_an_index(make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    [index] = make_corpus("fair").indexes.all()
    (index.folder / "samples.0").unlink()
    inner: list[int] = []

    def busy(folder: Path) -> int:
        inner.append(sampling.sample_missing())  # another worker, meanwhile
        return 1

    monkeypatch.setattr(sampling, "sample_folder", busy)
    assert sampling.sample_missing() == 1
    assert inner == [0]
    assert sampling.sample_missing() == 1, "its turn ended"


@pytest.mark.parametrize("damage", ["missing", "full"])
def test_an_index_that_cannot_be_sampled_keeps_no_other_waiting(
    make_corpus: MakeCorpus, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    bad, good = [make_corpus(slug, texts=(slug * 9,)).indexes.get() for slug in ("fair", "fete")]
    for index in (bad, good):
        (index.folder / "samples.0").unlink()
    if damage == "missing":
        (bad.folder / "manifest.json").unlink()
    else:
        real = sampling.add_samples

        def full(folder: Path, manifest: Manifest) -> int:
            if folder == bad.folder:
                raise OSError(28, "No space left on device")
            return real(folder, manifest)

        monkeypatch.setattr(sampling, "add_samples", full)
    assert sampling.sample_missing() == 1
    assert not (bad.folder / "samples.0").exists()
    assert (good.folder / "samples.0").exists()


def test_it_is_called_by_beat_for_the_queue_of_builds() -> None:
    entry = settings.CELERY_BEAT_SCHEDULE["sample-indexes"]
    assert entry["task"] == tasks.sample_indexes.name
    assert settings.CELERY_TASK_ROUTES[entry["task"]] == {"queue": "build"}


def test_registering_an_index_of_ours_without_samples_makes_them(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    [index] = make_corpus("fair").indexes.all()
    copy = tmp_path / "copy"
    shutil.copytree(index.folder, copy)
    (copy / "samples.0").unlink()
    assert registration.checked_folder("fair", copy, None, is_bytes=False) == copy
    assert (copy / "samples.0").read_bytes() == (index.folder / "samples.0").read_bytes()


def test_an_index_without_its_files_is_an_error_that_names_it(make_corpus: MakeCorpus) -> None:
    [index] = make_corpus("fair").indexes.all()
    (index.folder / "manifest.json").unlink()
    with pytest.raises(CommandError, match=r"fair@.*manifest\.json"):
        output_of()
