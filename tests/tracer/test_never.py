"""No input and no file ends a process: each way to kill the stock engine, tried on this product, and what it says.

The list is that of the package infini-gram 2.6.0's known deaths. What else is refused at registration is in
`engine/test_adoption.py`, how the supervised child dies in `engine/test_stock_child.py`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tests.tracer.conftest import SENTENCE, MakeCorpus
from tests.tracer.engine.conftest import TEXTS, MakeReader, make_reader
from tracer import bulletins, registry, services
from tracer.engine import (
    CorpusDocument,
    EngineError,
    IndexFileError,
    IndexReader,
    StockCrashError,
    StockEngine,
    StockEngineError,
    StockRefusedError,
    build_index,
)
from tracer.engine.layout import PARTS
from tracer.models import Index, Trace
from webapp.jobs import JobStatus

__all__ = ["make_reader"]
ROOT = Path(__file__).resolve().parents[2]
needs_wheel = pytest.mark.skipif(find_spec("infini_gram") is None, reason="infini-gram has no wheel for this machine")
MAPPED = [part for part in PARTS if part != "unigram"]

# Files truncated while open: SIGBUS in a memory map.
SEARCHER = """
import os, sys, threading
from pathlib import Path
from tracer.engine import IndexFileError, IndexReader, SearchableCorpus, TraceParameters, trace_text
from tracer.engine.mapping import n_lost_pages
from tracer.engine.windows import find_windows
folder, part = Path(sys.argv[1]), sys.argv[2]
reader = IndexReader.open(folder)
corpus = SearchableCorpus("fair", [reader])
text = reader.document(700).text[:2000]
everything = TraceParameters(density=None)
trace_text(text[:50], [corpus], parameters=everything)
said, started = [], threading.Barrier(4)
def search(do):
    started.wait()
    try:
        while True:
            do()
    except IndexFileError as error:
        said.append(str(error))
jobs = [lambda: trace_text(text, [corpus], parameters=everything), lambda: find_windows(reader, text)]
jobs += [lambda: [reader.document(i).text for i in range(reader.n_documents)]]
threads = [threading.Thread(target=search, args=(job,)) for job in jobs]
for thread in threads:
    thread.start()
started.wait()
os.truncate(folder / f"{part}.0", 10)
for thread in threads:
    thread.join(60)
assert not any(thread.is_alive() for thread in threads), "a search goes on for ever"
print(len(said), said[0], sep="|")
# A page that is asked for after the check of sizes, as in a search that was just begun:
shard = reader.shards[0]
for array in (shard.tokens, shard.table, shard.offsets, shard.metadata, shard.metadata_offsets):
    int(array.astype("u1").sum())
print(n_lost_pages() > 0)
"""


@pytest.fixture(scope="module")
def large_index(tmp_path_factory: pytest.TempPathFactory, tokenizer_path: Path) -> Path:
    """An index whose every file has several pages."""
    documents = [CorpusDocument(f"doc-{i}", f"{i} {TEXTS[i % 5]} {i}", title=f"Title {i}") for i in range(1500)]
    folder = tmp_path_factory.mktemp("large") / "stable"
    build_index(documents, folder, tokenizer_path)
    assert min((folder / f"{part}.0").stat().st_size for part in MAPPED) > 2 * 4096
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere files must not be truncated while open")
@pytest.mark.parametrize("part", MAPPED)
def test_a_file_truncated_under_running_searches_is_named_and_ends_no_process(
    large_index: Path, tmp_path: Path, part: str
) -> None:
    folder = tmp_path / "index"
    shutil.copytree(large_index, folder)
    done = subprocess.run(
        [sys.executable, "-c", SEARCHER, str(folder), part], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said, lost = done.stdout.splitlines()
    assert said.startswith(f"3|index file {part}.0: has 10 bytes instead of ")
    assert lost == "True", "no page was missing: the test tried nothing"


# The same while an index is registered or its samples are made: `when` is a function that is called in the middle.
READER_OF_NEW_FILES = """
import os, sys
from pathlib import Path
from tracer.engine import IndexFileError, adopt_index, adoption, samples
from tracer.engine.layout import read_manifest
from tracer.engine.mapping import n_lost_pages
source, out, part, what = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
place, name = {"adopt": (adoption._ForeignShard, "_check_order"), "sample": (samples, "_ceil")}[what]
real, n_calls = getattr(place, name), []
def truncate_and_call(*arguments):
    n_calls.append(1)
    os.truncate(source / f"{part}.0", 10)
    return real(*arguments)
