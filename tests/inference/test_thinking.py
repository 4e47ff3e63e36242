"""Budget forcing: bounds on the thinking part hold whatever the model draws."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.inference.tiny import EXPERTS, make_tokenizer
from webapp.inference import GenerationRequest, InferenceEngine, ThinkingLimits
from webapp.inference.thinking import ThinkingBudget

TOKENIZER = make_tokenizer()
END, WAIT = "</t>", " path"
END_IDS = TOKENIZER.encode(END).ids
WAIT_IDS = TOKENIZER.encode(WAIT).ids
EOS = 0


def steered(drawn: list[int], low: int, high: int) -> list[int]:
    budget = ThinkingBudget(ThinkingLimits(low, high, END, WAIT), TOKENIZER, frozenset([EOS]))
    return [budget.steer(token) for token in drawn]


def end_of_thinking(tokens: list[int]) -> int | None:
    """Where the first end text begins; the slow, obvious way."""
    found = [i for i in range(len(tokens)) if tokens[i : i + len(END_IDS)] == END_IDS]
    return found[0] if found else None


@given(
    drawn=st.lists(st.sampled_from([EOS, *END_IDS, *WAIT_IDS, 9, 10]), min_size=60, max_size=60),
    low=st.integers(0, 12),
    extra=st.integers(0, 12),
)
def test_thinking_ends_within_its_bounds(drawn: list[int], low: int, extra: int) -> None:
    tokens = steered(drawn, low, low + extra)
    end = end_of_thinking(tokens)
    assert end is not None
    assert low <= end
    assert end <= low + extra + len(WAIT_IDS) + len(END_IDS)
    assert EOS not in tokens[: min(low, end)]
    after = end + len(END_IDS)
    assert tokens[after:] == drawn[after:]


def test_writes_the_end_exactly_at_the_upper_bound() -> None:
    tokens = steered([9] * 20, 0, 5)
    assert tokens == [9] * 5 + END_IDS + [9] * (15 - len(END_IDS))


def test_replaces_an_early_end_by_the_wait_text() -> None:
    tokens = steered([9, END_IDS[0], *[10] * 20], 4, 8)
    assert tokens[: 1 + len(WAIT_IDS)] == [9, *WAIT_IDS]


def test_engine_closes_the_thinking_when_its_budget_is_spent(engine: InferenceEngine) -> None:
    limits = ThinkingLimits(0, 6, END, WAIT)
    request = GenerationRequest("Return", frozenset(EXPERTS), max_tokens=30, temperature=1.0, seed=4, thinking=limits)
    finish = engine.submit(request).result()
    end = end_of_thinking(list(finish.token_ids))
    assert end is not None
    assert end <= 6 + len(END_IDS)
    assert END in finish.text
