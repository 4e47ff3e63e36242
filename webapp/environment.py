"""Reads the settings' environment: every name is declared, an unknown one is an error with its fix.

Knows nothing of Django settings, so that it can be tested with a plain mapping.
"""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Mapping
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

PREFIX = "FAIRGROUND_"
TEST_PREFIX = "FAIRGROUND_TEST_"

KNOWN = frozenset(
    {
        "FAIRGROUND_DATA_DIR",
        "FAIRGROUND_DEBUG",
        "FAIRGROUND_SECRET_KEY",
        "FAIRGROUND_ALLOWED_HOSTS",
        "FAIRGROUND_CSRF_TRUSTED_ORIGINS",
        "FAIRGROUND_LOG_LEVEL",
        "FAIRGROUND_LOG_KEY",
        "FAIRGROUND_DEFAULT_CHECKPOINT",
        "FAIRGROUND_MAX_GENERATION_TOKENS",
        "FAIRGROUND_MAX_TRACE_CHARACTERS",
        "FAIRGROUND_MINIMUM_SHOWN_COUNT",
        "FAIRGROUND_NGRAM_TIMEOUT_S",
        "FAIRGROUND_DEVICE",
        "FAIRGROUND_DTYPE",
        "FAIRGROUND_HTTPS",
        "FAIRGROUND_LIMITS",
        "FAIRGROUND_MAX_STREAMS",
        "FAIRGROUND_MAX_WAITING",
        "FAIRGROUND_METRICS_TOKEN",
        "FAIRGROUND_RELEASE_LICENCE",
        "FAIRGROUND_SIGNUP",
        "FAIRGROUND_SLOW_TRACE_MS",
        "FAIRGROUND_STALE_AFTER_S",
        "FAIRGROUND_EMAIL_URL",
        "FAIRGROUND_EMAIL_FROM",
        "FAIRGROUND_TOKENIZERS",
        "FAIRGROUND_TRUSTED_PROXIES",
        "FAIRGROUND_GITHUB_CLIENT",
        "FAIRGROUND_ORCID_CLIENT",
        "FAIRGROUND_HUGGINGFACE_CLIENT",
        "FAIRGROUND_REMOTE_PRIVATE_HOSTS",
        "FAIRGROUND_RESIDENT_EXPERTS",
        "FAIRGROUND_THREADS",
        "FAIRGROUND_MULTIPLY",
        "FAIRGROUND_ROWS",
        "FAIRGROUND_CACHE_GB",
    }
)


def check_names(environ: Mapping[str, str]) -> None:
    """Raise `ImproperlyConfigured` for a FAIRGROUND_ variable that no setting reads."""
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name.startswith(TEST_PREFIX) or name in KNOWN:
            continue
        close = difflib.get_close_matches(name, KNOWN, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Known names: {', '.join(sorted(KNOWN))}."
        raise ImproperlyConfigured(f"unknown environment variable {name}. {hint} Unset or rename it.")


def read_secret_key(configured: str, data_dir: Path, *, production: bool) -> str:
    """Return the configured key, or one that this machine makes once and keeps in the data folder.

    In production (a database server is configured) the key must be given, since several
    processes on several machines have to share it.
    """
    if configured:
        return configured
    if production:
        raise ImproperlyConfigured(
            "FAIRGROUND_SECRET_KEY is missing. With DATABASE_URL or REDIS_URL set, all processes must share "
            'one key: set it to the output of python -c "import secrets; print(secrets.token_urlsafe(50))".'
        )
    path = data_dir / "secret_key"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="ascii") as file:
            path.chmod(0o600)
            file.write(secrets.token_urlsafe(50))
    except FileExistsError:
        pass
    except OSError as error:
        raise ImproperlyConfigured(
            f"cannot write to {data_dir}: {error.strerror}. Set FAIRGROUND_DATA_DIR to a writable folder."
        ) from error
    key = path.read_text(encoding="ascii").strip()
    if not key:
        raise ImproperlyConfigured(f"{path} is empty. Delete it; a new key is made at the next start.")
    return key
