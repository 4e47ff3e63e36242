"""The question's form: links and presets fill it and ask nothing; turns, further questions, history."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from webapp.errors import BadInputError
from webapp.inference.requests import GenerationRequest, RequestError, ThinkingLimits
from webapp.playground import services
from webapp.playground.models import BackendChoice, Checkpoint, Generation
from webapp.playground.question_form import question_link, read_stops, write_stops

EXPERTS = ["public", "web", "numerics", "symbolic"]


def ask(client: Client, **fields: Any) -> Generation:
    """Send the form, run the job in this process, return the answer."""
    values = {"prompt": "Return a new", "experts": EXPERTS, "max_tokens": "6", "seed": "3", **fields}
    response = client.post("/playground/", values)
    assert response.status_code == 303, response.content.decode()
    made = Generation.objects.latest("created_at")
    services.run_generation(made.id)
    made.refresh_from_db()
    return made


def field_value(body: str, name: str) -> str:
    found = re.search(rf'name="{name}"[^>]*value="([^"]*)"', body)
    assert found, name
    return found[1]


def test_a_link_fills_every_field_and_asks_nothing(client: Client, checkpoint: Checkpoint) -> None:
    made = ask(client, temperature="0.2", stop="END\\n", system_prompt="Copying: No", experts=["web"], form="chat")

    page = client.get(question_link(made))
    body = page.content.decode()

    assert Generation.objects.count() == 1
    assert field_value(body, "temperature") == "0.2"
    assert "Copying: No</textarea>" in body
    assert "\nEND\\n</textarea>" in body
    assert re.findall(r'name="experts" value="(\w+)" checked', body) == ["web"]
    assert '<option value="chat" selected>' in body


@pytest.mark.parametrize(
    ("preset", "shown"),
    [("likeliest", 'name="temperature" type="number" min="0" max="10" step="any" value="0"'), ("copying-no", "No<")],
)
def test_a_preset_fills_the_form_keeps_the_rest_and_asks_nothing(
    client: Client, checkpoint: Checkpoint, preset: str, shown: str
) -> None:
    page = client.post("/playground/", {"prompt": "keep me", "experts": ["web"], "preset": preset})
    body = page.content.decode()

    assert page.status_code == 200
    assert not Generation.objects.exists()
    assert shown in body
    assert "keep me</textarea>" in body
    assert re.findall(r'name="experts" value="(\w+)" checked', body) == ["web"]
    assert '<details class="settings" open>' in body


def test_the_first_button_asks_so_that_enter_does(client: Client, checkpoint: Checkpoint) -> None:
    form = client.get("/playground/").content.decode().split('aria-label="Ask"')[1]

    first = re.search(r"<button[^>]*>", form)
    assert first
    assert "name=" not in first[0]


def test_a_further_question_follows_all_turns_with_the_same_settings(client: Client, checkpoint: Checkpoint) -> None:
    first = ask(client, system_prompt="Be brief.")
    second = ask(client, prompt="And now?", after=str(first.id), system_prompt="Be brief.")

    assert second.parent == first
    assert second.messages == [
        {"role": "user", "content": "Return a new"},
        {"role": "assistant", "content": first.text},
    ]
    assert second.is_chat
    assert second.model_prompt.startswith("Be brief.")
    page = client.get(second.get_absolute_url()).content.decode()
    assert page.index("Return a new") < page.rindex("And now?")


def test_asking_again_keeps_the_turns_and_changes_the_mask(client: Client, checkpoint: Checkpoint) -> None:
    first = ask(client)
    second = ask(client, prompt="And now?", after=str(first.id))
    again = ask(client, prompt="And now?", again=str(second.id), experts=["web"])

    assert (again.parent, again.messages, again.experts) == (first, second.messages, ["web"])


def test_a_private_answer_cannot_be_gone_on_from_by_others(client: Client, checkpoint: Checkpoint) -> None:
    made = ask(client, visibility="private")

    refused = Client().post("/playground/", {"prompt": "And?", "experts": EXPERTS, "after": str(made.id)})

    assert refused.status_code == 422
    assert Generation.objects.count() == 1


def test_an_unfinished_answer_cannot_be_gone_on_from(client: Client, checkpoint: Checkpoint) -> None:
    client.post("/playground/", {"prompt": "Return", "experts": EXPERTS})
    waiting = Generation.objects.get()

    refused = client.post("/playground/", {"prompt": "And?", "experts": EXPERTS, "after": str(waiting.id)})

    assert refused.status_code == 422
    assert "no answer yet" in refused.content.decode()


def test_what_a_model_thought_is_left_out_of_later_turns(client: Client, checkpoint: Checkpoint) -> None:
    Checkpoint.objects.update(thinking={"start": "<think>", "end": "</think>", "wait": "Wait"})
    first = ask(client, think_max="4")
    Generation.objects.update(text="hm, hm</think>\n\nFour.")

    second = ask(client, prompt="And?", after=str(first.id), think_max="4")

    assert first.thinking == {"min_tokens": 0, "max_tokens": 4}
    assert second.messages[-1]["content"] == "Four."


def test_another_checkpoint_shows_its_experts_before_it_is_asked(client: Client, checkpoint: Checkpoint) -> None:
    other = Checkpoint.objects.create(slug="other", backend="transformers", digest="1" * 64, context_length=64)
    form = {"prompt": "Return", "experts": ["web"], "experts_of": "tiny", "checkpoint": other.slug}

    refused = client.post("/playground/", form)
    shown = client.post("/playground/", {**form, "fill": "checkpoint"}).content.decode()

    assert refused.status_code == 422
    assert "You chose other" in refused.content.decode()
    assert '<option value="other" selected>' in shown
    assert 'name="experts"' not in shown


def test_history_lists_ones_own_conversations_by_their_last_answer(client: Client, checkpoint: Checkpoint) -> None:
    first = ask(client, prompt="Which fair?")
    second = ask(client, prompt="And which ride?", after=str(first.id))
    ask(Client(), prompt="Somebody else's")

    listed = client.get("/playground/history/").content.decode()

    assert listed.count("<li class") == 1
    assert second.get_absolute_url() in listed
    assert "Which fair?" in listed
    assert "2 questions" in listed
    assert "You have asked nothing" in Client().get("/playground/history/").content.decode()


def test_history_goes_on_where_the_page_ended(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.playground.views.N_LISTED", 2)
    user = User.objects.create(username="researcher")
    client = Client()
    client.force_login(user)
    for number in range(5):
        made = ask(client, prompt=f"Question {number}")
        Generation.objects.filter(pk=made.pk).update(created_at=timezone.now() - timedelta(hours=number))

    seen, address = [], "/playground/history/"
    while address:
        body = client.get(address).content.decode()
        seen += re.findall(r"Question \d", body)
        further = re.search(r'href="(/playground/history/\?before=[^"]+)"', body)
        address = further[1] if further else ""

    assert seen == [f"Question {number}" for number in range(5)]
    assert client.get("/playground/history/?before=2026-99-99").status_code == 200


def test_a_remote_checkpoint_refuses_a_thinking_budget(checkpoint: Checkpoint) -> None:
    Checkpoint.objects.create(slug="far", backend=BackendChoice.REMOTE, digest="2" * 64, context_length=0)
    with pytest.raises(BadInputError, match="on a server elsewhere, which takes no thinking budget") as refused:
        services.start_generation(prompt="Why?", checkpoint="far", thinking={"max_tokens": 8})
    assert refused.value.field == "thinking"


def test_the_remote_engine_refuses_bounds_on_thinking() -> None:
    from webapp.inference.remote import RemoteEngine, RemoteServer

    engine = RemoteEngine(RemoteServer("https://models.example/v1", "m"))
    request = GenerationRequest("Why?", frozenset(), thinking=ThinkingLimits(0, 4, "</think>", "Wait"))
    with pytest.raises(RequestError, match="thinks as long as it likes"):
        engine.submit(request)


@given(st.lists(st.text(st.characters(exclude_characters="\\\r", exclude_categories=("Cs",)), min_size=1), max_size=4))
def test_stop_strings_come_back_as_they_were_written(stops: list[str]) -> None:
    assert read_stops(write_stops(stops)) == stops
