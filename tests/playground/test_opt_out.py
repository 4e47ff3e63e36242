"""An owner's opt-out: refused at once, out of memory, out of pages and lists, in the log, and back."""

from __future__ import annotations

import json
import threading
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import DatabaseError
from django.test import Client

from tests.inference.tiny import make_checkpoint
from webapp.embedded import EmbeddedWorker
from webapp.errors import BadInputError, ConflictError, ForbiddenError, NotFoundError
from webapp.inference import InferenceEngine
from webapp.ownership import Author
from webapp.playground import engines, making, optout, services
from webapp.playground.models import Checkpoint, Generation, OptOut
from webapp.playground.optout import OPERATOR
from webapp.transparency.models import Entry

LEFT = ["public", "numerics", "symbolic"]


@pytest.fixture(autouse=True)
def _own_engines() -> Any:
    """Give each test engines of its own: opt-outs change what they hold."""
    engines.close_engines()
    yield
    engines.close_engines()


def out(subject: str = "web", **changes: Any) -> OptOut:
    return optout.opt_out(**{"subject": subject, "reason": "The contract ended.", "author": OPERATOR, **changes})


def logged() -> list[dict[str, Any]]:
    """Return the bodies of all opt-out entries in order."""
    return [json.loads(entry.leaf)["body"] for entry in Entry.objects.filter(kind="opt_out").order_by("serial")]


def made(**values: Any) -> Generation:
    generation = services.start_generation(**{"prompt": "Return a", "max_tokens": 6, "seed": 1, **values})
    services.run_generation(generation.id)
    generation.refresh_from_db()
    return generation


def engine_of(checkpoint: Checkpoint) -> InferenceEngine:
    engine = engines.engine_for(checkpoint)
    assert isinstance(engine, InferenceEngine)
    return engine


@pytest.mark.django_db(transaction=True)
def test_leaves_memory_at_once_and_comes_back(tiny_path: Path) -> None:
    checkpoint = services.add_checkpoint(slug="tiny", path=tiny_path)
    before = made()
    engine = engine_of(checkpoint)
    out("web owner")
    assert engine.checkpoint.withheld == {"web"}
    assert made().experts == LEFT
    optout.opt_in(subject="web owner", author=OPERATOR)
    assert engine.checkpoint.withheld == frozenset()
    assert made().token_ids == before.token_ids


def test_a_worker_that_was_not_told_honours_it_before_its_next_answer(checkpoint: Checkpoint) -> None:
    engine = engine_of(checkpoint)
    out()  # its transaction never commits in this test, so that nothing is announced
    assert engine.checkpoint.withheld == frozenset()
    assert made().status == "done"
    assert engine.checkpoint.withheld == {"web"}


def test_a_worker_without_work_honours_it_at_its_next_look(checkpoint: Checkpoint) -> None:
    engine = engine_of(checkpoint)
    out()
    engines.honour_opt_outs()
    assert engine.checkpoint.withheld == {"web"}


def test_answer_waits_for_an_expert_that_may_be_used_again(checkpoint: Checkpoint) -> None:
    engine = engine_of(checkpoint)
    for slug in ("web", "numerics"):
        out(slug)
    engines.honour_opt_outs()
    for slug in ("web", "numerics"):
        optout.opt_in(subject=slug, author=OPERATOR)
    assert made(experts=["public"]).status == "done"
    assert engine.checkpoint.withheld == {"web", "numerics"}
    assert made(experts=["public", "web"]).status == "done"
    assert engine.checkpoint.withheld == {"numerics"}
    engines.honour_opt_outs()
    assert engine.checkpoint.withheld == frozenset()


def test_an_engine_started_later_never_reads_the_weights(checkpoint: Checkpoint) -> None:
    out()
    assert engine_of(checkpoint).checkpoint.withheld == {"web"}


def test_waiting_question_fails_with_the_reason(checkpoint: Checkpoint) -> None:
    generation = services.start_generation(prompt="Return", max_tokens=4)
    out()
    services.run_generation(generation.id)
    generation.refresh_from_db()
    assert (generation.status, generation.token_ids) == ("failed", [])
    assert "opted out since" in generation.error


