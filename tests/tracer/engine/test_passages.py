"""Text around matches, decoded and scanned once, against decoding every cut by itself; documents of the same text."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tracer.engine.conftest import TEXTS, MakeReader
from tracer.engine import IndexReader, SearchableCorpus, TraceParameters, passages, trace_text
from tracer.engine.copies import DocumentPlace, number_copies
from tracer.engine.passages import decode_with_places, joined, read_passages
from tracer.engine.privacy import MASK, mask_personal_data

ALL = TraceParameters(density=None)
INTERVALS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)).map(lambda t: (t[0], t[0] + t[1])), max_size=8)
MIXED = st.lists(st.sampled_from("aé東🎠 .") | st.characters(exclude_categories=["Cs"]), max_size=12)


@given(text=MIXED.map("".join), cut=st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_valid_text_cut_at_both_ends_loses_only_the_cut_characters(text: str, cut: tuple[int, int]) -> None:
    raw = text.encode()
    first, last = min(cut[0], len(raw)), max(0, len(raw) - cut[1])
    content = raw[first : max(first, last)]
    decoded, characters = decode_with_places(content)
    assert decoded == content.lstrip(bytes(range(0x80, 0xC0))).decode("utf-8", "ignore")
    assert len(characters) == len(content) + 1
    for place, byte in enumerate(content):
        if byte & 0xC0 != 0x80 and characters[place] < len(decoded):  # where a whole character begins
            assert content[place:].decode("utf-8", "ignore").startswith(decoded[characters[place]])


@given(content=st.binary(max_size=24))
def test_bytes_that_are_no_text_keep_every_place(content: bytes) -> None:
    decoded, characters = decode_with_places(content)
    assert len(characters) == len(content) + 1
    assert all(one <= two for one, two in itertools.pairwise(characters.tolist()))
    assert "".join(c for c in decoded if c != "\ufffd") == "".join(
        c for c in content.decode("utf-8", "ignore") if c != "\ufffd"
    )


@given(INTERVALS)
def test_joined_intervals_cover_the_same_and_are_apart(intervals: list[tuple[int, int]]) -> None:
    found = joined(intervals)
    assert {i for low, high in found for i in range(low, high)} == {i for a, b in intervals for i in range(a, b)}
    assert all(one[1] < two[0] for one, two in itertools.pairwise(found))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(which=st.integers(0, len(TEXTS) - 1), as_bytes=st.booleans(), wanted=INTERVALS, data=st.data())
def test_passages_cut_at_tokens_are_what_each_cut_decodes_to(
    make_reader: MakeReader, which: int, as_bytes: bool, wanted: list[tuple[int, int]], data: st.DataObject
) -> None:
    reader = _reader(make_reader, as_bytes=as_bytes)
    shard = reader.shards[0]
    begin, end = shard.token_range(which)
    clipped = [(begin + low, min(end, begin + high)) for low, high in wanted if begin + low < end]
    found = read_passages(shard, reader.tokenizer, clipped)
    for low, high in clipped:
        passage = next(p for p in found if p.first <= low and high <= p.last)
        cut = passage.text[passage.begin_of(low) : passage.end_of(high)]
        raw = reader.tokenizer.to_bytes(shard.tokens[low:high])
        while raw and raw[0] & 0xC0 == 0x80:
            raw = raw[1:]
        assert cut == raw.decode("utf-8", "ignore")
        assert passage.masked == mask_personal_data(passage.text)


_READERS: dict[int, dict[bool, IndexReader]] = {}


def _reader(make_reader: MakeReader, *, as_bytes: bool) -> IndexReader:
    """One reader of each kind for all examples."""
    if id(make_reader) not in _READERS:
        _READERS.clear()
        _READERS[id(make_reader)] = {kind: make_reader(as_bytes=kind) for kind in (False, True)}
    return _READERS[id(make_reader)][as_bytes]


def test_personal_data_is_masked_where_a_snippet_cuts_it_off(make_reader: MakeReader) -> None:
    secrets = ("ringmaster.of.the.fair@carousel.example", "+1 555 010 9999", "192.168.117.204")
    for secret, snippet_tokens in itertools.product(secrets, range(12)):
        corpora = [SearchableCorpus("fair", [make_reader((f"Ask {secret} now, zanzibar, at {secret} then.",))])]
        asked = TraceParameters(density=None, snippet_tokens=snippet_tokens, context_tokens=0)
        [span] = trace_text("zanzibar", corpora, parameters=asked).spans
        [match] = span.matches
        rest = match.snippet.replace(MASK, "")
        assert match.snippet[match.snippet_start : match.snippet_end] == "zanzibar"
        assert not set(rest) & set("@0123456789")
        assert "ringmaster" not in rest
        assert "example" not in rest


def test_each_document_is_scanned_once_however_many_spans_hit_it(
    make_reader: MakeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = " ".join(f"word{i} carousel{i} turns." for i in range(30))
    reader = make_reader((text, "Another with word7 carousel7 in it."))
    scanned: list[str] = []

    def counted(piece: str) -> str:
        scanned.append(piece)
        return mask_personal_data(piece)

    monkeypatch.setattr(passages, "mask_personal_data", counted)
    asked = "\n".join(f"word{i} carousel{i}" for i in range(30))
    result = trace_text(asked, [SearchableCorpus("fair", [reader])], parameters=ALL)
    assert sum(len(span.matches) for span in result.spans) > 30
    assert sorted(scanned) == sorted((text, "Another with word7 carousel7 in it."))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    texts=st.lists(st.sampled_from(["a", "b", "ab", "a b", "A draw. " * 9, "A draw. " * 9 + "x"]), min_size=1),
    as_bytes=st.booleans(),
)
def test_documents_are_copies_when_their_texts_are_equal(
    make_reader: MakeReader, texts: list[str], as_bytes: bool
) -> None:
    one = make_reader(tuple(texts))
    two = make_reader(tuple(reversed(texts)), as_bytes=as_bytes)
    places = {f"{n}/{i}": DocumentPlace(r, 0, i) for n, r in enumerate((one, two)) for i in range(len(texts))}
    written = {f"{n}/{i}": text for n, own in enumerate((texts, texts[::-1])) for i, text in enumerate(own)}
    numbers = number_copies(places)
    assert set(numbers) == {id for id, text in written.items() if list(written.values()).count(text) > 1}
    for a, b in itertools.combinations(numbers, 2):
        assert (numbers[a] == numbers[b]) == (written[a] == written[b])
