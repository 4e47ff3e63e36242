"""The preset "as OLMoTrace" against production's way: the stock engine's spans, ranked and cut as infinigram-api does.

The engine runs in a child process, since it may end its process; each example asks it about many texts at once.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tracer.engine.conftest import TEXTS, MakeReader
from tracer.engine import (
    CorpusDocument,
    IndexReader,
    RankBy,
    SearchableCorpus,
    TraceParameters,
    build_index,
    trace_text,
)

pytestmark = pytest.mark.skipif(find_spec("infini_gram") is None, reason="infini-gram has no wheel for this machine")
ROOT = Path(__file__).resolve().parents[3]
PRESET = TraceParameters.from_mapping({"preset": "olmotrace"})
SCRIPT = """
import json, sys
from infini_gram.engine import InfiniGramEngine
job = json.load(sys.stdin)
engine = InfiniGramEngine(index_dir=job["folder"], eos_token_id=0, vocab_size=65535, version=4,
    token_dtype=job["dtype"], bow_ids_path=job["bow"], precompute_unigram_logprobs=True, attribution_block_size=256)
answers = [engine.attribute(input_ids=ids, delim_ids=job["delimiters"], min_len=job["min_len"], max_cnt=job["max_cnt"],
    enforce_bow=True)["spans"] for ids in job["texts"]]
print("RESULT" + json.dumps([[[s["l"], s["r"], s["count"], s["unigram_logprob_sum"]] for s in a] for a in answers]))
"""
Span = tuple[int, int, int]
PIECES = st.sampled_from(
    [text[i : i + n] for text in TEXTS for i in range(0, len(text), 4) for n in (1, 3, 9, 25)]
    + ["\n", "\n\n", " ", "  ", ".", ".\n", "\t", " \n", "🎉", " The", "xyzzy"]
)
LONG_TEXTS = st.lists(st.lists(PIECES, min_size=1, max_size=60).map("".join), min_size=8, max_size=16)


def stock_spans(
    reader: IndexReader, folder: Path, texts: list[str], *, min_len: int = 1, max_cnt: int = 1_000_000
) -> list[list[list[Any]]]:
    """Return (left, right, count, log probability) of the stock engine's spans of each text.

    Words begin with the tokens of infinigram-api's list, which are those that begin with a space or a line feed.
    """
    table = reader.tokenizer.token_bytes
    bow = folder / "bow.txt"
    bow.write_text("".join(f"{i}\n" for i, token in enumerate(table) if token[:1] in (b" ", b"\n")))
    job = {
        "folder": str(reader.folder),
        "dtype": {1: "u8", 2: "u16", 4: "u32"}[reader.manifest.token_width],
        "bow": str(bow),
        "texts": [reader.tokenizer.encode(text).ids.tolist() for text in texts],
        "delimiters": [i for i, token in enumerate(table) if token in (b"\n", b".")],
        "min_len": min_len,
        "max_cnt": max_cnt,
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(job), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    return list(json.loads(line.removeprefix("RESULT")))


def in_production(spans: list[list[Any]], n_tokens: int, parameters: TraceParameters) -> list[Span]:
    """Keep the spans that production keeps: ranked, ceil(density · tokens) of them, in order of the text."""
    if parameters.rank_by is RankBy.RARITY:
        ranked = sorted(spans, key=lambda span: span[3])
    else:
        ranked = sorted(spans, key=lambda span: span[1] - span[0], reverse=True)
    kept = ranked if parameters.density is None else ranked[: math.ceil(n_tokens * parameters.density)]
    return [(left, right, count) for left, right, count, _ in sorted(kept, key=lambda span: span[0])]


def our_spans(reader: IndexReader, text: str, parameters: TraceParameters) -> list[Span]:
    """Return (left, right, count) of a trace's spans, whose place in the text must be that of their tokens."""
    tokens = reader.tokenizer.encode(text)
    found = []
    for span in trace_text(text, [SearchableCorpus("fair", [reader])], parameters=parameters).spans:
        left, right = span.token_start, span.token_start + span.length_tokens
        whole = text[tokens.starts[left] : tokens.ends[right - 1]]
        assert span.text == text[span.start : span.end] == (whole.strip() or whole)
        count = span.counts["fair"]
        assert isinstance(count, int)
        found.append((left, right, count))
    return sorted(found)


_READERS: dict[Path, list[IndexReader]] = {}


def readers_of(make_reader: MakeReader, tmp_path: Path) -> list[IndexReader]:
    """Return readers of one and of three shards, made once for all examples."""
    if tmp_path not in _READERS:
        _READERS.clear()
        _READERS[tmp_path] = [make_reader((*TEXTS, "\n\n The carousel", " The\n"), 3), make_reader(TEXTS[:2] * 2)]
    return _READERS[tmp_path]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(texts=LONG_TEXTS, which=st.integers(0, 1))
def test_preset_gives_productions_spans_and_counts_in_any_text(
    make_reader: MakeReader, tmp_path: Path, texts: list[str], which: int
) -> None:
    reader = readers_of(make_reader, tmp_path)[which]
    for text, stock in zip(texts, stock_spans(reader, tmp_path, texts), strict=True):
        n_tokens = len(reader.tokenizer.encode(text).ids)
        assert our_spans(reader, text, PRESET) == in_production(stock, n_tokens, PRESET)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    texts=LONG_TEXTS,
    minimum=st.integers(1, 4),
    cap=st.sampled_from([1, 2, 5, 1_000_000]),
    density=st.sampled_from([None, 0.05, 0.3]),
    rank_by=st.sampled_from(RankBy),
)
def test_olmotraces_rules_agree_with_production_under_other_settings(
    make_reader: MakeReader,
    tmp_path: Path,
    texts: list[str],
    minimum: int,
    cap: int,
    density: float | None,
    rank_by: RankBy,
) -> None:
    reader = readers_of(make_reader, tmp_path)[0]
    asked = replace(PRESET, min_length_tokens=minimum, max_frequency=cap, density=density, rank_by=rank_by)
    found = stock_spans(reader, tmp_path, texts, min_len=minimum, max_cnt=cap)
    for text, stock in zip(texts, found, strict=True):
        n_tokens = len(reader.tokenizer.encode(text).ids)
        assert our_spans(reader, text, asked) == in_production(stock, n_tokens, asked)


def test_preset_gives_productions_spans_of_real_text(tmp_path: Path) -> None:
    documents = [CorpusDocument(path.name, path.read_text("utf-8")) for path in sorted((ROOT / "docs").glob("*.md"))]
    build_index(documents, tmp_path / "index", ROOT / "webapp/demo/checkpoint/tokenizer.json", n_shards=2)
    reader = IndexReader.open(tmp_path / "index")
    whole = "\n".join((ROOT / name).read_text("utf-8") for name in ("README.md", "CHANGELOG.md"))
    texts = [whole[i : i + 2500] for i in range(0, len(whole), 2500)]
    n_spans = 0
    for text, stock in zip(texts, stock_spans(reader, tmp_path, texts), strict=True):
        n_tokens = len(reader.tokenizer.encode(text).ids)
        ours = our_spans(reader, text, PRESET)
        assert ours == in_production(stock, n_tokens, PRESET)
        assert our_spans(reader, text, replace(PRESET, density=None)) == [(*place,) for *place, _ in stock]
        n_spans += len(ours)
    assert n_spans > 100