def test_new_questions_are_refused_and_default_to_what_is_left(client: Client, checkpoint: Checkpoint) -> None:
    out()
    with pytest.raises(BadInputError, match=r"owner of expert 'web' has opted out. Choose from public, numerics"):
        services.start_generation(prompt="Return", experts=["web"])
    assert services.start_generation(prompt="Return").experts == LEFT
    body = {"model": "tiny", "prompt": "Return", "experts": ["web"], "max_tokens": 4}
    assert client.post("/v1/completions", body, content_type="application/json").status_code == 400


def test_is_gone_from_pages_and_lists(client: Client, checkpoint: Checkpoint) -> None:
    old = made()
    out()
    assert [e["slug"] for e in client.get("/api/v1/experts/").json()["results"]] == LEFT
    assert client.get("/v1/models/tiny").json()["experts"] == LEFT
    page = client.get("/playground/").content.decode()
    assert "Public" in page
    assert "Web" not in page
    shown = client.get(old.get_absolute_url()).content.decode()
    assert "whose owner has opted out since" in shown
    assert 'value="web"' not in shown


def test_log_tells_each_change_once(checkpoint: Checkpoint) -> None:
    out("tiny/web")
    out("web owner")  # the expert is out already: nothing changes for anybody
    optout.opt_in(subject="tiny/web", author=OPERATOR)
    optout.opt_in(subject="web owner", author=OPERATOR)
    assert [(b["expert"], b["change"]) for b in logged()] == [("web", "out"), ("web", "in")]
    first = logged()[0]
    assert first["owner"] == "web owner"
    assert (first["checkpoint"], first["checkpoint_digest"]) == ("tiny", checkpoint.digest)
    assert first["exact"] is True
    assert "The contract" not in str(first)


def test_owner_is_out_of_checkpoints_that_are_added_later_too(checkpoint: Checkpoint, tmp_path: Path) -> None:
    out("web owner")
    later = services.add_checkpoint(slug="later", path=make_checkpoint(tmp_path / "later", seed=3))
    assert services.start_generation(prompt="Return", checkpoint="later").experts == LEFT
    assert [(b["checkpoint"], b["change"]) for b in logged()] == [("tiny", "out"), ("later", "out")]
    assert later.experts.count() == 4


def test_nobody_exports_an_expert_that_was_withdrawn(checkpoint: Checkpoint, tmp_path: Path) -> None:
    out()
    with pytest.raises(CommandError, match="'web' has opted out"):
        call_command("export_checkpoint", "tiny", str(tmp_path / "out"), experts="public,web")
    assert not (tmp_path / "out").exists()