setattr(place, name, truncate_and_call)
try:
    if what == "adopt":
        adopt_index(source, out, Path(sys.argv[5]))
    else:
        digests = {name: entry.sha256 for name, entry in read_manifest(source).files.items()}
        samples.write_samples(source, 0, 2, digests)
except IndexFileError as error:
    print(error, len(n_calls) > 0, n_lost_pages() > 0, sep="|")
print(sorted(path.name for path in out.iterdir() if "samples" in path.name))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere files must not be truncated while open")
@pytest.mark.parametrize(
    ("what", "part"), [("adopt", "tokenized"), ("adopt", "table"), ("sample", "tokenized"), ("sample", "table")]
)
def test_a_file_truncated_while_it_is_registered_or_sampled_is_named(
    large_index: Path, tmp_path: Path, tokenizer_path: Path, what: str, part: str
) -> None:
    folder, out = tmp_path / "index", tmp_path / "out"
    shutil.copytree(large_index, folder)
    (folder / "samples.0").unlink()
    out.mkdir()
    arguments = [str(folder), str(out if what == "adopt" else folder), part, what, str(tokenizer_path)]
    done = subprocess.run(
        [sys.executable, "-c", READER_OF_NEW_FILES, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    said, left = done.stdout.splitlines()
    assert re.fullmatch(rf"index file {part}\.0: had \d+ bytes and has 10 now.*\|True\|True", said)
    assert left == "[]"


FAULT_ELSEWHERE = """
import ctypes, mmap, os, sys
from pathlib import Path
from tracer.engine import IndexReader
IndexReader.open(Path(sys.argv[1]))
path = sys.argv[2]
with open(path, "wb+") as file:
    file.write(b"x" * 100_000)
    file.flush()
    other = mmap.mmap(file.fileno(), 0)
os.truncate(path, 10)
other[50_000]
"""


@pytest.mark.skipif(sys.platform != "linux", reason="there is no handler elsewhere")
def test_a_fault_in_a_map_that_is_not_ours_ends_the_process_as_ever(large_index: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULT_ELSEWHERE, str(large_index), str(tmp_path / "other")], cwd=ROOT, timeout=300
    )
    assert done.returncode == -7


def test_every_surface_names_a_file_that_was_truncated(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus(texts=(SENTENCE * 30, "Nothing else."))
    index = Index.objects.get()
    assert services_trace().status == JobStatus.DONE
    file = index.folder / "table.0"
    os.truncate(file, file.stat().st_size // 2)
    trace = services_trace()
    assert trace.status == JobStatus.FAILED
    assert "table.0" in trace.error
    bulletin = bulletins.measure_benchmark(content=json.dumps({"q": SENTENCE * 2}).encode(), field="q", title="Q")
    bulletins.run_bulletin(bulletin.pk)
    assert "table.0" in bulletin.parts.get().unavailable
    for address in ("search/?query=music", "ngrams/count/?query=music"):
        answer = client.get(f"/api/v1/corpora/fair/{address}")
        assert (answer.status_code, "table.0" in answer.json()["detail"]) == (503, True)
    assert client.get("/corpora/fair/search/?query=music").status_code == 503
    assert client.get("/api/v1/documents/fair/doc-0/").status_code == 503
    assert "table.0" in client.get("/corpora/fair/").content.decode()


def services_trace(text: str = SENTENCE, **values: Any) -> Trace:
    trace = services.request_trace(text=text, **values)
    services.run_trace(trace.pk)
    trace.refresh_from_db()
    return trace


# Missing, empty or random files; wrong token width; stray names; a folder called "stable".
@pytest.mark.parametrize("damage", ["missing", "empty", "random", "folder"])
@pytest.mark.parametrize("part", MAPPED)
def test_a_missing_empty_or_random_file_is_refused(make_reader: MakeReader, part: str, damage: str) -> None:
    folder = make_reader().folder
    file = folder / f"{part}.0"
    size = file.stat().st_size
    file.unlink()
    if damage == "empty":
        file.write_bytes(b"")
    elif damage == "random":
        file.write_bytes(os.urandom(size + 1))
    elif damage == "folder":
        file.mkdir()
    with pytest.raises(IndexFileError, match=rf"index file {part}\.0: .*Build the index again"):
        IndexReader.open(folder)


def test_random_bytes_of_the_right_size_end_no_search(make_reader: MakeReader) -> None:
    """Sizes are checked at each opening, digests by `doctor`: what slipped in between may mislead but not kill."""
    for part in MAPPED:
        folder = make_reader(TEXTS * 40, as_bytes=part == "table").folder
        file = folder / f"{part}.0"
        script = (
            "import sys\nfrom pathlib import Path\n"
            "from tracer.engine import EngineError, IndexReader, SearchableCorpus, trace_text\n"
            "from tracer.engine.windows import find_windows\n"
            f"reader = IndexReader.open(Path({str(folder)!r}))\n"
            f"text = {TEXTS[0] * 3!r}\n"
            "corpora = [SearchableCorpus('fair', [reader])]\n"
            "for do in (lambda: trace_text(text, corpora), lambda: find_windows(reader, text)):\n"
            "    try:\n        do()\n    except (EngineError, IndexError, ValueError) as error:\n        print(error)\n"
        )
        file.write_bytes(os.urandom(file.stat().st_size))
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (part, done.returncode, done.stderr[-800:])


@pytest.mark.parametrize("width", [1, 4, 3, 0, -2, "2", None])
def test_a_wrong_width_is_refused(make_reader: MakeReader, width: Any) -> None:
    folder = make_reader().folder
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "token_width": width}))
    with pytest.raises(IndexFileError):
        IndexReader.open(folder)


