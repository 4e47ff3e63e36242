"""Time from a REST request to its first token, on the demonstration's site, against an empty page's answer.

    python -m benchmarks.first_token [--url http://127.0.0.1:8000] [--n 20]

Without --url it prepares and serves a site of its own. Prints milliseconds and the ratio to
`GET /about/` of the same site in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import nullcontext

import httpx

from benchmarks.site import demonstration_site


def first_token_ms(client: httpx.Client, seed: int) -> float:
    """Post one generation and return the milliseconds until its stream carries the first token."""
    begin = time.perf_counter()
    body = {"prompt": "def mean(", "max_tokens": 8, "temperature": 0.7, "seed": seed}
    created = client.post("/api/v1/generations/", json=body)
    created.raise_for_status()
    with client.stream("GET", f"{created.headers['Location']}stream/") as stream:
        for line in stream.iter_lines():
            if line.startswith("event: token"):
                elapsed_ms = (time.perf_counter() - begin) * 1000
                break
        else:
            raise RuntimeError("the stream ended without a token")
    _wait_until_done(client, created.headers["Location"])
    return elapsed_ms


def _wait_until_done(client: httpx.Client, location: str) -> None:
    while client.get(location).json()["status"] in {"pending", "running"}:
        time.sleep(0.01)


def page_ms(client: httpx.Client) -> float:
    """Return the milliseconds of one page that does no work."""
    begin = time.perf_counter()
    client.get("/about/").raise_for_status()
    return (time.perf_counter() - begin) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a running site (default: one is prepared and served for the run)")
    parser.add_argument("--n", type=int, default=20)
    arguments = parser.parse_args()
    site = nullcontext(arguments.url) if arguments.url else demonstration_site()
    with site as address, httpx.Client(base_url=address, timeout=60) as client:
        first_token_ms(client, seed=0)
        tokens = sorted(first_token_ms(client, seed) for seed in range(1, arguments.n + 1))
        pages = [page_ms(client) for _ in range(arguments.n)]
    median, baseline = statistics.median(tokens), statistics.median(pages)
    p95 = tokens[min(len(tokens) - 1, int(0.95 * len(tokens)))]
    print(f"first token: median {median:.1f} ms, p95 {p95:.1f} ms ({arguments.n} requests, one at a time)")
    print(f"empty page:  median {baseline:.1f} ms; ratio {median / baseline:.1f}")


if __name__ == "__main__":
    main()
