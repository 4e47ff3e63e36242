"""Matches while an answer is made: published as it grows, the same at the end as its trace."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from django.test import Client

from tests.playground.test_generation_api import read_stream
from tests.playground.test_ownership import client_of
from tests.tracer.conftest import MakeCorpus, make_corpus, tokenizer_path
from tracer.services import run_trace
from webapp.celery import app
from webapp.jobs import JobStatus
from webapp.playground import live, services
from webapp.playground.bus import BusEvent, token_bus
from webapp.playground.models import Checkpoint, Generation

__all__ = ["make_corpus", "tokenizer_path"]
PIECES = ("Ach! The car", "ousel turns", " and the music", " plays on.", " 🎉", " Nothing", " else.")


def running(checkpoint: Checkpoint, **values: Any) -> Generation:
    made = services.start_generation(prompt="Where?", is_traced_live=True, **values)
    Generation.objects.filter(pk=made.pk).update(status=JobStatus.RUNNING)
    return made


def say(made: Generation, pieces: tuple[str, ...], *, first: int = 1) -> None:
    for number, piece in enumerate(pieces, start=first):
        token_bus().publish(str(made.id), BusEvent(number, "token", {"index": number - 1, "text": piece}))


def published(made: Generation) -> list[BusEvent]:
    return asyncio.run(token_bus().read(live.matches_stream(made.id), 0, 0.01))


def test_publishes_what_is_found_so_far_and_ends_with_the_trace(
    checkpoint: Checkpoint, make_corpus: MakeCorpus
) -> None:
    make_corpus()
    made = running(checkpoint)
    for number, piece in enumerate(PIECES, start=1):
        say(made, (piece,), first=number)
        live.publish_matches(made.id)
    events = published(made)
    text = "".join(PIECES)
    Generation.objects.filter(pk=made.pk).update(text=text, status=JobStatus.DONE)
    trace = services.trace_generation(made.id, author=made.owner)
    run_trace(trace.id)
    trace.refresh_from_db()
    assert trace.result is not None

    assert [event.number for event in events] == list(range(1, len(PIECES) + 1))
    assert [text[s["start"] : s["end"]] for s in events[1].data["spans"]] == ["carousel turns"]
    last = events[-1].data
    assert last["n_characters"] == len(text)
    assert last["spans"] == [{k: s[k] for k in ("start", "end", "counts")} for s in trace.result["spans"]]


def test_a_late_look_does_nothing_and_a_new_process_begins_anew(
    checkpoint: Checkpoint, make_corpus: MakeCorpus
) -> None:
    make_corpus()
    made = running(checkpoint)
    say(made, PIECES)
    live.publish_matches(made.id)
    live.publish_matches(made.id)
    assert len(published(made)) == 1

    live._forget(str(made.id))
    live.publish_matches(made.id)
    say(made, (" The carousel turns",), first=len(PIECES) + 1)
    live.publish_matches(made.id)
    assert [event.number for event in published(made)] == [len(PIECES), len(PIECES) + 1]


def test_small_counts_of_closed_corpora_stay_hidden(checkpoint: Checkpoint, make_corpus: MakeCorpus) -> None:
    make_corpus(disclosure="counts")
    made = running(checkpoint)
    say(made, PIECES)
    live.publish_matches(made.id)
    assert {count for span in published(made)[-1].data["spans"] for count in span["counts"].values()} == {"<10"}


def test_an_answer_traced_live_has_its_trace_when_it_is_done(
    client: Client, checkpoint: Checkpoint, make_corpus: MakeCorpus
) -> None:
    make_corpus()
    body = {"prompt": "Return a new", "max_tokens": 6, "seed": 5, "is_traced_live": True}
    created = client.post("/api/v1/generations/", body, "application/json").json()
    services.run_generation(created["id"])
    made = Generation.objects.get()

    assert made.status == JobStatus.DONE
    assert made.trace is not None
    assert made.trace.text == made.text
    end = published(made)[-1]
    assert (end.kind, end.data) == ("done", {"trace": str(made.trace_id)})


def test_an_answer_that_cannot_be_traced_is_still_an_answer(checkpoint: Checkpoint) -> None:
    made = services.start_generation(prompt="Return a new", max_tokens=4, seed=5, is_traced_live=True)
    services.run_generation(made.id)
    made.refresh_from_db()

    assert (made.status, made.trace) == (JobStatus.DONE, None)
    assert published(made)[-1].data == {"trace": None}


def test_an_answer_not_asked_to_be_traced_is_not_looked_at(checkpoint: Checkpoint, make_corpus: MakeCorpus) -> None:
    make_corpus()
    made = services.start_generation(prompt="Return a new", max_tokens=4, seed=5)
    say(made, PIECES)
    live.publish_matches(made.id)
    assert published(made) == []
    services.run_generation(made.id)
    made.refresh_from_db()
    assert made.trace is None


def test_matches_of_a_private_answer_are_not_there_for_others(checkpoint: Checkpoint) -> None:
    body = {"prompt": "Return", "is_traced_live": True, "visibility": "private"}
    answer = client_of("researcher").post("/api/v1/generations/", body, "application/json").json()
    address = f"/api/v1/generations/{answer['id']}/matches/"
    assert Client().get(address).status_code == 404
    assert client_of("researcher").get(address).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_late_reader_gets_the_end(checkpoint: Checkpoint) -> None:
    made = services.start_generation(prompt="Return a", max_tokens=3, seed=1)
    services.run_generation(made.id)
    data = [
        json.loads(line[6:])
        for line in read_stream(f"/api/v1/generations/{made.id}/matches/").splitlines()
        if line.startswith("data: ")
    ]
    assert data == [{"trace": None}]


def test_the_form_asks_for_it_and_links_keep_it(client: Client, checkpoint: Checkpoint) -> None:
    form = {"prompt": "Return", "experts": ["web"], "live": "1"}
    page = client.post("/playground/", form, follow=True).content.decode()
    made = Generation.objects.get()

    assert made.is_traced_live
    assert f'data-matches="/api/v1/generations/{made.id}/matches/"' in page
    assert 'name="live" value="1" checked' in page


def test_looks_are_taken_where_the_indexes_are() -> None:
    assert app.amqp.router.route({}, "webapp.playground.publish_matches")["queue"].name == "trace"
    assert app.amqp.router.route({}, "webapp.playground.run_generation")["queue"].name == "model"
