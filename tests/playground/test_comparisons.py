"""Comparisons: two masks, or each expert left out; one seed, one batch, one page and resource for all sides."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.tracer.conftest import MakeCorpus, make_corpus, tokenizer_path
from tracer.models import Trace
from tracer.services import run_trace
from webapp.playground import services
from webapp.playground.models import Checkpoint, Comparison, Generation
from webapp.playground.personal import erase_personal, export_personal

__all__ = ["make_corpus", "tokenizer_path"]
EXPERTS = ["public", "web", "numerics", "symbolic"]
ADDRESS = "/api/v1/comparisons/"


def ask(client: Client, **body: Any) -> Any:
    values = {"kind": "masks", "prompt": "Return a new", "max_tokens": 6, "temperature": 0, **body}
    return client.post(ADDRESS, values, "application/json")


def made(client: Client, **body: Any) -> tuple[str, dict[str, Any]]:
    """Ask, run all jobs in this process, return the address and what it shows."""
    created = ask(client, **body)
    assert created.status_code == 202, created.content
    for side in created.json()["sides"]:
        services.run_generation(side["generation"]["id"])
    location = created.headers["Location"]
    return location, client.get(location).json()


def owner() -> Client:
    client = Client()
    client.force_login(User.objects.get_or_create(username="researcher")[0])
    return client


def test_leaves_each_expert_out_in_turn_with_one_seed(client: Client, checkpoint: Checkpoint) -> None:
    _, shown = made(client, kind="leave_one_out")

    sides = [side["generation"] for side in shown["sides"]]
    assert [side["experts"] for side in sides] == [EXPERTS, *([e for e in EXPERTS if e != out] for out in EXPERTS)]
    assert len({side["seed"] for side in sides}) == 1
    assert all(set(side["routing_shares"]) == set(side["experts"]) for side in sides)
    assert shown["sides"][0]["against_first"] is None
    assert shown["is_finished"]


def test_each_side_is_the_answer_that_its_mask_gives_alone(client: Client, checkpoint: Checkpoint) -> None:
    _, shown = made(client, masks=[EXPERTS, ["web"]], seed=9, temperature=1.0)

    for side in shown["sides"]:
        alone = services.start_generation(
            prompt="Return a new", experts=side["generation"]["experts"], seed=9, max_tokens=6, temperature=1.0
        )
        alone.refresh_from_db()
        services.run_generation(alone.id)
        alone.refresh_from_db()
        assert alone.token_ids == side["generation"]["token_ids"]
        assert (alone.top_p, alone.max_tokens) == (side["generation"]["top_p"], side["generation"]["max_tokens"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"masks": None}, "masks"),
        ({"masks": [["web"]]}, "masks"),
        ({"masks": [["web", "public"], ["public", "web"]]}, "masks"),
        ({"masks": [["web"], []]}, "experts"),
        ({"masks": [["web"], ["nobody"]]}, "experts"),
        ({"kind": "leave_one_out", "masks": [["web"], ["public"]]}, "masks"),
        ({"kind": "all"}, "kind"),
        ({"kind": "leave_one_out", "prompt": " "}, "prompt"),
    ],
)
def test_names_the_field_and_stores_nothing_when_input_is_bad(
    client: Client, checkpoint: Checkpoint, body: dict[str, Any], field: str
) -> None:
    refused = ask(client, **body)

    assert refused.status_code == 400
    assert list(refused.json()["errors"]) == [field]
    assert not Comparison.objects.exists()
    assert not Generation.objects.exists()


def test_refuses_a_checkpoint_without_two_experts(client: Client, checkpoint: Checkpoint) -> None:
    Checkpoint.objects.create(slug="other", backend="transformers", digest="1" * 64, context_length=64)
    refused = ask(client, kind="leave_one_out", checkpoint="other")
    assert refused.status_code == 400
    assert "nothing to compare" in refused.json()["detail"]


def test_makes_nothing_new_when_a_key_comes_again(client: Client, checkpoint: Checkpoint) -> None:
    body = {"kind": "leave_one_out", "prompt": "Return"}
    first, second = (
        client.post(ADDRESS, body, "application/json", headers={"Idempotency-Key": "once"}) for _ in range(2)
    )
    assert first.json() == second.json()
    assert Comparison.objects.count() == 1


def test_is_not_there_for_others_when_private_and_shared_as_one(checkpoint: Checkpoint) -> None:
    location, shown = made(owner(), masks=[EXPERTS, ["web"]], visibility="private")
    page = f"/playground/comparisons/{shown['id']}/"

    for outsider in (Client(), Client()):
        assert outsider.get(location).status_code == 404
        assert outsider.get(page).status_code == 404
        assert outsider.post(f"{location}trace/").status_code == 404
    owner().patch(location, {"visibility": "link"}, "application/json")
    assert Client().get(page).status_code == 200
    assert Client().delete(location).status_code == 403
    assert Client().post(f"{page}share/", {"visibility": "private"}).status_code == 403
    assert owner().delete(location).status_code == 204
    assert not Comparison.objects.exists()
    assert not Generation.objects.exists()


def test_is_deleted_only_when_all_sides_are_finished(checkpoint: Checkpoint) -> None:
    location = ask(owner(), masks=[EXPERTS, ["web"]]).headers["Location"]

    assert owner().delete(location).status_code == 409
    assert owner().post(f"{location}trace/").status_code == 409
    identifier = Comparison.objects.get().id
    assert owner().post(f"/playground/comparisons/{identifier}/stop/").status_code == 302
    assert set(Generation.objects.values_list("status", flat=True)) == {"cancelled"}
    assert owner().delete(location).status_code == 204


def test_page_asks_from_the_form_and_marks_what_differs(client: Client, checkpoint: Checkpoint) -> None:
    form = {"prompt": "Return", "experts": EXPERTS, "other_experts": ["web"], "kind": "masks", "max_tokens": "4"}
    asked = client.post("/playground/compare/", form)
    assert asked.status_code == 303
    waiting = client.get(asked.headers["Location"]).content.decode()
    assert "0 of 2 answers are done" in waiting
    for number, side in enumerate(Generation.objects.order_by("created_at")):
        services.run_generation(side.id)
        Generation.objects.filter(pk=side.pk).update(text=["one <b> two", "one three two"][number])

    page = client.get(asked.headers["Location"]).content.decode()

    assert "one <del>&lt;b&gt; </del>two" in page
    assert "one <ins>three </ins>two" in page
    assert "All 2 answers are done" in page
    assert "off</span>" in page
    assert client.get("/playground/history/").content.decode().count("/playground/comparisons/") == 1


def test_page_keeps_both_masks_when_they_are_refused(client: Client, checkpoint: Checkpoint) -> None:
    form = {"prompt": "Return", "experts": ["web"], "other_experts": ["web"], "kind": "masks"}
    refused = client.post("/playground/compare/", form)
    body = refused.content.decode()

    assert refused.status_code == 422
    assert "Both masks are the same" in body
    assert body.count('name="other_experts" value="web" checked') == 1
    assert body.count('name="other_experts"') == 4
    assert body.count(" checked>") == 2


def test_shows_which_corpora_each_side_stands_in(
    client: Client, checkpoint: Checkpoint, make_corpus: MakeCorpus
) -> None:
    make_corpus(texts=("Nothing else.", "The carousel turns."))
    location, shown = made(client, masks=[EXPERTS, ["web"]])
    first = shown["sides"][0]["generation"]["id"]
    Generation.objects.filter(pk=first).update(text="The carousel turns.")
    Generation.objects.exclude(pk=first).update(text="zzz qqq")

    assert client.post(f"{location}trace/").status_code == 202
    for trace in Trace.objects.all():
        run_trace(trace.id)
    page = client.get(f"/playground/comparisons/{shown['id']}/").content.decode()

    assert '<th scope="row">fair</th>' in page
    assert "100 %" in page
    assert client.get(location).json()["is_finished"]


def test_sides_keep_their_names_when_the_first_was_deleted(checkpoint: Checkpoint) -> None:
    _, shown = made(owner(), kind="leave_one_out")
    owner().delete(f"/api/v1/generations/{shown['sides'][0]['generation']['id']}/")

    page = owner().get(f"/playground/comparisons/{shown['id']}/").content.decode()

    assert "All experts" not in page
    assert page.count(">Without ") >= 4


def test_goes_with_the_person_who_made_it(checkpoint: Checkpoint) -> None:
    made(owner(), masks=[EXPERTS, ["web"]], system_prompt="Be brief.")
    researcher = User.objects.get(username="researcher")
    identifier = str(Comparison.objects.get().id)

    exported = list(export_personal(researcher))
    assert [(row["comparison"], row["system_prompt"]) for row in exported] == [(identifier, "Be brief.")] * 2
    erase_personal(researcher)
    assert not Comparison.objects.exists()
