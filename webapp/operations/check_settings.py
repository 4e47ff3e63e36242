"""Looks at the settings: Django's own checks, and what only we know of ours."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.core.checks import ERROR, WARNING, run_checks

from webapp.operations.findings import Finding, fault, ok, warning

HERE = frozenset({"localhost", "127.0.0.1", "[::1]"})
WEAK_SECRET = "security.W009"  # noqa: S105 (a message's name)
#: Said once, as a whole, where the site has no TLS.
OF_HTTPS = frozenset({"security.W004", "security.W008", "security.W012", "security.W016"})
#: Whether subdomains, and browsers' lists, are held to TLS too is the operator's choice; DEBUG is told below.
LEFT_OUT = frozenset({"security.W005", "security.W018", "security.W021"})


def check_settings() -> Iterator[Finding]:
    """Run Django's checks, with those for deployment where others can reach the site; tell each in its own line."""
    is_public = not settings.EMBEDDED
    if settings.DEBUG and is_public:
        yield fault("settings", "FAIRGROUND_DEBUG is on: error pages show code and settings.", "Unset it.")
        return
    found = [*_of_django(is_public), *(_of_ours() if is_public else ())]
    yield from found
    if not found:
        yield ok("settings", "complete")


def _of_django(is_public: bool) -> Iterator[Finding]:
    for message in run_checks(include_deployment_checks=is_public):
        if message.level >= ERROR:
            yield fault("settings", str(message.msg), message.hint or "Change the settings that the message names.")
        elif message.id == WEAK_SECRET:
            yield fault(
                "settings",
                "FAIRGROUND_SECRET_KEY can be guessed: whoever does signs in as anybody.",
                'Set it to the output of python -c "import secrets; print(secrets.token_urlsafe(50))", everywhere.',
            )
        elif message.level >= WARNING and message.id not in OF_HTTPS | LEFT_OUT:
            yield warning("settings", str(message.msg), message.hint or "Change the settings that the message names.")


def _of_ours() -> Iterator[Finding]:
    remedy = "Set FAIRGROUND_ALLOWED_HOSTS to the site's own names, such as fairground.example.org."
    if "*" in settings.ALLOWED_HOSTS:
        yield fault("settings", "it answers to any host name, so that links in its mails can be forged.", remedy)
    elif set(settings.ALLOWED_HOSTS) <= HERE:
        yield warning("settings", "it answers on this machine alone: others get 400.", remedy)
    if not settings.HTTPS:
        yield warning(
            "settings",
            "sessions and tokens travel in the clear",
            "Put a proxy with TLS in front; set FAIRGROUND_HTTPS=true and FAIRGROUND_TRUSTED_PROXIES=1.",
        )
