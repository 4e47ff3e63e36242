"""How an answer's routing is stored, drawn and given out."""

from __future__ import annotations

import re
import zlib

import numpy as np
import pytest
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from webapp.playground import services
from webapp.playground.models import Checkpoint, Generation
from webapp.playground.routing import MAX_COLUMNS, MAX_ROWS, _lane, _shorten, layer_chart, token_chart

MASK = ["public", "numerics"]


@pytest.fixture
def made(checkpoint: Checkpoint) -> Generation:
    generation = services.start_generation(prompt="Return a", experts=MASK, max_tokens=12, seed=1)
    services.run_generation(generation.id)
    generation.refresh_from_db()
    return generation


def heights(path: str) -> list[int]:
    """Return the height of each column, by following the path's steps."""
    up, found = 0, []
    for step, width in re.findall(r"v(-?\d+)h(\d+)", path):
        up -= int(step)
        found += [up] * int(width)
    return found


@given(st.lists(st.floats(0, 1), min_size=1, max_size=600))
def test_lane_steps_to_each_share(shares: list[float]) -> None:
    lane = _lane("x", shares, sum(shares) / len(shares))
    assert heights(lane.path) == [round(100 * share) for share in shares]
    assert lane.n_columns == len(shares)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=2000))
def test_long_answers_are_drawn_in_means(shares: list[float]) -> None:
    short = _shorten(shares)
    assert len(short) == min(len(shares), MAX_COLUMNS)
    assert all(min(shares) - 1e-9 <= mean <= max(shares) + 1e-9 for mean in short)
    if len(shares) % MAX_COLUMNS == 0:
        assert np.mean(short) == pytest.approx(np.mean(shares))


def test_stored_shares_are_compressed_and_the_same_in_chart_table_and_interface(
    client: Client, made: Generation
) -> None:
    table = made.get_token_routing()
    assert zlib.decompress(bytes(made.token_routing)) == table.tobytes()
    assert table.shape == (12, 2)
    assert table.sum(1) == pytest.approx(np.ones(12), abs=2e-3)
    given_out = client.get(f"/api/v1/generations/{made.id}/routing/").json()
    assert given_out["experts"] == MASK
    assert np.array(given_out["token_shares"]) == pytest.approx(table.astype(float), abs=1e-3)
    assert list(given_out["layer_shares"]) == MASK
    assert len(given_out["layer_shares"]["public"]) == 2
    chart = token_chart(made, ["Public", "Numerics"])
    assert chart is not None
    assert [lane.name for lane in chart.lanes] == ["Public", "Numerics"]
    assert heights(chart.lanes[0].path) == [percents[0] for _, percents in chart.rows]
    layers = layer_chart(made, ["Public", "Numerics"])
    assert layers is not None
    assert [what for what, _ in layers.rows] == ["1", "2"]
    for _, percents in layers.rows:
        assert sum(percents) == pytest.approx(100, abs=1)


def test_page_has_both_charts_with_their_tables(client: Client, made: Generation) -> None:
    page = client.get(made.get_absolute_url()).content.decode()
    assert page.count('<dl class="lanes">') == page.count("<summary>As a table</summary>") == 2
    assert "Routing along the answer" in page
    assert "Routing by layer" in page


def test_table_of_a_long_answer_says_where_the_rest_is(client: Client, made: Generation) -> None:
    made.set_token_routing([{"public": 0.25, "numerics": 0.75}] * (MAX_ROWS + 5))
    made.pieces = ["x"] * (MAX_ROWS + 5)
    made.save()
    assert "5 more tokens stand in the" in client.get(made.get_absolute_url()).content.decode()


def test_answers_without_experts_or_of_before_have_no_chart(client: Client, made: Generation) -> None:
    made.token_routing, made.layer_routing = b"", {}
    made.save()
    assert "lanes" not in client.get(made.get_absolute_url()).content.decode()
    made.experts = []
    assert token_chart(made, []) is None
    assert layer_chart(made, []) is None