@needs_wheel
def test_stray_names_and_a_folder_called_stable_confuse_nobody(make_reader: MakeReader) -> None:
    made = make_reader(TEXTS * 3, n_shards=11).folder
    folder = made.rename(made.with_name("stable tokenized.0"))
    for name in ("table.0.bak", "tokenized.99", "offset.00", "unigram", "table."):
        (folder / name).write_bytes(b"x")
    reader = IndexReader.open(folder)
    stock = StockEngine()
    ids = reader.tokenizer.encode(" the").ids.tolist()
    try:
        assert stock.ask(reader, "count", input_ids=ids)["count"] == reader.count(ids) > 0
    finally:
        stock.close()


# 50,000 documents; huge support; arguments that hang or silently count nothing.
def test_fifty_thousand_documents_are_refused_by_name(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    asked = {"text": SENTENCE, "parameters": {"max_documents_per_span": 50_000}}
    answer = client.post("/api/v1/traces/", asked, content_type="application/json")
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["parameters.max_documents_per_span"])
    form = {"text": SENTENCE, "corpora": "fair", "max_documents_per_span": "50000"}
    assert client.post("/traces/", form).status_code == 422
    compatible = {"response": SENTENCE, "maximumDocumentsPerSpan": 50_000}
    answer = client.post("/compat/infinigram-api/fair/attribution", compatible, content_type="application/json")
    assert answer.status_code == 422
    found = {"index": "fair", "query_type": "search_docs", "query": "music", "maxnum": 50_000}
    answer = client.post("/compat/infini-gram/", found, content_type="application/json")
    assert "error" in answer.json()


