"""The stock engine in a child process: the bare call for spans, or the peer's whole way from spans to JSON.

`StockSide` starts it; run as a module, it answers JSON lines. The whole way is what infinigram-api's worker does:
`attribute` with max_cnt = 1,000,000, the ceil(0.05 · L) rarest spans, ten of their documents' pointers at random,
`get_docs_by_ptrs_2` with 250 tokens on either side, their text, JSON.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.cold_pages import evict, read_bytes, release
from tracer.engine import IndexReader

N_DOCUMENTS, CONTEXT_TOKENS, DENSITY = 10, 250, 0.05
MAX_COUNT, BARE_COUNT = 1_000_000, 10
Reply = dict[str, Any]


class StockSide:
    """A child with an open engine; `prefetches` are its depths for tokens, table and offsets."""

    def __init__(self, reader: IndexReader, folder: Path, prefetches: tuple[int, int, int]) -> None:
        self._reader = reader
        table = reader.tokenizer.token_bytes
        bow = folder / "bow.txt"
        bow.write_text("".join(f"{i}\n" for i, token in enumerate(table) if token[:1] in (b" ", b"\n")))
        self._delimiters = [i for i, token in enumerate(table) if token in (b"\n", b".")]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.stock_side"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        dtype = {1: "u8", 2: "u16", 4: "u32"}[reader.manifest.token_width]
        tokenizer = str(reader.tokenizer.path) if reader.tokenizer.path else ""
        self._send(folder=str(reader.folder), dtype=dtype, bow=str(bow), tokenizer=tokenizer, prefetches=prefetches)

    def ask(self, answer: str, *, whole: bool, max_count: int, is_cold: bool = False) -> Reply:
        """Return `ms`, `processor_ms` (all threads), `spans` (start, end, count); cold, `read_bytes`, `left` pages."""
        ids = self._reader.tokenizer.encode(answer).ids.tolist()
        return self._send(ids=ids, delimiters=self._delimiters, whole=whole, max_count=max_count, is_cold=is_cold)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _send(self, **job: Any) -> Reply:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("REPLY"):
                return dict(json.loads(line.removeprefix("REPLY")))
        raise RuntimeError(f"the stock engine ended with {self._process.wait()}")


def _answer(engine: Any, tokenizer: Any, job: dict[str, Any]) -> list[list[int]]:
    found = engine.attribute(
        input_ids=job["ids"], delim_ids=job["delimiters"], min_len=1, max_cnt=job["max_count"], enforce_bow=True
    )
    spans = found["spans"]
    if job["whole"]:
        n_kept = math.ceil(DENSITY * len(job["ids"]))
        kept = sorted(sorted(spans, key=lambda s: s["unigram_logprob_sum"])[:n_kept], key=lambda s: s["l"])
        requests = []
        for span in kept:
            drawn = random.sample(span["docs"], min(N_DOCUMENTS, len(span["docs"])))
            requests += [(doc["s"], doc["ptr"], span["length"], CONTEXT_TOKENS) for doc in drawn]
        documents = engine.get_docs_by_ptrs_2(requests)
        texts = tokenizer.decode_batch([document["token_ids"] for document in documents], skip_special_tokens=False)
        json.dumps([[{**s, "docs": None} for s in kept], documents, texts])
    return [[span["l"], span["r"], span["count"]] for span in spans]


def main() -> None:
    from infini_gram.engine import InfiniGramEngine
    from tokenizers import Tokenizer

    setting = json.loads(sys.stdin.readline())
    depths = dict(
        zip(("ds_prefetch_depth", "sa_prefetch_depth", "od_prefetch_depth"), setting["prefetches"], strict=True)
    )
    engine = InfiniGramEngine(
        index_dir=setting["folder"],
        eos_token_id=0,
        vocab_size=2**31 - 1 if setting["dtype"] == "u32" else 65535,
        version=4,
        token_dtype=setting["dtype"],
        bow_ids_path=setting["bow"],
        precompute_unigram_logprobs=True,
        **depths,
    )
    tokenizer = Tokenizer.from_file(setting["tokenizer"]) if setting["tokenizer"] else None
    folder = Path(setting["folder"])
    print("\nREPLY{}", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        left = evict(folder) if job["is_cold"] else 0
        before, begin, used = read_bytes(), time.perf_counter(), time.process_time()
        spans = _answer(engine, tokenizer, job)
        reply = {"ms": (time.perf_counter() - begin) * 1000, "spans": spans, "left": left}
        reply["processor_ms"] = (time.process_time() - used) * 1000
        reply["read_bytes"] = read_bytes() - before
        if job["is_cold"]:
            release(folder)
        print("\nREPLY" + json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
