"""The proxies of deploy/, as they stand there but for addresses: streams leave at once, the inside stays inside."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conftest import REQUIRED
from tests.e2e.conftest import ROOT, free_port

HOST = "fairground.example.org"


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        if "proxies" in REQUIRED:
            pytest.fail(f"{name} is required here and not installed")
        pytest.skip(f"{name} is not installed")
    return found


def make_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "fullchain.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    no_password = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no_password)
    (folder / "privkey.pem").write_bytes(private)


def nginx(folder: Path, upstream: str) -> tuple[list[str], dict[str, str], str]:
    port = free_port()
    make_certificate(folder)
    config = (ROOT / "deploy" / "nginx.conf").read_text()
    for there, here in {
        "server 127.0.0.1:8000;": f"server {upstream};",
        "listen 80;": f"listen 127.0.0.1:{free_port()};",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;",
        f"/etc/letsencrypt/live/{HOST}": str(folder),
        "    listen [::]:80;\n": "",
        "    listen [::]:443 ssl http2;\n": "",
    }.items():
        assert there in config, there
        config = config.replace(there, here)
    (folder / "site.conf").write_text(config)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {temporary} include {folder}/site.conf; }}\n"
    )
    return [program("nginx"), "-c", str(folder / "nginx.conf")], {}, f"https://127.0.0.1:{port}"


def caddy(folder: Path, upstream: str) -> tuple[list[str], dict[str, str], str]:
    address = f"http://127.0.0.1:{free_port()}"
    command = [program("caddy"), "run", "--config", str(ROOT / "deploy" / "Caddyfile"), "--adapter", "caddyfile"]
    environment = {
        "SITE_HOST": address,
        "UPSTREAM": upstream,
        "CADDY_ADMIN": f"127.0.0.1:{free_port()}",
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    return command, environment, address


@pytest.fixture(scope="module", params=[nginx, caddy])
def proxied(request: pytest.FixtureRequest, site: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a proxy in front of the site; yield its address."""
    folder = tmp_path_factory.mktemp("proxy")
    command, environment, address = request.param(folder, urlsplit(site).netloc)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                httpx.get(address, verify=False, headers={"Host": urlsplit(site).netloc})
                break
            except httpx.TransportError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def client(proxied: str) -> Iterator[httpx.Client]:
    """Return a client of the proxy that names the host under which the site knows itself."""
    headers = {"Host": "localhost"} if proxied.startswith("https") else {}
    with httpx.Client(base_url=proxied, verify=False, timeout=60, headers=headers) as made:
        yield made


def test_tokens_arrive_while_the_answer_is_still_made(client: httpx.Client, site: str) -> None:
    asked: dict[str, Any] = {"prompt": "def ", "max_tokens": 400, "temperature": 1.2, "seed": 5}
    location = urlsplit(client.post("/api/v1/generations/", json=asked).raise_for_status().headers["Location"]).path
    with client.stream("GET", f"{location}stream/") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in stream.headers
        for line in stream.iter_lines():
            if line.startswith("data: ") and json.loads(line[6:]).get("text"):
                break
        assert httpx.get(f"{site}{location}").json()["status"] == "running"
    client.post(f"{location}cancel/")


def test_pages_are_compressed_and_carry_the_policies(client: httpx.Client) -> None:
    page = client.get("/playground/", headers={"Accept-Encoding": "gzip"})

    assert page.status_code == 200
    assert page.headers["content-encoding"] == "gzip"
    assert "script-src 'self'" in page.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/metrics", "/health/ready"])
def test_what_is_for_machines_inside_is_not_there(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404
