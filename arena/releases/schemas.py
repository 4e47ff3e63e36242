"""The published schemas: each turns a record into a row, with the columns that make a vote checkable.

Columns and their words follow lmarena-ai/arena-human-preference-140k, yale-nlp/SciArena,
allenai/multipref and ministere-culture/comparia-votes. What this arena does not ask stays null.
Knows nothing of files or the database.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from arena.releases.records import Record

Row = dict[str, Any]
#: Name → type; a dict is a struct, a list of one item a list, else string, int, float or bool.
Columns = dict[str, Any]

CHECKABLE: Columns = {
    "season": "string",
    "simulated": "bool",
    "epoch": "int",
    "draw_index": "int",
    "p_pair": "string",
    "side_swap": "bool",
    "roster_hash": "string",
    "policy_hash": "string",
    "status": "string",
    "leaf_index": "int",
    "contestant_a": "string",
    "contestant_b": "string",
    "verdict": "string",
    "voter": "string",
    "prompt_sha256": ["string"],
    "prompt_salt": ["string"],
    "answer_sha256_a": "string",
    "answer_sha256_b": "string",
    "answer_salt": "string",
    "overlap_covered_a": "int",
    "overlap_characters_a": "int",
    "overlap_covered_b": "int",
    "overlap_characters_b": "int",
    "overlap_leaf_index": "int",
    "overlap": "float",
}


OVERLAP_NUMBERS = ("covered_a", "characters_a", "covered_b", "characters_b", "leaf_index")


def checkable(record: Record) -> Row:
    """Return the columns that every schema has: by them a row is found in the log and its texts open their hashes."""
    apart = ("simulated", "prompt_sha256", "prompt_salt")
    plain = (name for name in CHECKABLE if name not in apart and not name.startswith("overlap"))
    values: Row = {name: getattr(record, name) for name in plain}
    values["simulated"] = record.is_simulated
    measured = record.measured
    values |= {f"overlap_{name}": getattr(measured, name, None) for name in OVERLAP_NUMBERS}
    values["overlap"] = measured.difference if measured else None
    values["prompt_sha256"] = [turn.prompt_sha256 for turn in record.turns]
    values["prompt_salt"] = [turn.prompt_salt for turn in record.turns]
    return {name: values[name] for name in CHECKABLE}


@dataclass(frozen=True)
class Schema:
    """A table of a release. follows: the published data set whose columns it has. is_open: it tells verdicts."""

    name: str
    follows: str
    columns: Columns
    row_of: Callable[[Record], Row]
    is_open: bool = True

    def row(self, record: Record) -> Row:
        """Return a record as a row with exactly the declared columns, in their order."""
        values = {**self.row_of(record), **(checkable(record) if self.is_open else {})}
        return {name: values[name] for name in self.all_columns}

    @property
    def all_columns(self) -> Columns:
        """Return the schema's own columns and then, where it tells verdicts, the checkable ones."""
        return {**self.columns, **(CHECKABLE if self.is_open else {})}


# --- lmarena-ai/arena-human-preference-140k ---------------------------------------------------------

CONTENT: Columns = {"type": "string", "text": "string", "image": "string", "mimeType": "string"}
MESSAGE: Columns = {"role": "string", "content": [CONTENT], "num_tokens": "int"}
HEADERS: Columns = {f"h{level}": "int" for level in range(1, 7)}
STYLE: Columns = {
    f"{name}_{side}": columns
    for side in ("a", "b")
    for name, columns in (
        ("header_count", HEADERS),
        ("list_count", {"ordered": "int", "unordered": "int"}),
        ("bold_count", {"**": "int", "__": "int"}),
    )
}
_HEADER = re.compile(r"^ {0,3}(#{1,6})\s+", re.MULTILINE)
_ORDERED = re.compile(r"^\s*\d+[.)]\s+", re.MULTILINE)
_UNORDERED = re.compile(r"^\s*[-*+]\s+", re.MULTILINE)
_BOLD = {mark: re.compile(rf"{re.escape(mark)}(?=\S)(.+?)(?<=\S){re.escape(mark)}", re.DOTALL) for mark in ("**", "__")}


def _content(text: str) -> list[Row]:
    return [{"type": "text", "text": text, "image": None, "mimeType": None}]


def _conversation(record: Record, side: str) -> list[Row]:
    return [{**message, "content": _content(message["content"])} for message in record.messages(side)]


def _full_conversation(record: Record) -> list[Row]:
    def said(role: str, text: str | None) -> Row | None:
        return None if text is None else {"role": role, "content": _content(text)}

    return [
        {
            "user": said("user", turn.prompt),
            "model_side_a": said("assistant", turn.answer_a),
            "model_side_b": said("assistant", turn.answer_b),
        }
        for turn in record.turns
    ]


def count_marks(text: str) -> Row:
    """Return counts of Markdown's headers by level, list items by kind and bold pieces by mark."""
    levels = [len(found) for found in _HEADER.findall(text)]
    return {
        "header_count": {f"h{level}": levels.count(level) for level in range(1, 7)},
        "list_count": {"ordered": len(_ORDERED.findall(text)), "unordered": len(_UNORDERED.findall(text))},
        "bold_count": {mark: len(pattern.findall(text)) for mark, pattern in _BOLD.items()},
    }


def _conv_metadata(record: Record) -> Row:
    values: Row = {"turns": len(record.turns)}
    for side in ("a", "b"):
        values[f"sum_assistant_{side}_tokens"] = record.n_tokens(side)
        marks = count_marks(record.whole_answer(side)) if record.shows_answers else {}
        for name in ("header_count", "list_count", "bold_count"):
            values[f"{name}_{side}"] = marks.get(name)
    return values


