"""An index of 4 GB is opened without reading it. Its files are mostly holes, which a reader would find as zeros."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.sparse_index import grow_index
from tests.tracer.engine.conftest import MakeReader

ROOT = Path(__file__).resolve().parents[3]
N_BYTES = 4_000_000_000
#: Pages of a mapped file that were touched count as the process's own memory, so that reading shows there.
MAX_GROWN_MB = 64
OPEN = """
import json, sys, time
from pathlib import Path
from tracer.engine import IndexReader

def facts():
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    counted = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1000 + int(counted["rchar"]) / 1e6

IndexReader.open(Path(sys.argv[2]))  # what the first index of all costs is not of its size
before, begin = facts(), time.process_time()
reader = IndexReader.open(Path(sys.argv[1]))
reader.check_files()
print(json.dumps([facts() - before, time.process_time() - begin, reader.n_tokens]))
"""


def test_large_index_is_opened_without_reading_it(make_reader: MakeReader) -> None:
    small = make_reader(("The carousel turns.",)).folder
    large = make_reader(("The carousel turns and the music plays on.",)).folder
    assert small != large
    grown = grow_index(large, N_BYTES)
    assert sum((large / name).stat().st_size for name in grown.files) >= N_BYTES
    command = [sys.executable, "-c", OPEN, str(large), str(small)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    grown_mb, seconds, n_tokens = json.loads(done.stdout)
    assert n_tokens == grown.n_tokens > 100_000_000
    assert grown_mb < MAX_GROWN_MB
    assert seconds < 1.0
