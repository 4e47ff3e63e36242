"""What is asked of the engine and what it answers: requests, events, the handle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from queue import Empty, SimpleQueue

from webapp.inference.errors import RequestError

MAX_SEED = 2**63 - 1
MAX_STOP_STRINGS = 16
MAX_STOP_LENGTH = 200
MAX_TOP_LOGPROBS = 20


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    TIME = "time"
    ERROR = "error"


@dataclass(frozen=True)
class ChatMessage:
    """One turn of a conversation; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class GenerationRequest:
    """One answer to make. temperature 0 is greedy; `max_seconds` counts from admission.

    `prompt` is exactly what the model reads. `add_special_tokens` puts the tokenizer's own
    begin-of-text before it; a chat template has written its own. `messages` is the same
    conversation for a backend that applies the template itself. `top_logprobs` asks for each
    token's log probability and that many alternatives. `thinking` bounds the thinking part. Clients
    take turns while requests wait; `client` says whose this one is.
    """

    prompt: str
    experts: frozenset[str]
    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    max_seconds: float = 120.0
    add_special_tokens: bool = True
    messages: tuple[ChatMessage, ...] = ()
    top_logprobs: int | None = None
    thinking: ThinkingLimits | None = None
    client: str = ""

    def check(self) -> None:
        """RequestError that names the first value out of bounds."""
        if not self.prompt:
            raise RequestError("The prompt is empty; write something to continue.")
        if "\x00" in self.prompt or any("\ud800" <= char <= "\udfff" for char in self.prompt):
            raise RequestError("The prompt holds NUL or half a surrogate pair; send plain Unicode text.")
        _check_range("max_tokens", self.max_tokens, 1, 1_000_000, whole=True)
        _check_range("temperature", self.temperature, 0.0, 10.0)
        _check_range("top_p", self.top_p, 0.0001, 1.0)
        _check_range("seed", self.seed, 0, MAX_SEED, whole=True)
        _check_range("max_seconds", self.max_seconds, 0.001, 86_400.0)
        if self.top_logprobs is not None:
            _check_range("top_logprobs", self.top_logprobs, 0, MAX_TOP_LOGPROBS, whole=True)
        if self.thinking is not None:
            _check_range("thinking.max_tokens", self.thinking.max_tokens, 0, 1_000_000, whole=True)
            _check_range("thinking.min_tokens", self.thinking.min_tokens, 0, self.thinking.max_tokens, whole=True)
        if len(self.stop) > MAX_STOP_STRINGS or any(not 0 < len(text) <= MAX_STOP_LENGTH for text in self.stop):
            raise RequestError(
                f"stop takes at most {MAX_STOP_STRINGS} strings of 1 to {MAX_STOP_LENGTH} characters each."
            )


def _check_range(name: str, value: float, low: float, high: float, *, whole: bool = False) -> None:
    is_number = isinstance(value, int) if whole else isinstance(value, int | float)
    if isinstance(value, bool) or not is_number or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise RequestError(f"{name} is {value!r}; it must be {kind} from {low} to {high}.")


@dataclass(frozen=True)
class ThinkingLimits:
    """Bounds of the thinking part, in tokens, and the texts that steer it.

    `end` is what closes the thinking (and opens the answer), `wait` what is put in its
    place when it would close too early (budget forcing; Muennighoff et al., s1,
    arXiv 2501.19393, section 3).
    """

    min_tokens: int
    max_tokens: int
    end: str
    wait: str


@dataclass(frozen=True)
class TokenLogprob:
    """A token's text and natural logarithm of its probability before temperature and top-p."""

    token_id: int
    text: str
    logprob: float


@dataclass(frozen=True)
class TokenEvent:
    """One sampled token. `text` may be empty; the texts concatenate to the answer.

    `routing` is each enabled expert's share of the routing weight, averaged over
    layers, in the forward pass that produced this token; the shares add up to 1.
    A model without switchable experts has none. `top_logprobs` is sorted, likeliest first.
    `token_id` is -1 where a remote server does not tell it.
    """

    index: int
    token_id: int
    text: str
    routing: dict[str, float]
    logprob: TokenLogprob | None = None
    top_logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class FinishEvent:
    """The last event of every request.

    `routing_shares` and `layer_shares` are means over the tokens: each enabled expert's share of
    the routing weight over all layers, and in each layer.
    """

    reason: FinishReason
    text: str
    token_ids: tuple[int, ...]
    routing_shares: dict[str, float]
    timings_ms: dict[str, float]
    error: str = ""
    layer_shares: dict[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass
class GenerationHandle:
    """The caller's end of a request: iterate over its events, or cancel it."""

    request: GenerationRequest
    prompt_ids: tuple[int, ...]
    on_cancel: Callable[[], None] = field(repr=False)
    submitted_at: float = field(default_factory=time.monotonic)
    finish: FinishEvent | None = None
    _events: SimpleQueue[TokenEvent | FinishEvent] = field(default_factory=SimpleQueue, repr=False)
    _cancelled: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask for an end within one step; a FinishEvent still follows. Safe from any thread."""
        self._cancelled.set()
        self.on_cancel()

    def wait_cancelled(self, timeout_s: float) -> bool:
        """Sleep, but no longer than until the request is cancelled; tells whether it is."""
        return self._cancelled.wait(timeout_s)

    def put(self, event: TokenEvent | FinishEvent) -> None:
        """For the engine: hand an event to the reader."""
        self._events.put(event)

    def next_event(self, timeout_s: float | None = None) -> TokenEvent | FinishEvent | None:
        """The next event, or None when none came in time or all were read."""
        if self.finish is not None:
            return None
        try:
            event = self._events.get(timeout=timeout_s)
        except Empty:
            return None
        if isinstance(event, FinishEvent):
            self.finish = event
        return event

    def __iter__(self) -> Iterator[TokenEvent | FinishEvent]:
        while (event := self.next_event()) is not None:
            yield event

    def result(self) -> FinishEvent:
        """Wait for the end, discarding token events."""
        for _ in self:
            pass
        assert self.finish is not None
        return self.finish