def _human_preference(record: Record) -> Row:
    winner = {"a": "model_a", "b": "model_b"}.get(record.verdict, record.verdict)
    return {
        "id": record.id,
        "model_a": record.model_a,
        "model_b": record.model_b,
        "winner": winner,
        "evaluation_session_id": record.id,
        "evaluation_order": 1,
        "conversation_a": _conversation(record, "a"),
        "conversation_b": _conversation(record, "b"),
        "full_conversation": _full_conversation(record),
        "conv_metadata": _conv_metadata(record),
        "category_tag": {"category": record.category or None, "discipline": record.discipline or None},
        "language": record.language or None,
        "is_code": record.category == "code" if record.category else None,
        "timestamp": record.voted_at.isoformat(),
        "category": record.category,
        "discipline": record.discipline,
        "community": record.community,
    }


_SIDE: Columns = {"role": "string", "content": [CONTENT]}
HUMAN_PREFERENCE = Schema(
    "arena-human-preference-140k",
    "lmarena-ai/arena-human-preference-140k",
    {
        "id": "string",
        "model_a": "string",
        "model_b": "string",
        "winner": "string",
        "evaluation_session_id": "string",
        "evaluation_order": "int",
        "conversation_a": [MESSAGE],
        "conversation_b": [MESSAGE],
        "full_conversation": [{"user": _SIDE, "model_side_a": _SIDE, "model_side_b": _SIDE}],
        "conv_metadata": {"turns": "int", "sum_assistant_a_tokens": "int", "sum_assistant_b_tokens": "int", **STYLE},
        "category_tag": {"category": "string", "discipline": "string"},
        "language": "string",
        "is_code": "bool",
        "timestamp": "string",
        "category": "string",
        "discipline": "string",
        "community": "string",
    },
    _human_preference,
)

# --- yale-nlp/SciArena ------------------------------------------------------------------------------


def _sciarena(record: Record) -> Row:
    return {
        "id": record.id,
        "question": "\n\n".join(turn.prompt for turn in record.turns),
        "responseA": record.whole_answer("a"),
        "responseB": record.whole_answer("b"),
        "modelA": record.model_a,
        "modelB": record.model_b,
        "vote": {"a": "A", "b": "B"}.get(record.verdict, record.verdict),
        "citation_a": [],
        "citation_b": [],
        "question_type": record.category or None,
        "subject": record.discipline or None,
    }


SCIARENA = Schema(
    "sciarena",
    "yale-nlp/SciArena",
    {
        "id": "string",
        "question": "string",
        "responseA": "string",
        "responseB": "string",
        "modelA": "string",
        "modelB": "string",
        "vote": "string",
        "citation_a": [{"concise_authors": "string", "content": "string"}],
        "citation_b": [{"concise_authors": "string", "content": "string"}],
        "question_type": "string",
        "subject": "string",
    },
    _sciarena,
)

# --- allenai/multipref ------------------------------------------------------------------------------

ASPECTS = ("helpful", "truthful", "harmless")
CONFIDENCES = ("not-confident", "not-confident", "fairly-confident", "fairly-confident", "absolutely-confident")
SLIGHT = 2  # strengths up to here are "slightly"


def preference(verdict: str | None, strength: int | None) -> str | None:
    """Return a verdict in MultiPref's words; who said no strength counts as clear."""
    if verdict is None:
        return None
    if verdict not in ("a", "b"):
        return "Tie"
    how = "slightly" if strength is not None and strength <= SLIGHT else "clearly"
    return f"{verdict.upper()}-is-{how}-better"


def _annotation(record: Record) -> Row:
    said = record.description
    return {
        "evaluator": record.voter,
        "timestamp": record.voted_at.isoformat(),
        "time_spent": record.seconds,
        "overall_pref": preference(record.verdict, said.strength),
        "overall_confidence": CONFIDENCES[said.confidence - 1] if said.confidence else None,
        "overall_strength": said.strength,
        "checked_reasons": list(said.tags),
        **{f"{aspect}_pref": preference(said.aspects.get(aspect), None) for aspect in ASPECTS},
    }


def _multipref(record: Record) -> Row:
    return {
        "comparison_id": record.id,
        "prompt_id": record.prompt_key or record.id,
        "text": "\n\n".join(turn.prompt for turn in record.turns),
        "model_a": record.model_a,
        "completion_a": record.whole_answer("a"),
        "model_b": record.model_b,
        "completion_b": record.whole_answer("b"),
        "source": "pool" if record.prompt_key else "voter",
        "category": record.category or None,
        "subject_study": record.discipline or None,
        "highest_level_degree": None,
        "normal_worker_annotations": [_annotation(record)],
        "expert_worker_annotations": [],
    }


ANNOTATION: Columns = {
    "evaluator": "string",
    "timestamp": "string",
    "time_spent": "float",
    "overall_pref": "string",
    "overall_confidence": "string",
    "overall_strength": "int",
    "checked_reasons": ["string"],
    **{f"{aspect}_pref": "string" for aspect in ASPECTS},
}
MULTIPREF = Schema(
    "multipref",
    "allenai/multipref",
    {
        **dict.fromkeys(
            (
                "comparison_id",
                "prompt_id",
                "text",
                "model_a",
                "completion_a",
                "model_b",
                "completion_b",
                "source",
                "category",
                "subject_study",
                "highest_level_degree",
            ),
            "string",
        ),
        "normal_worker_annotations": [ANNOTATION],
        "expert_worker_annotations": [ANNOTATION],
    },
    _multipref,
)
