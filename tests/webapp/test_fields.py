"""Long texts are refused for exactly what REST framework refuses them for."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from rest_framework.serializers import CharField, ValidationError
from rest_framework.validators import ProhibitSurrogateCharactersValidator

from webapp.fields import LongTextField


def outcome(field: CharField, value: Any) -> tuple[str, Any]:
    try:
        return "taken", field.run_validation(value)
    except ValidationError as error:
        return "refused", error.detail


@given(st.text(st.characters()) | st.integers() | st.booleans() | st.none())
@example("a\ud800b")
@example("\udfff\ud800")
@example("nul\0")
@example("")
def test_takes_and_refuses_what_the_plain_field_does(value: Any) -> None:
    options: dict[str, Any] = {"trim_whitespace": False, "max_length": 8}
    assert outcome(LongTextField(**options), value) == outcome(CharField(**options), value)


def test_does_without_the_slow_check() -> None:
    checks = LongTextField().validators
    assert not any(type(check) is ProhibitSurrogateCharactersValidator for check in checks)
    assert sum(isinstance(check, ProhibitSurrogateCharactersValidator) for check in checks) == 1