@needs_wheel
def test_huge_support_and_unknown_arguments_are_refused_or_harmless(client: Client, make_corpus: MakeCorpus) -> None:
    make_corpus()
    answer = client.get(f"/api/v1/corpora/fair/ngrams/next/?query=the&max_support={10**12}")
    assert answer.status_code == 400
    for extra in ({"max_support": 10**12}, {"attribution_block_size": 0}, {"version": 6}, {"token_dtype": "u32"}):
        asked = {"index": "fair", "query_type": "ntd", "query": "the", **extra}
        begin = time.monotonic()
        answer = client.post("/compat/infini-gram/", asked, content_type="application/json")
        assert answer.status_code < 500
        assert time.monotonic() - begin < 60
    counted = {"index": "fair", "query_type": "count", "query": " music", "version": 6}
    answer = client.post("/compat/infini-gram/", counted, content_type="application/json")
    assert answer.json()["count"] == 1, "not silently nought"


@needs_wheel
def test_the_child_survives_or_is_replaced_whatever_it_is_asked(make_reader: MakeReader) -> None:
    reader = make_reader(TEXTS * 50)
    stock = StockEngine(timeout_s=120)
    ids = reader.tokenizer.encode(" the").ids.tolist()
    hostile: list[tuple[str, dict[str, Any]]] = [
        ("ntd", {"prompt_ids": ids, "max_support": 2**31 - 1}),
        ("ntd", {"prompt_ids": [], "max_support": 2**31 - 1}),
        ("count", {"input_ids": [2**31]}),
        ("count", {"input_ids": [-1]}),
        ("count", {"input_ids": [[1]]}),
        ("count", {"input_ids": ids * 100_000}),
        ("infgram_prob", {"prompt_ids": ids * 1000, "cont_id": 2**40}),
        ("cnf", {"cnf": [[[]]], "max_clause_freq": 2**31 - 1, "max_diff_tokens": 2**31 - 1}),
        ("attribute", {"input_ids": ids, "attribution_block_size": 0}),
        ("load", {"path": str(Path.home())}),
        ("search_docs", {"input_ids": ids, "maxnum": 50_000}),
    ]
    try:
        for operation, arguments in hostile:
            with suppress(StockEngineError):
                stock.ask(reader, operation, **arguments)
            assert stock.ask(reader, "count", input_ids=ids)["count"] == reader.count(ids)
    finally:
        stock.close()


