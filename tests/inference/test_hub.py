"""Fetching through the real hub client: from a hub on loopback, and from none."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from webapp.inference import CheckpointError
from webapp.inference.hub import fetch_from_hub

SHA = "1" * 40


class Hub(BaseHTTPRequestHandler):
    """The two resources of a hub that a download needs."""

    files: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        name = path.partition(f"/resolve/{SHA}/")[2]
        if path.startswith(f"/api/models/some/model/tree/{SHA}"):
            entries = [{"type": "file", "path": n, "size": len(b), "oid": "0"} for n, b in self.files.items()]
            body = json.dumps(entries).encode()
        elif path.startswith("/api/models/some/model"):
            siblings = [{"rfilename": name, "size": len(body)} for name, body in self.files.items()]
            body = json.dumps({"id": "some/model", "sha": SHA, "siblings": siblings}).encode()
        elif path.startswith("/some/model/") and name in self.files:
            body = self.files[name]
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()[:40]}"')
        self.send_header("X-Repo-Commit", SHA)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.setattr(Hub, "files", {"model.safetensors": b"weights", "config.json": b"{}", "pickle.bin": b"no"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_downloads_weights_and_text_files_only_and_names_the_commit(hub: str, tmp_path: Path) -> None:
    told: list[str] = []
    found = fetch_from_hub("some/model", tmp_path / "model", endpoint=hub, announce=told.append)
    assert found.revision == SHA
    assert {file.name for file in found.folder.iterdir() if file.is_file()} == {"model.safetensors", "config.json"}
    assert (found.folder / "model.safetensors").read_bytes() == b"weights"
    assert "0.00 GB of some/model" in told[0]


def test_repository_without_safetensors_is_refused_before_downloading(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hub, "files", {"pytorch_model.bin": b"no"})
    with pytest.raises(CheckpointError, match=r"no \.safetensors"):
        fetch_from_hub("some/model", tmp_path / "model", endpoint=hub)


def test_too_little_disk_is_refused_with_both_figures(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=1)
    monkeypatch.setattr("webapp.inference.hub.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(CheckpointError, match=r"needs .* GB of disk; 0\.00 GB are free"):
        fetch_from_hub("some/model", tmp_path / "model", endpoint=hub)


def test_unknown_repository_is_named(hub: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="other/model: is not on the hub"):
        fetch_from_hub("other/model", tmp_path / "model", endpoint=hub)


def test_without_a_network_says_what_to_do_instead(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="give its folder instead"):
        fetch_from_hub("some/model", tmp_path / "model", endpoint="http://127.0.0.1:9")
