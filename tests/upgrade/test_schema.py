"""The interface within v1 only grows; and the comparison that says so finds what is taken away."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.upgrade.additive import breaking_changes

ROOT = Path(__file__).resolve().parents[2]
RELEASED: dict[str, Any] = yaml.load((ROOT / "tests" / "upgrade" / "openapi-v1.yaml").read_text(), yaml.CSafeLoader)
NOW: dict[str, Any] = yaml.load((ROOT / "docs" / "openapi.yaml").read_text(), yaml.CSafeLoader)


def test_nothing_that_clients_of_v1_use_was_taken_away() -> None:
    assert breaking_changes(RELEASED, NOW) == []


def changed(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """Return a copy of the schema with one value set, or removed where `value` is None."""
    schema = copy.deepcopy(NOW)
    place: Any = schema
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return schema


TRACE = ("components", "schemas", "Trace")
ASK = ("components", "schemas", "GenerationRequest")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("paths", "/api/v1/traces/"), None, "POST /api/v1/traces/ is gone"),
        (("paths", "/api/v1/traces/", "post", "responses", "202"), None, "202 is gone"),
        ((*ASK, "properties", "prompt"), None, "body.prompt is gone"),
        ((*ASK, "properties", "prompt", "type"), "integer", "was type string, is integer"),
        ((*ASK, "required"), ["prompt", "seed"], "body.seed became required"),
        ((*TRACE, "properties", "status"), None, ".status is gone"),
        (("paths", "/api/v1/log/consistency/", "get", "parameters", 0), {"in": "query", "name": "x"}, "first is gone"),
    ],
)
def test_what_is_taken_away_is_found(path: tuple[str | int, ...], value: Any, said: str) -> None:
    assert any(said in found for found in breaking_changes(NOW, changed(path, value)))


def test_what_is_added_is_no_loss() -> None:
    schema = changed((*ASK, "properties", "new"), {"type": "string"})
    schema["paths"]["/api/v1/new/"] = {"get": {"responses": {"200": {"description": ""}}}}
    schema["components"]["schemas"]["Trace"]["properties"]["new"] = {"type": "string"}

    assert breaking_changes(NOW, schema) == []