# Thread and memory limits.
LIMITED = """
import os, resource, sys
from pathlib import Path
kind, value, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
from tracer.engine import EngineError, IndexReader, SearchableCorpus, trace_text
warm = IndexReader.open(folder)
trace_text("The carousel", [SearchableCorpus("fair", [warm])])
if kind == "RLIMIT_NPROC" and os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
own = value if kind != "RLIMIT_AS" else value + int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(getattr(resource, kind), (own, own))
try:
    reader = IndexReader.open(folder)
    text = "The carousel turns and the music plays on. " * 2000
    print(len(trace_text(text, [SearchableCorpus("fair", [reader])]).spans))
except (EngineError, MemoryError) as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits differ elsewhere")
@pytest.mark.parametrize(("kind", "value"), [("RLIMIT_AS", 0), ("RLIMIT_AS", 128 * 2**20), ("RLIMIT_NPROC", 1)])
def test_little_memory_or_no_thread_is_an_error_or_no_hindrance(large_index: Path, kind: str, value: int) -> None:
    for folder in (large_index, *large_index.parents):  # whoever the process becomes must be able to read it
        if folder == Path("/tmp"):
            break
        folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, kind, str(value), str(large_index)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()
    if (kind, value) == ("RLIMIT_AS", 0):
        assert "cannot be mapped" in done.stdout or "MemoryError" in done.stdout


# The tokenizer's own code ends its process where it gets no memory: children with ever less of it, one text each.
STARVED = """
import os, resource, sys
from pathlib import Path
from tracer.engine import EngineError
from tracer.engine.tokens import load_tokenizer
tokenizer = load_tokenizer(Path(sys.argv[1]))
texts = {"digits": "7;3,1! " * 15_000, "words": "The music plays on. " * 5_000, "emoji": "\U0001f389\u6771" * 50_000}
tokenizer.encode("The carousel.")
for name, text in texts.items():
    for n_bytes in (0, *(1 << i for i in range(20, 29)), *(n << 20 for n in range(44, 64, 2)), 180 << 20, 190 << 20):
        if not (child := os.fork()):
            own = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + n_bytes
            resource.setrlimit(resource.RLIMIT_AS, (own, own))
            try:
                tokenizer.encode(text)
            except EngineError as error:
                assert "Ask again later or with a shorter text" in str(error)
                os._exit(1)
            os._exit(0)
        print(name, n_bytes, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits differ elsewhere")
def test_too_little_memory_for_the_tokenizer_is_an_error(tokenizer_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARVED, str(tokenizer_path)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    codes = [int(line.split()[2]) for line in done.stdout.splitlines()]
    assert len(codes) == 66
    assert set(codes) == {0, 1}, done.stdout


@needs_wheel
def test_a_child_without_memory_is_an_error_with_its_reason(make_reader: MakeReader) -> None:
    child = ROOT / "tracer" / "engine" / "stock_child.py"
    starved = "import resource, runpy, sys; n = int(sys.argv[2]); resource.setrlimit(resource.RLIMIT_AS, (n, n)); "
    starved += "sys.argv = [sys.argv[1]]; runpy.run_path(sys.argv[0], run_name='__main__')"
    reader, said = make_reader(), []
    for n_bytes in (20_000_000, 40_000_000, 60_000_000):
        stock = StockEngine(command=[sys.executable, "-I", "-c", starved, str(child), str(n_bytes)])
        try:
            assert stock.ask(reader, "count", input_ids=[70])["count"] == reader.count([70])
        except (StockCrashError, StockRefusedError) as error:
            said.append(str(error))
        finally:
            stock.close()
    assert said
    assert all("process ended" in message or "Error" in message for message in said)


# An end-of-text id of 0 that occurs in the text.
@needs_wheel
def test_what_follows_is_counted_right_when_id_nought_occurs(make_reader: MakeReader) -> None:
    reader = make_reader(("a fair<|endoftext|> draw", "a fair<|endoftext|>", "a fair game", "a fair<|endoftext|>x"))
    assert reader.tokenizer.encode("<|endoftext|>").ids.tolist() == [0]
    ids = reader.tokenizer.encode("a fair").ids.tolist()
    [shard] = reader.shards
    tokens = shard.tokens.tolist()
    expected = Counter(tokens[i + len(ids)] for i in range(len(tokens) - len(ids)) if tokens[i : i + len(ids)] == ids)
    stock = StockEngine()
    try:
        found = stock.ask(reader, "ntd", prompt_ids=ids, max_support=1000)
    finally:
        stock.close()
    assert {token: count for token, count, _ in found["next"]} == dict(expected)
    assert expected[0] == 3


# Builds of nothing, and of more shards than documents.
@pytest.mark.parametrize("n_shards", [1, 5])
def test_a_build_of_too_little_is_refused(tmp_path: Path, tokenizer_path: Path, n_shards: int) -> None:
    documents = [CorpusDocument("1", "")] if n_shards > 1 else []
    with pytest.raises(EngineError):
        build_index(documents, tmp_path / "index", tokenizer_path, n_shards=n_shards)
    assert [path.name for path in tmp_path.iterdir() if path.name != "data"] == []


def test_the_registry_lets_go_of_a_damaged_index_and_takes_it_again_when_it_is_mended(make_corpus: MakeCorpus) -> None:
    make_corpus()
    index = Index.objects.get()
    registry.open_index(index)
    file = index.folder / "tokenized.0"
    content = file.read_bytes()
    file.write_bytes(content[:-2])
    with pytest.raises(IndexFileError, match="tokenized"):
        registry.open_index(index)
    file.write_bytes(content)
    assert registry.open_index(index).count([70]) >= 0
