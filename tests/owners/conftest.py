"""A checkpoint whose experts have owners, some days of use, and one person of each kind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from tests.inference.tiny import make_checkpoint
from tracer.models import Corpus
from webapp.identifiers import slug_of_name
from webapp.playground import services
from webapp.playground.models import Checkpoint, Expert, ExpertDay
from webapp.roles import Role, grant_role

ADDRESS = slug_of_name("web owner")
PAGE, API = f"/owners/{ADDRESS}/", f"/api/v1/owners/{ADDRESS}/"
TODAY = datetime.now(UTC).date()
RECORD = {
    "slug": "web",
    "title": "Web",
    "owner": "web owner",
    "licence": "CC-BY-4.0",
    "corpus": None,
    "weights_sha256": "a1" * 32,
    "base_digest": "b2" * 32,
    "n_corpus_tokens": 1_234_567,
    "n_training_tokens": 5_000_000,
    "public_share": 0.25,
    "seed": 3,
    "measured": {"own": [5.125, 3.0], "public": [2.5, 2.625]},
    "merged_at": "2026-11-30T12:00:00+00:00",
    "merged_by": "the museum",
}


class SameDay(datetime):
    """A clock that stays in the day on which the tests were read, also when they run over midnight."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> SameDay:
        return cls(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=tz)


@pytest.fixture(autouse=True)
def same_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.owners.reading.datetime", SameDay)


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("owners") / "tiny")


@pytest.fixture
def checkpoint(db: None, tiny_path: Path) -> Checkpoint:
    made = services.add_checkpoint(slug="tiny", path=tiny_path)
    made.experts.filter(slug="web").update(contribution=RECORD)
    for slug, owner in (("web-text", "web owner"), ("sums", "numerics owner")):
        Corpus.objects.create(slug=slug, title=f"Corpus {slug}", owner=owner, licence="MIT", file=slug, n_documents=7)
    return made


def add_day(slug: str, day: date, n_answers: int, n_tokens: int, weight: float) -> None:
    expert = Expert.objects.get(slug=slug)
    ExpertDay.objects.create(expert=expert, day=day, n_answers=n_answers, n_tokens=n_tokens, weight=weight)


@pytest.fixture
def days(checkpoint: Checkpoint) -> None:
    """Web: 30 of 120 tokens' weight yesterday, where it was on in 60; today's figures are other."""
    yesterday = TODAY - timedelta(days=1)
    add_day("web", yesterday, 3, 60, 30.0)
    add_day("public", yesterday, 5, 120, 90.0)
    add_day("web", TODAY, 777, 9999, 9998.0)


@pytest.fixture
def people(checkpoint: Checkpoint) -> Callable[[str], Client]:
    """Return clients by kind: a member of the expert's group, one of its corpus's, one of another's, and so on."""
    for name, group in (("member", "web people"), ("corpus member", "text people"), ("other owner", "sums people")):
        User.objects.create_user(username=name).groups.add(Group.objects.create(name=group))
    User.objects.create_user(username="outsider")
    grant_role(user=User.objects.create_user(username="curator"), role=Role.OPERATOR)
    Expert.objects.filter(slug="web").update(owner_group=Group.objects.get(name="web people"), corpus_slug="web-text")
    Expert.objects.filter(slug="numerics").update(owner_group=Group.objects.get(name="sums people"))
    Corpus.objects.filter(slug="web-text").update(owner_group=Group.objects.get(name="text people"))

    def client_of(name: str) -> Client:
        client = Client()
        if name != "anonymous":
            client.force_login(User.objects.get(username=name))
        return client

    return client_of
