"""Eight REST clients at once, each asking for traces and reading them, through web, Celery, Redis and PostgreSQL.

    python -m benchmarks.trace_clients [--answers answers.json] [--tokenizer tokenizer.json] [--megabytes 45]
        [--clients 8] [--seconds 15] [--web 1] [--workers 1,2,4]

PostgreSQL, Redis, web and workers are its own, on loopback. The index is of text of installed packages. Requests are
counted for limits, which are set so high that nobody meets them.
First the engine alone does the same traces in this process, on one core. Then, for each number of worker processes, a
client posts a text with `Prefer: wait`, reads the trace again if it is not done, and posts the next. Prints traces a
second, the processor time of each service a trace, and the rate that this time allows on all cores: the figure that
counts where the machine is shared. Web overhead is the web's processor time a trace over the engine's; a lone client's
wait is told beside the engine's time, too. Last come the same texts in batches, one a worker (without their prompts,
which batches have not), each as one POST, one job and one answer of JSON lines.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks.production import Production, production
from benchmarks.trace import TOKENIZER, installed_text, read_answers, spliced_answers
from tracer.engine import IndexReader, SearchableCorpus, trace_text

CORPUS = "installed"
LIMITS = ",".join(f"{resource}={10**6}" for resource in ("read", "trace", "generate", "arena", "manage"))
WARM_TRACES = 40  # of each worker process


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
        if status not in (201, 202):
            raise RuntimeError(f"POST answered {status}: {created}")
        if created["status"] == "done":
            return
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
    """Yield a site of its own with one index and no worker, and that index."""
    corpus = folder / "corpus.jsonl"
    with corpus.open("w", encoding="utf-8") as out:
        for number, document in enumerate(installed_text(int(arguments.megabytes * 1e6))):
            out.write(json.dumps({"id": str(number), "text": document.text, "title": document.id}) + "\n")
    with production(folder, FAIRGROUND_LOG_LEVEL="WARNING", FAIRGROUND_LIMITS=LIMITS) as site:
        facts = ["--owner", "Packages", "--licence", "various", "--title", "Installed packages"]
        site.manage("add_corpus", CORPUS, str(corpus), *facts)
        site.manage("build_index", CORPUS, "--tokenizer", str(arguments.tokenizer))
        site.start("web", [*site.commands["web"], "--processes", str(arguments.web)])
        [index] = (folder / "data" / "indexes" / CORPUS).iterdir()
        yield site, IndexReader.open(index)


def processor_s(site: Production) -> dict[str, float]:
    """Return the seconds of processor time that each service has used, and this process as `clients`."""
    return {**{name: site.processor_s(name) for name in site.running}, "clients": time.process_time()}


@dataclass(frozen=True)
class Alone:
    """What a trace costs the engine alone: milliseconds, their median, and those of processor time."""

    ms: float
    median_ms: float
    processor_ms: float


def measure_engine(reader: IndexReader, answers: list[dict[str, str]]) -> Alone:
    """Trace all answers in this process, text to JSON, as a worker does it, once everything is warm."""
    corpora = [SearchableCorpus(CORPUS, [reader])]
    times: list[float] = []
    for part in (answers[:5], answers):
        times, begin = [], time.process_time()
        for answer in part:
            started = time.perf_counter()
            found = trace_text(answer["text"], corpora, prompt=answer["prompt"], measures_originality=True)
            json.dumps(found.to_dict())
            times.append((time.perf_counter() - started) * 1000)
    processor_ms = (time.process_time() - begin) * 1000 / len(answers)
    return Alone(statistics.mean(times), statistics.median(times), processor_ms)


@contextmanager
def workers(site: Production, n_workers: int, answers: list[dict[str, str]]) -> Iterator[None]:
    """Run a worker of so many processes, warm, for the length of the block."""
    site.start("worker-trace", [*site.commands["worker-trace"], "--concurrency", str(n_workers)])
    try:
        n_warm = 0
        while n_warm < WARM_TRACES * n_workers:
            n_warm += sum(len(client.waits_s) for client in ask(site.address, answers, 2 * n_workers, 1))
        yield
    finally:
        site.kill("worker-trace", signal.SIGTERM)


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


def ask_batches(address: str, answers: list[dict[str, str]], n_batches: int) -> int:
    """Post the texts as so many batches at once, read the results of all, and return how many traces they hold."""
    texts = [answer["text"] for answer in answers]
    with httpx.Client(base_url=address, timeout=600) as client:
        made = [client.post("/api/v1/traces/batch/", json={"texts": texts}) for _ in range(n_batches)]
        n_done = 0
        for batch in made:
            where = batch.raise_for_status().headers["Location"]
            while (state := client.get(where).json())["status"] in {"pending", "running"}:
                time.sleep(0.5)
            lines = [json.loads(line) for line in client.get(state["results"]).text.splitlines()]
            if unfinished := [line for line in lines if line["status"] != "done"]:
                raise RuntimeError(f"of a batch: {str(unfinished[0])[:300]}")
            n_done += len(lines)
    return n_done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=Path, help="JSON list of answers, or of objects with a text")
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER)
    parser.add_argument("--megabytes", type=float, default=45)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--web", type=int, default=1, help="web processes")
    parser.add_argument("--workers", default="2", help="numbers of worker processes, such as 1,2,4")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, running_site(arguments, Path(name)) as (site, reader):
        answers = _read_questions(arguments.answers) or [
            {"text": text, "prompt": ""} for text in spliced_answers(reader, 40)
        ]
        print(f"index {reader.n_tokens:,} tokens; {len(answers)} answers; load {os.getloadavg()[0]:.1f}")
        alone = measure_engine(reader, answers)
        print(f"engine alone: {alone.ms:.1f} ms a trace, {alone.processor_ms:.1f} ms of processor time")
        for n_workers in map(int, arguments.workers.split(",")):
            with workers(site, n_workers, answers):
                print(f"\n{n_workers} worker processes; load {os.getloadavg()[0]:.1f}", flush=True)
                measure_site(site, answers, arguments, alone, n_workers)


def measure_site(
    site: Production, answers: list[dict[str, str]], arguments: argparse.Namespace, alone: Alone, n_workers: int
) -> None:
    """Measure many clients, a lone one, and batches, and print what was found."""
    before, begin = processor_s(site), time.perf_counter()
    clients = ask(site.address, answers, arguments.clients, arguments.seconds)
    waits = sorted(wait for client in clients for wait in client.waits_s)
    n_reads = sum(client.n_reads for client in clients) / len(waits)
    rate = len(waits) / (time.perf_counter() - begin)
    print(f"{len(clients)} clients: {rate:.1f} traces/s, {n_reads:.2f} reads each")
    print(f"wait: median {statistics.median(waits):.3f} s, p95 {waits[int(0.95 * len(waits))]:.3f} s")
    web_ms = report_processor(before, processor_s(site), len(waits))
    print(f"web overhead: {web_ms / alone.processor_ms:.0%} of the engine's processor time")

    lone_ms = 1000 * statistics.median(ask(site.address, answers, 1, arguments.seconds / 3)[0].waits_s)
    print(f"a lone client: median {lone_ms:.1f} ms, {lone_ms / alone.median_ms:.2f} times the engine's")

    before, begin = processor_s(site), time.perf_counter()
    n_done = ask_batches(site.address, answers, n_workers)
    print(f"batches, one a worker: {n_done / (time.perf_counter() - begin):.1f} traces/s")
    report_processor(before, processor_s(site), n_done)


def report_processor(before: dict[str, float], after: dict[str, float], n_traces: int) -> float:
    """Print where processor time went since `before`, and what it allows; return the web's milliseconds a trace."""
    each = {name: (used - before[name]) * 1000 / n_traces for name, used in after.items()}
    total, n_cores = sum(each.values()), os.cpu_count() or 1
    print("processor ms a trace: " + ", ".join(f"{name} {ms:.1f}" for name, ms in each.items()) + f"; sum {total:.1f}")
    print(f"so {n_cores} cores allow {n_cores * 1000 / total:.1f} traces/s")
    return each["web"]


def _read_questions(path: Path | None) -> list[dict[str, str]]:
    if path is None:
        return []
    prompts = [str(e.get("prompt", "")) if isinstance(e, dict) else "" for e in json.loads(path.read_text("utf-8"))]
    return [{"text": text, "prompt": prompt} for text, prompt in zip(read_answers(path), prompts, strict=True) if text]


if __name__ == "__main__":
    main()
