"""The columns of ministere-culture/comparia-votes, and those of the set for judges. Knows no files and no database."""

from __future__ import annotations

from arena.releases.records import Record
from arena.releases.schemas import HUMAN_PREFERENCE, MULTIPREF, SCIARENA, Columns, Row, Schema

QUALITIES = (
    "useful", "complete", "creative", "clear_formatting", "incorrect", "superficial", "instructions_not_followed",
)  # fmt: skip
MESSAGE: Columns = {"role": "string", "content": "string", "num_tokens": "int"}
#: Reasons are ticked for the battle here, and for a side there; free text can't be taken back, so it is not released.
NOT_ASKED = (
    *(f"conv_comments_{side}" for side in ("a", "b")),
    *(f"conv_{quality}_{side}" for quality in QUALITIES for side in ("a", "b")),
)


def _comparia(record: Record) -> Row:
    chosen = {"a": record.model_a, "b": record.model_b}.get(record.verdict)
    return {
        "id": record.leaf_index,
        "timestamp": record.voted_at.isoformat(),
        "model_a_name": record.model_a,
        "model_b_name": record.model_b,
        "model_pair_name": sorted([record.model_a, record.model_b]),
        "chosen_model_name": chosen,
        "both_equal": chosen is None,
        "opening_msg": record.first_prompt,
        "conversation_a": list(record.messages("a")),
        "conversation_b": list(record.messages("b")),
        "conv_turns": len(record.turns),
        "system_prompt_a": record.system_prompt_a,
        "system_prompt_b": record.system_prompt_b,
        "selected_category": record.category or None,
        "is_unedited_prompt": bool(record.prompt_key),
        "conversation_pair_id": record.id,
        "session_hash": record.id,
        "visitor_id": record.voter,
        **dict.fromkeys(NOT_ASKED),
        "tags": list(record.description.tags),
    }


COMPARIA = Schema(
    "comparia-votes",
    "ministere-culture/comparia-votes",
    {
        "id": "int",
        "timestamp": "string",
        "model_a_name": "string",
        "model_b_name": "string",
        "model_pair_name": ["string"],
        "chosen_model_name": "string",
        "both_equal": "bool",
        "opening_msg": "string",
        "conversation_a": [MESSAGE],
        "conversation_b": [MESSAGE],
        "conv_turns": "int",
        "system_prompt_a": "string",
        "system_prompt_b": "string",
        "selected_category": "string",
        "is_unedited_prompt": "bool",
        "conversation_pair_id": "string",
        "session_hash": "string",
        "visitor_id": "string",
        **{name: "string" if "comments" in name else "bool" for name in NOT_ASKED},
        "tags": ["string"],
    },
    _comparia,
)


def _for_judges(record: Record) -> Row:
    return {
        "id": record.id,
        "season": record.season,
        "simulated": record.is_simulated,
        "conversation_a": list(record.messages("a")),
        "conversation_b": list(record.messages("b")),
        "category": record.category or None,
        "discipline": record.discipline or None,
        "language": record.language or None,
    }


FOR_JUDGES = Schema(
    "judge-set",
    "",
    {
        "id": "string",
        "season": "string",
        "simulated": "bool",
        "conversation_a": [MESSAGE],
        "conversation_b": [MESSAGE],
        "category": "string",
        "discipline": "string",
        "language": "string",
    },
    _for_judges,
    is_open=False,
)
#: The tables of a release in the order in which they are written.
TABLES = (HUMAN_PREFERENCE, SCIARENA, MULTIPREF, COMPARIA, FOR_JUDGES)