def test_nothing_answers_when_every_owner_opted_out(checkpoint: Checkpoint) -> None:
    for slug in ("public", "web", "numerics", "symbolic"):
        out(f"tiny/{slug}")
    with pytest.raises(ConflictError, match="No expert of checkpoint 'tiny' is left"):
        services.start_generation(prompt="Return")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"subject": "nobody"}, NotFoundError, "Owners: numerics owner, public owner, symbolic owner, web owner"),
        ({"subject": "tiny/nobody"}, NotFoundError, "no owner, expert"),
        ({"subject": ""}, NotFoundError, "no owner, expert"),
        ({"reason": " "}, BadInputError, "Give the reason"),
        ({"reason": "x" * 3000}, BadInputError, "3000 characters"),
        ({"author": Author()}, ForbiddenError, "Only the expert's owners"),
    ],
)
def test_refuses_with_what_to_do(
    checkpoint: Checkpoint, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        out(**changes)
    assert not OptOut.objects.exists()
    assert not logged()


def test_slug_of_several_checkpoints_must_be_told_apart(checkpoint: Checkpoint, tmp_path: Path) -> None:
    services.add_checkpoint(slug="other", path=make_checkpoint(tmp_path / "other", seed=3))
    with pytest.raises(BadInputError, match="Say tiny/web, other/web"):
        out("web")
    assert str(out("other/web")) == "other/web"


def test_twice_is_a_conflict(checkpoint: Checkpoint) -> None:
    out()
    with pytest.raises(ConflictError, match="already"):
        out()
    optout.opt_in(subject="web", author=OPERATOR)
    with pytest.raises(ConflictError, match="has not opted out"):
        optout.opt_in(subject="web", author=OPERATOR)
    out("web owner")
    with pytest.raises(ConflictError, match="web owner has opted out as a whole"):
        optout.opt_in(subject="web", author=OPERATOR)


def test_owners_switch_their_own_expert_and_no_other(checkpoint: Checkpoint) -> None:
    call_command("give_expert", "tiny/web", "web people", stdout=StringIO())
    member = User.objects.create_user("member")
    member.groups.add(Group.objects.get(name="web people"))
    author = Author(user_id=member.pk)
    row = out("tiny/web", author=author)
    assert row.created_by == member
    optout.opt_in(subject="tiny/web", author=author)
    for subject in ("tiny/public", "web owner"):
        with pytest.raises(ForbiddenError):
            out(subject, author=author)
    with pytest.raises(ForbiddenError):
        out("tiny/web", author=Author(user_id=User.objects.create_user("outsider").pk))


def test_commands_opt_out_and_in(checkpoint: Checkpoint) -> None:
    stdout = StringIO()
    call_command("opt_out", "web owner", reason="They asked.", stdout=stdout)
    assert stdout.getvalue() == "web owner\n"
    assert list(checkpoint.experts.available().values_list("slug", flat=True)) == LEFT
    call_command("opt_in", "web owner", stdout=stdout)
    assert checkpoint.experts.available().count() == 4
    with pytest.raises(CommandError, match="Owners:"):
        call_command("opt_out", "nobody", reason="They asked.")


def test_site_answers_with_the_experts_that_it_keeps_in_memory(
    checkpoint: Checkpoint, settings: Any, client: Client
) -> None:
    settings.RESIDENT_EXPERTS = ["symbolic", "public", "elsewhere"]
    assert made().experts == ["public", "symbolic"]
    assert engine_of(checkpoint).checkpoint.expert_slugs == ("public", "symbolic")
    with pytest.raises(BadInputError, match=r"'web' is not loaded on this site. Choose from public, symbolic"):
        services.start_generation(prompt="Return", experts=["web"])
    assert "Numerics" not in client.get("/playground/").content.decode()


def test_question_for_an_expert_that_the_worker_did_not_load_fails_clearly(
    checkpoint: Checkpoint, settings: Any
) -> None:
    generation = services.start_generation(prompt="Return", max_tokens=4)
    settings.RESIDENT_EXPERTS = ["public"]
    services.run_generation(generation.id)
    generation.refresh_from_db()
    assert generation.status == "failed"
    assert "is not loaded here; choose from public" in generation.error


def test_worker_flag_needs_the_queue_of_the_model(settings: Any) -> None:
    settings.EMBEDDED = False
    with pytest.raises(CommandError, match="loads no weights"):
        call_command("worker", "trace", resident_experts="public")


def test_requests_of_one_person_wait_behind_each_other_not_before_others(checkpoint: Checkpoint) -> None:
    user = User.objects.create_user("researcher")
    own = services.start_generation(prompt="x", author=Author(user_id=user.pk))
    browser = services.start_generation(prompt="x", author=Author(session_digest="d" * 64))
    assert making._request(own).client == f"user:{user.pk}"
    assert making._request(browser).client == "d" * 64


def test_watch_looks_again_and_again_also_after_a_failure_until_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks, seen_twice = [], threading.Event()

    def look() -> None:
        looks.append(1)
        if len(looks) > 2:
            seen_twice.set()
        raise DatabaseError("away")

    monkeypatch.setattr(engines, "WATCH_S", 0.001)
    monkeypatch.setattr(engines, "honour_opt_outs", look)
    engines.start_watch()
    assert seen_twice.wait(60)
    engines.stop_watch()
    [watch] = [thread for thread in threading.enumerate() if thread.name == "opt-out-watch"] or [None]
    if watch is not None:
        watch.join(60)
        assert not watch.is_alive()


def test_one_process_watches_too(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(engines, "start_watch", lambda: told.append("start"))
    monkeypatch.setattr(engines, "stop_watch", lambda: told.append("stop"))
    monkeypatch.setattr("webapp.embedded.requeue_unfinished_jobs", lambda older_than_s: 0)
    monkeypatch.setattr("webapp.embedded.warm_up_beside", lambda paths: None)
    worker = EmbeddedWorker(n_threads=1)
    for each in ("_thread", "_beat_thread"):
        monkeypatch.setattr(worker, each, threading.Thread(target=lambda: None))
    worker.start()
    worker.stop()
    assert told == ["start", "stop"]
