"""A second Fairground as a remote checkpoint: the real server process, the real client."""

from __future__ import annotations

from io import StringIO
from typing import Any

import httpx
import pytest
from django.core.management import CommandError, call_command

from webapp.playground import services
from webapp.playground.models import Checkpoint, Generation

PROMPT = "def numpy.mean(a, axis=None)\n\nCompute the"


def asked_there(site: str, **body: Any) -> str:
    """The text that the other site gives when it is asked directly."""
    answer = httpx.post(f"{site}/v1/completions", json={"model": "demo", "prompt": PROMPT, **body}, timeout=60)
    text: str = answer.raise_for_status().json()["choices"][0]["text"]
    return text


def made(**values: Any) -> Generation:
    generation = services.start_generation(prompt=PROMPT, max_tokens=20, seed=4, **values)
    services.run_generation(generation.id)
    generation.refresh_from_db()
    return generation


@pytest.fixture
def elsewhere(db: None, site: str, settings: Any) -> Checkpoint:
    settings.REMOTE_PRIVATE_HOSTS = ["127.0.0.1"]
    call_command("add_remote_checkpoint", "far", f"{site}/v1", model="demo", completions=True, stdout=StringIO())
    return Checkpoint.objects.get(slug="far")


def test_answers_as_the_other_site_does(elsewhere: Checkpoint, site: str) -> None:
    generation = made(temperature=0.7, top_p=0.95)
    assert generation.status == "done"
    assert generation.text == asked_there(site, max_tokens=20, seed=4, temperature=0.7, top_p=0.95)
    assert generation.finish_reason == "length"
    assert generation.experts == []


def test_passes_on_stop_strings_and_log_probabilities(elsewhere: Checkpoint, site: str) -> None:
    full = made(temperature=0, top_logprobs=2)
    assert len(full.logprobs) == len(full.pieces)
    stop = full.text[8:11]
    assert made(temperature=0, stop=[stop]).text == full.text[: full.text.index(stop)]


def test_talks_through_the_other_sites_template(db: None, site: str, settings: Any) -> None:
    settings.REMOTE_PRIVATE_HOSTS = ["127.0.0.1"]
    call_command("add_remote_checkpoint", "talk", f"{site}/v1", model="demo", stdout=StringIO())
    generation = made(checkpoint="talk", system_prompt="Be brief.")
    assert generation.status == "done"
    assert generation.is_chat


def test_command_refuses_unknown_models_private_addresses_and_closed_ports(db: None, site: str, settings: Any) -> None:
    with pytest.raises(CommandError, match="not a public address"):
        call_command("add_remote_checkpoint", "far", f"{site}/v1", model="demo")
    settings.REMOTE_PRIVATE_HOSTS = ["127.0.0.1"]
    with pytest.raises(CommandError, match="It lists demo"):
        call_command("add_remote_checkpoint", "far", f"{site}/v1", model="gpt")
    with pytest.raises(CommandError, match="cannot be reached"):
        call_command("add_remote_checkpoint", "far", "http://127.0.0.1:9/v1", model="demo")
    assert not Checkpoint.objects.exists()
