"""Items of a benchmark measured against documents: levels, what was taken down, the passage that is shown."""

from __future__ import annotations

import pytest

from tests.tracer.engine.conftest import MakeReader
from tracer.engine.contamination import ItemLevel, level_of, measure_item, read_example
from tracer.engine.windows import find_windows

LONG = "The carousel turns and the music plays on while children laugh at the fair until the lights go out."


@pytest.mark.parametrize(
    ("n_found", "n_windows", "level"),
    [
        (0, 0, ItemLevel.SHORT),
        (0, 10, ItemLevel.CLEAN),
        (199, 1000, ItemLevel.CLEAN),
        (2, 10, ItemLevel.SUSPICIOUS),
        (799, 1000, ItemLevel.SUSPICIOUS),
        (8, 10, ItemLevel.DIRTY),
        (1, 1, ItemLevel.DIRTY),
    ],
)
def test_levels_begin_at_their_thresholds(n_found: int, n_windows: int, level: ItemLevel) -> None:
    assert level_of(n_found, n_windows) is level


@pytest.mark.parametrize("as_bytes", [False, True])
def test_what_stands_only_in_documents_taken_down_is_not_found(make_reader: MakeReader, as_bytes: bool) -> None:
    other = f"Elsewhere: {LONG[:70]}"
    reader = make_reader((LONG, other, f"{LONG} {LONG}"), as_bytes=as_bytes)
    assert measure_item(reader, LONG).n_found == len(LONG) - 49
    assert measure_item(reader, LONG, [LONG]).n_found == len(LONG) - 49
    assert measure_item(reader, LONG, [LONG, f"{LONG} {LONG}"]).found.tolist() == [j < 21 for j in range(50)]
    assert measure_item(reader, LONG, [LONG, other, f"{LONG} {LONG}"]).n_found == 0


@pytest.mark.parametrize("as_bytes", [False, True])
def test_an_example_is_the_whole_passage_in_both_texts(make_reader: MakeReader, as_bytes: bool) -> None:
    shared = "ring the bell 🎪 twice, ask for the naïve café owner and wait at the gate"
    document = f"Anfang – {shared}. Write to ringmaster@fair.example then."
    reader = make_reader(("Other.", document), as_bytes=as_bytes)
    item = f"Question: ring, {shared}?"
    example = read_example(reader, item, find_windows(reader, item))
    assert example is not None
    assert item[example.start : example.end] == f" {shared}"
    assert example.snippet[example.snippet_start : example.snippet_end] == f" {shared}"
    assert example.key == "doc-1"
    assert example.facts["title"] == "Title 1"
    assert "ringmaster" not in example.snippet
    assert read_example(reader, item, find_windows(reader, item), is_hidden="doc-1".__eq__) is None
    assert read_example(reader, "x" * 60, find_windows(reader, "x" * 60)) is None
