"""Eight REST clients at once, each asking for traces and reading them, through web, Celery, Redis and PostgreSQL.

    python -m benchmarks.trace_clients [--answers answers.json] [--tokenizer tokenizer.json] [--megabytes 45]
        [--clients 8] [--seconds 15] [--web 1] [--workers 2]

PostgreSQL, Redis, web and workers are its own, on loopback. The index is of text of installed packages.
A client posts a text, reads the trace with `Prefer: wait`, checks that it is done, and posts the next.
Prints traces a second, the processor time of each service a trace, and the rate that this time allows on all
cores: the figure that counts where the machine is shared.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.production import Production, production
from benchmarks.trace import TOKENIZER, installed_text, read_answers, spliced_answers
from tracer.engine import IndexReader, SearchableCorpus, trace_text

CORPUS = "installed"


class Client(threading.Thread):
    """Asks for traces over one kept connection until told to stop; `waits_s` holds the time of each."""

    def __init__(self, address: str, answers: list[dict[str, str]], number: int, stop: threading.Event) -> None:
        super().__init__(name=f"client-{number}")
        self._connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
        self._answers = answers[number:] + answers[:number]
        self._stop_asking = stop
        self.waits_s: list[float] = []
        self.n_reads = 0
        self.error = ""

    def run(self) -> None:
        try:
            while not self._stop_asking.is_set():
                for answer in self._answers:
                    if self._stop_asking.is_set():
                        break
                    begin = time.perf_counter()
                    self._trace(answer)
                    self.waits_s.append(time.perf_counter() - begin)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"

    def _trace(self, answer: dict[str, str]) -> None:
        status, headers, created = self._send("POST", "/api/v1/traces/", json.dumps(answer).encode())
        if status != 202:
            raise RuntimeError(f"POST answered {status}: {created}")
        while True:
            status, _, shown = self._send("GET", headers["Location"])
            self.n_reads += 1
            if status != 200 or shown["status"] == "failed":
                raise RuntimeError(f"GET answered {status}: {str(shown)[:300]}")
            if shown["status"] == "done":
                return

    def _send(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any, Any]:
        self._connection.request(method, path, body, {"Content-Type": "application/json", "Prefer": "wait=10"})
        response = self._connection.getresponse()
        return response.status, response.headers, json.loads(response.read())


@contextmanager
def running_site(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[Production, IndexReader]]:
    """Yield a site of its own with one index, and that index."""
    corpus = folder / "corpus.jsonl"
    with corpus.open("w", encoding="utf-8") as out:
        for number, document in enumerate(installed_text(int(arguments.megabytes * 1e6))):
            out.write(json.dumps({"id": str(number), "text": document.text, "title": document.id}) + "\n")
    with production(folder, FAIRGROUND_LOG_LEVEL="WARNING") as site:
        facts = ["--owner", "Packages", "--licence", "various", "--title", "Installed packages"]
        site.manage("add_corpus", CORPUS, str(corpus), *facts)
        site.manage("build_index", CORPUS, "--tokenizer", str(arguments.tokenizer))
        site.start("web", [*site.commands["web"], "--processes", str(arguments.web)])
        site.start("worker-trace", [*site.commands["worker-trace"], "--concurrency", str(arguments.workers)])
        [index] = (folder / "data" / "indexes" / CORPUS).iterdir()
        yield site, IndexReader.open(index)


def processor_s(site: Production) -> dict[str, float]:
    """Return the seconds of processor time that each service has used, and this process as `clients`."""
    ticks = os.sysconf("SC_CLK_TCK")
    used = dict.fromkeys(site.running, 0.0)
    groups = {process.pid: name for name, process in site.running.items()}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                if name := groups.get(os.getpgid(int(folder.name))):
                    numbers = (folder / "stat").read_text().rpartition(")")[2].split()
                    used[name] += (int(numbers[11]) + int(numbers[12])) / ticks
    return {**used, "clients": time.process_time()}


def engine_ms(reader: IndexReader, answers: list[dict[str, str]]) -> float:
    """Return the milliseconds of one trace in this process, searching and scoring only, warm."""
    corpora = [SearchableCorpus(CORPUS, [reader])]
    for answer in answers[:5]:
        trace_text(answer["text"], corpora)
    begin = time.perf_counter()
    for answer in answers:
        json.dumps(trace_text(answer["text"], corpora, prompt=answer["prompt"]).to_dict())
    return (time.perf_counter() - begin) * 1000 / len(answers)


def ask(address: str, answers: list[dict[str, str]], n_clients: int, seconds: float) -> list[Client]:
    """Let the clients ask for some seconds and return them."""
    stop = threading.Event()
    clients = [Client(address, answers, number, stop) for number in range(n_clients)]
    for client in clients:
        client.start()
    time.sleep(seconds)
    stop.set()
    for client in clients:
        client.join()
    if errors := [client.error for client in clients if client.error]:
        raise RuntimeError(errors[0])
    return clients


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=Path, help="JSON list of answers, or of objects with a text")
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER)
    parser.add_argument("--megabytes", type=float, default=45)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--web", type=int, default=1, help="web processes")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, running_site(arguments, Path(name)) as (site, reader):
        answers = _read_questions(arguments.answers) or [
            {"text": text, "prompt": ""} for text in spliced_answers(reader, 40)
        ]
        alone = engine_ms(reader, answers)
        print(f"index {reader.n_tokens:,} tokens; {len(answers)} answers; engine alone {alone:.1f} ms a trace")
        ask(site.address, answers, arguments.clients, 3)
        before, load, begin = processor_s(site), os.getloadavg()[0], time.perf_counter()
        clients = ask(site.address, answers, arguments.clients, arguments.seconds)
        seconds = time.perf_counter() - begin
        spent = {name: used - before[name] for name, used in processor_s(site).items()}
        report(clients, seconds, spent, load)


def report(clients: list[Client], seconds: float, spent: dict[str, float], load: float) -> None:
    """Print the rate, the waits, and where the time went."""
    waits = sorted(wait for client in clients for wait in client.waits_s)
    n_reads = sum(client.n_reads for client in clients) / len(waits)
    print(f"{len(clients)} clients: {len(waits) / seconds:.1f} traces/s, {n_reads:.2f} reads each; load {load:.1f}")
    print(f"wait: median {statistics.median(waits):.3f} s, p95 {waits[int(0.95 * len(waits))]:.3f} s")
    each = {name: used * 1000 / len(waits) for name, used in spent.items()}
    total, n_cores = sum(each.values()), os.cpu_count() or 1
    print("processor ms a trace: " + ", ".join(f"{name} {ms:.1f}" for name, ms in each.items()) + f"; sum {total:.1f}")
    print(f"so {n_cores} cores allow {n_cores * 1000 / total:.1f} traces/s")


def _read_questions(path: Path | None) -> list[dict[str, str]]:
    if path is None:
        return []
    prompts = [str(e.get("prompt", "")) if isinstance(e, dict) else "" for e in json.loads(path.read_text("utf-8"))]
    return [{"text": text, "prompt": prompt} for text, prompt in zip(read_answers(path), prompts, strict=True) if text]


if __name__ == "__main__":
    main()
