"""Commands that start the site's roles refuse what cannot work."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from django.core.management import CommandError, call_command


@pytest.mark.parametrize("command", [["beat"], ["worker", "trace"]])
def test_roles_of_their_own_need_a_broker(settings: Any, command: list[str]) -> None:
    settings.EMBEDDED = True
    with pytest.raises(CommandError, match="REDIS_URL is not set"):
        call_command(*command)


def test_several_web_processes_need_a_broker(settings: Any) -> None:
    settings.EMBEDDED = True
    with pytest.raises(CommandError, match="needs REDIS_URL"):
        call_command("serve", processes=2)


def test_no_web_process_is_refused() -> None:
    with pytest.raises(CommandError, match="at least 1"):
        call_command("serve", processes=0)


def test_web_process_never_imports_torch() -> None:
    code = (
        "import sys, webapp.asgi; from django.urls import get_resolver; get_resolver().url_patterns;"
        "print([name for name in ('torch', 'transformers', 'scipy.stats', 'sympy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60)

    assert done.stdout.strip() == "[]", done.stderr
