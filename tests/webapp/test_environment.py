from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from webapp.environment import check_names, read_secret_key

ROOT = Path(__file__).resolve().parents[2]


def test_unknown_variable_fails_with_the_closest_name() -> None:
    with pytest.raises(ImproperlyConfigured, match="Did you mean FAIRGROUND_DATA_DIR"):
        check_names({"FAIRGROUND_DATADIR": "/somewhere"})


def test_known_and_foreign_variables_pass() -> None:
    check_names({"FAIRGROUND_DATA_DIR": "x", "FAIRGROUND_TEST_REQUIRE": "y", "PATH": "/bin"})


def test_secret_key_is_made_once_and_private(tmp_path: Path) -> None:
    first = read_secret_key("", tmp_path, production=False)
    assert read_secret_key("", tmp_path, production=False) == first
    assert (tmp_path / "secret_key").stat().st_mode & 0o077 == 0


def test_secret_key_is_required_in_production(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="FAIRGROUND_SECRET_KEY is missing"):
        read_secret_key("", tmp_path, production=True)


def test_unwritable_folder_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ImproperlyConfigured, match="FAIRGROUND_DATA_DIR"):
        read_secret_key("", tmp_path / "file" / "below", production=False)


def start(**environment: str) -> subprocess.CompletedProcess[str]:
    """Load the settings as a process of its own does; print those that HTTPS decides."""
    names = "SESSION_COOKIE_SECURE CSRF_COOKIE_SECURE SECURE_SSL_REDIRECT SECURE_HSTS_SECONDS SECURE_PROXY_SSL_HEADER"
    code = f"from webapp import settings; print([getattr(settings, n) for n in {names.split()!r}])"
    ours = ("FAIRGROUND_", "DATABASE_URL", "REDIS_URL")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        [sys.executable, "-c", code], env=clean | environment, cwd=ROOT, capture_output=True, text=True, timeout=300
    )


def test_https_hardens_cookies_redirects_and_believes_the_proxy(tmp_path: Path) -> None:
    done = start(FAIRGROUND_DATA_DIR=str(tmp_path), FAIRGROUND_HTTPS="true", FAIRGROUND_TRUSTED_PROXIES="1")

    assert done.stdout.strip() == "[True, True, True, 31536000, ('HTTP_X_FORWARDED_PROTO', 'https')]"


def test_without_it_nothing_is_redirected_and_no_proxy_believed(tmp_path: Path) -> None:
    done = start(FAIRGROUND_DATA_DIR=str(tmp_path), FAIRGROUND_TRUSTED_PROXIES="1")

    assert done.stdout.strip() == "[False, False, False, 0, None]"


def test_https_without_a_proxy_would_redirect_for_ever(tmp_path: Path) -> None:
    done = start(FAIRGROUND_DATA_DIR=str(tmp_path), FAIRGROUND_HTTPS="true")

    assert done.returncode != 0
    assert "FAIRGROUND_TRUSTED_PROXIES=1" in done.stderr
