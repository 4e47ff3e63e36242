"""The child process that runs the stock infini-gram engine, which may end its process at any time.

Run as a file, by `stock.StockEngine` only: JSON lines in on standard input, JSON lines out on the first
standard output. Its working folder holds one folder an index, of links that the parent made. It knows
nothing of the rest of the package, so that it starts fast.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any

MAX_PRIVATE_BYTES = 4 * 1024**3
MAX_POINTERS = 2000
DTYPES = {1: "u8", 2: "u16", 4: "u32"}


def open_engine(name: str, width: int) -> Any:
    """Open an index below the working folder; the separator is all ones and no end-of-text id is used."""
    from infini_gram.engine import InfiniGramEngine

    size = min(2 ** (8 * width) - 1, 2**31 - 1)
    return InfiniGramEngine(
        index_dir=name, eos_token_id=size - 1, vocab_size=size, version=4, token_dtype=DTYPES[width]
    )


def answer(engine: Any, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run one query; an `error` member says what the engine refused."""
    if operation == "cnf":
        found = engine.find_cnf(**arguments)
        if "error" in found:
            return dict(found)
        pointers = found["ptrs_by_shard"]
        n_found = sum(map(len, pointers))
        step = max(1, -(-n_found // MAX_POINTERS))
        kept = [[shard, pointer] for shard, own in enumerate(pointers) for pointer in own[::step]]
        return {"count": found["cnt"], "approx": found["approx"], "n_found": n_found, "pointers": kept}
    if operation not in {"count", "prob", "ntd", "infgram_prob", "infgram_ntd"}:
        return {"error": f"unknown operation {operation}"}
    result = dict(getattr(engine, operation)(**arguments))
    if "result_by_token_id" in result:
        items = result.pop("result_by_token_id").items()
        result["next"] = sorted(([i, r["cont_cnt"], r["prob"]] for i, r in items), key=lambda n: (-n[1], n[0]))
    return result


def main() -> None:
    """Answer until standard input ends."""
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # the engine prints; only answers may reach the parent
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_PRIVATE_BYTES, MAX_PRIVATE_BYTES))
    engines: dict[str, Any] = {}
    for line in sys.stdin:
        job = json.loads(line)
        try:
            if job["index"] not in engines:
                engines[job["index"]] = open_engine(job["index"], job["width"])
            reply = answer(engines[job["index"]], job["operation"], job["arguments"])
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=out, flush=True)


if __name__ == "__main__":
    main()
