"""PostgreSQL keeps no NUL: an address or form that holds one is answered, not failed at. Runs on both databases."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from arena.policy import Rules
from arena.services import seasons
from tests.playground.conftest import checkpoint, tiny_path
from tracer.models import Corpus
from webapp.playground.models import Checkpoint

__all__ = ["checkpoint", "tiny_path"]

pytestmark = pytest.mark.django_db
SEASONAL = (
    "leaderboard/",
    "effects/",
    "quality/",
    "transparency/",
    "transparency/audit/",
    "releases/",
    "judges/",
    "method/",
)
RESOURCES = (
    "audit/",
    "contestants/",
    "epochs/",
    "judges/",
    "leaderboard/",
    "policies/",
    "quality/",
    "releases/",
    "votes/",
)


@pytest.fixture(autouse=True)
def season() -> None:
    seasons.open_season(slug="main", title="Arena", rules=Rules(min_votes=1, draws_per_epoch=5))


@pytest.mark.parametrize(
    "address",
    [
        *(f"/arena/{name}" for name in SEASONAL),
        *(f"/api/v1/arena/{name}" for name in RESOURCES),
        "/arena/leaderboard.csv",
    ],
)
def test_there_is_no_season_with_a_nul_in_its_name(address: str) -> None:
    assert Client().get(f"{address}?season=a%00b").status_code == 404


@pytest.mark.parametrize("name", ["category", "discipline", "language", "community"])
@pytest.mark.parametrize("address", ["/arena/leaderboard/", "/arena/leaderboard.csv", "/api/v1/arena/leaderboard/"])
def test_slice_with_a_nul_is_refused(address: str, name: str) -> None:
    assert Client().get(f"{address}?{name}=a%00b").status_code == 400


@pytest.mark.parametrize(
    "address", ["/documents/web/a%00b/", "/api/v1/documents/web/a%00b/", "/v1/models/a%00b", "/documents/none/a%00b/"]
)
def test_nothing_has_a_nul_in_its_name(address: str) -> None:
    Corpus.objects.create(slug="web", title="Web", owner="o", licence="l", file="f", digest="0" * 64, n_documents=1)

    assert Client().get(address).status_code == 404


def test_page_of_questions_stays_up_when_the_checkpoint_has_a_nul_in_its_name() -> None:
    assert Client().get("/playground/?checkpoint=a%00b").status_code < 500


@pytest.mark.parametrize(
    ("address", "field", "kind"),
    [
        ("/playground/", "experts", ""),
        ("/playground/", "stop", ""),
        ("/playground/compare/", "stop", "leave_one_out"),
        ("/playground/compare/", "other_experts", "masks"),
    ],
)
def test_question_with_a_nul_in_an_expert_or_a_stop_string_is_refused(
    checkpoint: Checkpoint, address: str, field: str, kind: str
) -> None:
    found = Client().post(address, {"prompt": "a", "experts": ["public"], "kind": kind, field: "a\0b"})

    assert found.status_code == 422


def test_form_whose_subject_holds_a_nul_is_answered() -> None:
    browser = Client()
    browser.force_login(User.objects.create_user("owner"))

    assert browser.post("/opt-outs/out/", {"subject": "a\0b", "reason": "a\0b"}).status_code < 500


def test_compatible_counts_of_a_corpus_with_a_nul_in_its_name_are_a_problem_document() -> None:
    found = Client().post("/compat/infinigram-api/a%00b/counts", {"texts": ["a"]}, content_type="application/json")

    assert found.status_code == 404
