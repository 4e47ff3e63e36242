"""Conversations become the text that transformers would make of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from tests.inference.tiny import make_tokenizer
from webapp.inference import ChatMessage, RequestError
from webapp.inference.chat_template import ChatTemplate, plain_chat, read_chat_template

TULU = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|system|>\n' + message['content'] + '\n' }}"
    "{% elif message['role'] == 'user' %}{{ '<|user|>\n' + message['content'] + '\n' }}"
    "{% elif message['role'] == 'assistant' %}{% if not loop.last %}"
    "{{ '<|assistant|>\n' + message['content'] + eos_token + '\n' }}{% else %}"
    "{{ '<|assistant|>\n' + message['content'] + eos_token }}{% endif %}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"
)
LLAMA = (
    "{{- bos_token }}\n{%- if messages[0]['role'] == 'system' %}\n    {%- set system = messages[0]['content']|trim %}\n"
    "    {%- set messages = messages[1:] %}\n{%- else %}\n    {%- set system = '' %}\n{%- endif %}\n"
    "{{- '<|start|>system<|end|>' + system }}\n{%- for message in messages %}\n"
    "    {%- if loop.index0 > 40 %}{% break %}{% endif %}\n"
    "    {%- generation %}\n    {{- '<|start|>' + message['role'] + '<|end|>' + message['content'] | trim }}\n"
    "    {%- endgeneration %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n"
    "    {{- '<|start|>assistant<|end|>' }}\n{%- endif %}\n"
)
TOKENS = {"bos_token": "<s>", "eos_token": "<|endoftext|>"}
messages = st.lists(
    st.builds(ChatMessage, st.sampled_from(["user", "assistant"]), st.text(max_size=20)), min_size=1, max_size=5
)


@given(messages=messages, system=st.none() | st.text(max_size=10), source=st.sampled_from([TULU, LLAMA]))
def test_renders_as_transformers_does(messages: list[ChatMessage], system: str | None, source: str) -> None:
    if system is not None:
        messages = [ChatMessage("system", system), *messages]
    oracle = PreTrainedTokenizerFast(tokenizer_object=make_tokenizer(), chat_template=source, **TOKENS)
    plain = [{"role": m.role, "content": m.content} for m in messages]
    expected = oracle.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
    assert ChatTemplate(source, tuple(TOKENS.items())).render(messages) == expected


@pytest.mark.parametrize(
    ("body", "jinja", "expected"),
    [
        ({}, None, None),
        ({"chat_template": "A{{ eos_token }}", "eos_token": {"content": "E"}}, None, "AE"),
        ({"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]}, None, "D"),
        ({"chat_template": "old"}, "new", "new"),
    ],
)
def test_finds_the_template_where_checkpoints_keep_it(
    tmp_path: Path, body: dict[str, object], jinja: str | None, expected: str | None
) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(body))
    if jinja is not None:
        (tmp_path / "chat_template.jinja").write_text(jinja)
    template = read_chat_template(tmp_path)
    assert (template and template.render([ChatMessage("user", "x")])) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{% for message in messages %}{{ message.content.nothing.here }}{% endfor %}",
        "{{ 1 / 0 }}",
        "{% if %}",
    ],
)
def test_template_that_fails_or_breaks_out_is_a_refused_request(source: str) -> None:
    with pytest.raises(RequestError, match="chat template"):
        ChatTemplate(source).render([ChatMessage("user", "x")])


def test_plain_chat_ends_where_the_assistant_speaks() -> None:
    turns = [ChatMessage("system", "Be brief."), ChatMessage("user", "Hi"), ChatMessage("assistant", "Hello")]
    text = plain_chat([*turns, ChatMessage("user", "Bye")])
    assert text == "Be brief.\n\nUser: Hi\n\nAssistant: Hello\n\nUser: Bye\n\nAssistant:"
