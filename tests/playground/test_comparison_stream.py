"""All sides of a comparison on one stream: while they are made, late, resumed, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from tests.playground.test_comparisons import made, owner
from tests.playground.test_generation_api import read_stream
from webapp.playground import comparing, services
from webapp.playground.bus import BusEvent, token_bus
from webapp.playground.models import Comparison, Generation
from webapp.playground.streaming_comparisons import ENDED, read_positions

Event = tuple[str, str, dict[str, Any]]


def parse(body: str) -> list[Event]:
    """Return id, kind and data of each event."""
    events = []
    for block in body.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            events.append((lines["id"], lines["event"], json.loads(lines["data"])))
    return events


def texts(events: list[Event], n_sides: int) -> list[str]:
    return [
        "".join(data["text"] for _, kind, data in events if kind == "token" and data["side"] == side)
        for side in range(n_sides)
    ]


@pytest.fixture
def tiny(tiny_path: Path) -> None:
    services.add_checkpoint(slug="tiny", path=tiny_path)


@pytest.mark.django_db(transaction=True)
def test_streams_every_side_to_its_end_and_goes_on_where_a_reader_was(tiny: None) -> None:
    location, shown = made(Client(), kind="leave_one_out")
    wanted = [side["generation"]["text"] for side in shown["sides"]]
    events = parse(read_stream(f"{location}stream/"))
    assert texts(events, 5) == wanted
    assert sorted(data["side"] for _, kind, data in events if kind == "side") == [0, 1, 2, 3, 4]
    assert events[-1][1] == "done"
    for place in (0, 3, len(events) // 2, len(events) - 2):
        later = parse(read_stream(f"{location}stream/", **{"Last-Event-ID": events[place][0]}))
        before = texts(events[: place + 1], 5)
        assert [a + b for a, b in zip(before, texts(later, 5), strict=True)] == wanted
        assert later[-1][1] == "done"
    assert [kind for _, kind, _ in parse(read_stream(f"{location}stream/", **{"Last-Event-ID": events[-1][0]}))] == [
        "done"
    ]


@pytest.mark.django_db(transaction=True)
def test_sides_stream_while_they_are_made(tiny: None) -> None:
    comparison = comparing.start_comparison(kind="masks", masks=[["public"], ["web"]], prompt="Return a", max_tokens=4)
    sides = list(Generation.objects.order_by("created_at", "id"))
    Generation.objects.update(status="running")
    for number, piece in enumerate(("one", " two"), start=1):
        for side, name in zip(sides, "ab", strict=True):
            data = {"index": number - 1, "text": f"{name}{piece}"}
            token_bus().publish(str(side.id), BusEvent(number, "token", data))
    end = {"status": "failed", "finish_reason": "error", "error": "Out of memory."}
    for side in sides:
        token_bus().publish(str(side.id), BusEvent(ENDED, "done", end))
    events = parse(read_stream(f"/api/v1/comparisons/{comparison.id}/stream/"))
    assert texts(events, 2) == ["aonea two", "boneb two"]
    ends = sorted((data for _, kind, data in events if kind == "side"), key=lambda data: data["side"])
    assert ends == [{"side": side} | end for side in (0, 1)]
    assert set(Generation.objects.values_list("status", flat=True)) == {"running"}


@pytest.mark.django_db(transaction=True)
def test_private_sides_and_readers_with_too_many_streams_are_refused(tiny: None, settings: Any) -> None:
    location, _ = made(owner(), visibility="private", masks=[["public"], ["web"]])
    refused = Client().get(f"{location}stream/")
    assert (refused.status_code, refused["Content-Type"]) == (404, "application/problem+json")
    settings.MAX_STREAMS = 0
    assert owner().get(f"{location}stream/").status_code == 429


@pytest.mark.django_db
def test_page_streams_until_all_sides_are_done(tiny: None) -> None:
    comparison = comparing.start_comparison(kind="masks", masks=[["public"], ["web"]], prompt="Return a", max_tokens=4)
    page = Client().get(comparison.get_absolute_url()).content.decode()
    assert f'data-stream="/api/v1/comparisons/{comparison.id}/stream/"' in page
    assert "js/comparison.js" in page
    assert "Look again" in page
    for side in Generation.objects.all():
        services.run_generation(side.id)
    page = Client().get(Comparison.objects.get().get_absolute_url()).content.decode()
    assert "data-stream" not in page
    assert "js/comparison.js" not in page


@given(st.lists(st.integers(0, ENDED), min_size=1, max_size=33))
def test_id_of_an_event_gives_the_places_back(places: list[int]) -> None:
    last = "-".join(map(str, places))
    assert read_positions(last, len(places)) == places
    assert read_positions(last, len(places) + 1) == [0] * (len(places) + 1)


@given(st.text(max_size=40))
def test_foreign_ids_begin_anew(last: str) -> None:
    assert len(read_positions(last, 3)) == 3
