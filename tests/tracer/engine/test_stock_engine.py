"""The same files under the stock infini-gram engine, in a child process, since it may end its process."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.tracer.engine.conftest import TEXTS, MakeReader
from tracer.engine import Boundaries, IndexReader, TraceParameters
from tracer.engine.boundaries import find_boundaries
from tracer.engine.spans import find_spans

pytestmark = pytest.mark.skipif(find_spec("infini_gram") is None, reason="infini-gram has no wheel for this machine")
SCRIPT = """
import json, sys
from infini_gram.engine import InfiniGramEngine
job = json.load(sys.stdin)
engine = InfiniGramEngine(index_dir=job["folder"], eos_token_id=0, vocab_size=65535, version=4,
    token_dtype=job["dtype"], bow_ids_path=job["bow"], precompute_unigram_logprobs=True, attribution_block_size=512)
counts = [engine.count(input_ids=ids)["count"] for ids in job["counts"]]
answer = engine.attribute(input_ids=job["ids"], delim_ids=job["delimiters"], min_len=1, max_cnt=1000000,
    enforce_bow=True) if job["ids"] else {"spans": []}
spans = [[s["l"], s["r"], s["count"], s["unigram_logprob_sum"]] for s in answer["spans"]]
print("RESULT" + json.dumps({"counts": counts, "spans": spans}))
"""


def ask_stock_engine(reader: IndexReader, tmp_path: Path, counts: list[list[int]], ids: list[int]) -> dict[str, Any]:
    table = reader.tokenizer.token_bytes
    bow = tmp_path / "bow.txt"
    bow.write_text("".join(f"{i}\n" for i, token in enumerate(table) if token[:1] in (b" ", b"\n")))
    job = {
        "folder": str(reader.folder),
        "dtype": {1: "u8", 2: "u16", 4: "u32"}[reader.manifest.token_width],
        "bow": str(bow),
        "counts": counts,
        "ids": ids,
        "delimiters": [i for i, token in enumerate(table) if token in (b"\n", b".")],
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(job), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    return dict(json.loads(line.removeprefix("RESULT")))


@pytest.mark.parametrize("n_shards", [1, 3])
def test_counts_agree_with_the_stock_engine(make_reader: MakeReader, tmp_path: Path, n_shards: int) -> None:
    reader = make_reader(n_shards=n_shards)
    phrases = [" the", "The carousel turns", " music plays", "absent words", ".", " 🎉"]
    ids = [reader.tokenizer.encode(phrase).ids.tolist() for phrase in phrases]
    stock = ask_stock_engine(reader, tmp_path, ids, [])
    assert stock["counts"] == [reader.count(sequence) for sequence in ids]
    assert stock["counts"][1] == 2


@pytest.mark.parametrize("n_shards", [1, 2])
def test_spans_under_the_preset_are_those_of_the_stock_engine(
    make_reader: MakeReader, tmp_path: Path, n_shards: int
) -> None:
    reader = make_reader(n_shards=n_shards)
    text = " The music plays on. Children laugh: the carousel turns slowly. A fair draw\n return carousel" + TEXTS[2]
    tokens = reader.tokenizer.encode(text)
    bounds = find_boundaries(text, tokens, reader.tokenizer, Boundaries.OLMOTRACE)
    ours = find_spans(tokens, bounds, [reader], TraceParameters(boundaries=Boundaries.OLMOTRACE))
    stock = ask_stock_engine(reader, tmp_path, [], tokens.ids.tolist())["spans"]
    assert [(s.token_start, s.token_end, sum(s.counts)) for s in ours] == [(*place,) for *place, _ in stock]
    assert len(ours) > 3
    for mine, (*_, logprob) in zip(ours, stock, strict=True):
        assert mine.unigram_logprob == pytest.approx(logprob, abs=1e-3)
