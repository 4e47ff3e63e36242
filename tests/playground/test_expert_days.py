"""Days of experts: added up as answers end, equal to adding up all stored answers, once an answer."""

from __future__ import annotations

import importlib
import threading
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

import pytest
from django.apps import apps
from django.db import connection, connections, transaction
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from webapp.ownership import Author
from webapp.playground import services
from webapp.playground.expert_days import add_answer, days_of
from webapp.playground.models import Checkpoint, Expert, ExpertDay, Generation

SLUGS = ("public", "web", "numerics")
START = datetime(2026, 11, 1, 23, 30, tzinfo=UTC)


def make_checkpoint_row() -> Checkpoint:
    made = Checkpoint.objects.create(slug="rows", digest="0" * 64, context_length=64)
    Expert.objects.bulk_create(
        Expert(checkpoint=made, position=place, slug=slug, title=slug, owner=slug) for place, slug in enumerate(SLUGS)
    )
    return made


def finished(checkpoint: Checkpoint, experts: list[str], weights: list[int], n_tokens: int, hours: int) -> Generation:
    total = sum(weights)
    return Generation.objects.create(
        checkpoint=checkpoint,
        checkpoint_digest=checkpoint.digest,
        prompt="p",
        experts=experts,
        max_tokens=4,
        temperature=0,
        top_p=1,
        seed=1,
        status="done",
        finished_at=START + timedelta(hours=hours),
        token_ids=list(range(n_tokens)),
        routing_shares={s: w / total for s, w in zip(experts, weights, strict=True)} if total else {},
    )


def slow_figures() -> dict[tuple[str, date], tuple[int, int, float, float]]:
    """Return answers, tokens, share of all and share where on, from the stored answers one by one."""
    n_answers: dict[tuple[str, date], int] = defaultdict(int)
    n_tokens: dict[tuple[str, date], int] = defaultdict(int)
    weight: dict[tuple[str, date], float] = defaultdict(float)
    total: dict[date, float] = defaultdict(float)
    for made in Generation.objects.all():
        assert made.finished_at is not None
        day = made.finished_at.date()
        for slug in made.experts if made.token_ids and made.routing_shares else ():
            n_answers[slug, day] += 1
            n_tokens[slug, day] += len(made.token_ids)
            weight[slug, day] += len(made.token_ids) * made.routing_shares[slug]
            total[day] += len(made.token_ids) * made.routing_shares[slug]
    return {
        key: (n, n_tokens[key], weight[key] / total[key[1]], weight[key] / n_tokens[key])
        for key, n in n_answers.items()
    }


answers = st.lists(
    st.tuples(
        st.lists(st.sampled_from(SLUGS), unique=True, min_size=1), st.integers(0, 5), st.integers(0, 72), st.randoms()
    ),
    max_size=8,
)


class DaysTest(TestCase):
    """Properties, each example in a transaction of its own."""

    @settings(max_examples=40)
    @given(answers)
    def test_days_equal_all_answers_added_up_one_by_one(self, drawn: list[tuple[list[str], int, int, object]]) -> None:
        checkpoint = make_checkpoint_row()
        for experts, n_tokens, hours, chance in drawn:
            weights = [chance.randint(1, 9) for _ in experts]  # type: ignore[attr-defined]
            with transaction.atomic():
                add_answer(finished(checkpoint, experts, weights, n_tokens, hours))
        names = dict(checkpoint.experts.values_list("pk", "slug"))
        rows = days_of(checkpoint.experts.all(), first=date(2026, 1, 1), last=date(2027, 1, 1))
        fast = {(names[r.expert_id], r.day): (r.n_answers, r.n_tokens, r.share, r.share_when_on) for r in rows}
        slow = slow_figures()
        assert fast.keys() == slow.keys()
        for key, figures in fast.items():
            assert figures == pytest.approx(slow[key])


def test_answer_counts_once_when_it_ends(checkpoint: Checkpoint) -> None:
    made = services.start_generation(prompt="Return a", max_tokens=5, seed=1, experts=["public", "web"])
    assert not ExpertDay.objects.exists()
    for _ in range(2):
        services.run_generation(made.id)
    made.refresh_from_db()
    rows = list(ExpertDay.objects.select_related("expert"))
    assert {(row.expert.slug, row.n_answers, row.n_tokens) for row in rows} == {
        ("public", 1, len(made.token_ids)),
        ("web", 1, len(made.token_ids)),
    }
    assert sum(row.weight for row in rows) == pytest.approx(len(made.token_ids), abs=1e-3)


def test_answer_that_never_began_counts_nowhere(checkpoint: Checkpoint) -> None:
    made = services.start_generation(prompt="Return a", max_tokens=5, author=Author(session_digest="d" * 64))
    services.cancel_generation(made.id, author=made.owner)
    services.run_generation(made.id)
    assert not ExpertDay.objects.exists()


def test_deleted_answer_stays_counted(checkpoint: Checkpoint) -> None:
    made = services.start_generation(prompt="Return a", max_tokens=3, author=Author(session_digest="d" * 64))
    services.run_generation(made.id)
    services.delete_generation(made.id, author=Author(session_digest="d" * 64))
    assert set(ExpertDay.objects.values_list("n_answers", flat=True)) == {1}


def test_answers_from_before_are_added_up_alike(db: None) -> None:
    checkpoint = make_checkpoint_row()
    for hours, experts in enumerate((["public", "web"], ["public"], ["public", "web", "numerics"])):
        with transaction.atomic():
            add_answer(finished(checkpoint, experts, [3, 2, 1][: len(experts)], 4 + hours, hours))
    values = ("expert_id", "day", "n_answers", "n_tokens", "weight")
    kept = sorted(ExpertDay.objects.values_list(*values))
    assert len({row[1] for row in kept}) == 2
    ExpertDay.objects.all().delete()
    migration = importlib.import_module("webapp.playground.migrations.0006_add_up_stored_answers")
    migration.add_up(apps, None)
    for before, after in zip(kept, sorted(ExpertDay.objects.values_list(*values)), strict=True):
        assert before[:4] == after[:4]
        assert before[4] == pytest.approx(after[4])


@pytest.mark.skipif(connection.vendor == "sqlite", reason="one writer at a time: nothing can cross")
@pytest.mark.django_db(transaction=True)
def test_answers_that_end_together_are_all_counted() -> None:
    checkpoint = make_checkpoint_row()
    made = [finished(checkpoint, [*SLUGS][place % 2 :], [2, 1, 1][place % 2 :], 2, 1) for place in range(16)]
    errors: list[Exception] = []
    ready = threading.Barrier(4)

    def end(mine: list[Generation]) -> None:
        try:
            ready.wait(60)
            for one in mine:
                with transaction.atomic():
                    add_answer(one)
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=end, args=(made[place::4],)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    counts = dict(ExpertDay.objects.values_list("expert__slug", "n_answers"))
    assert counts == {"public": 8, "web": 16, "numerics": 16}
