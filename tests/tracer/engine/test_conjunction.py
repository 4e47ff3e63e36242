"""AND of ORs over documents, against looking through every document."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tracer.engine.conftest import TEXTS, MakeReader
from tracer.engine.conjunction import find_fulfilling
from tracer.engine.occurrences import count_in_tokens

WORDS = (" the", " The", "The", " music", " carousel", " turns", " plays", " fair", " a", ".", "zebra")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_finds_the_documents_that_a_look_through_all_finds(make_reader: MakeReader, data: st.DataObject) -> None:
    reader = make_reader(TEXTS * 2, data.draw(st.integers(1, 3)))
    words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4)
    clauses = data.draw(st.lists(words, min_size=1, max_size=4))
    cnf = [[reader.tokenizer.encode(word).ids.tolist() for word in clause] for clause in clauses]
    found, is_sampled = find_fulfilling(reader, cnf)
    expected = [
        document.index
        for document in reader.documents()
        if all(any(count_in_tokens(document.token_ids, ids) for ids in clause) for clause in cnf)
    ]
    assert [reader.document_number(f.shard, f.document) for f in found] == expected
    assert not is_sampled
    for place in found:
        at = place.pointer // reader.manifest.token_width
        tokens = reader.shards[place.shard].tokens
        assert any(tokens[at : at + len(ids)].tolist() == ids for ids in cnf[0])


def test_says_that_it_is_an_estimate_when_a_clause_is_too_frequent(make_reader: MakeReader) -> None:
    reader = make_reader(TEXTS * 20)
    ids = reader.tokenizer.encode(" the").ids.tolist()
    found, is_sampled = find_fulfilling(reader, [[ids]], max_occurrences=5)
    assert is_sampled
    assert 0 < len(found) <= 5
