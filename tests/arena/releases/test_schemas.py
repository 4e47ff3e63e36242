"""Rows have the published columns and words; files are the same in both formats; the card describes the files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pa_parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.releases.cards import CONFORMS_TO, CONTESTANT_COLUMNS, Facts, croissant_card, readme
from arena.releases.files import write_table
from arena.releases.records import Description, Record, Turn, status_of
from arena.releases.schemas import CHECKABLE, HUMAN_PREFERENCE, MULTIPREF, SCIARENA, count_marks, preference
from arena.releases.tables import COMPARIA, FOR_JUDGES, TABLES

RECORD = Record(
    id="01936500-0000-7000-8000-000000000001",
    season="main",
    is_simulated=False,
    epoch=2,
    draw_index=7,
    p_pair="3/4096",
    side_swap=True,
    roster_hash="a" * 64,
    policy_hash="b" * 64,
    status="counted",
    leaf_index=91,
    contestant_a="id-a",
    contestant_b="id-b",
    model_a="one",
    model_b="two",
    verdict="b",
    voter="c" * 64,
    voted_at=datetime(2026, 11, 30, tzinfo=UTC),
    seconds=4.5,
    category="code",
    discipline="",
    language="en",
    community="",
    prompt_key="",
    system_prompt_a="",
    system_prompt_b="",
    turns=(
        Turn("Why?", "d" * 64, "e" * 64, "# Because\n\n- **it** is", "No.", 8, 2),
        Turn("And then?", "f" * 64, "1" * 64, "1. Nothing", "Yes.", 3, 2),
    ),
    shows_answers=True,
    answer_sha256_a="2" * 64,
    answer_sha256_b="3" * 64,
    answer_salt="4" * 64,
    description=Description(strength=4, confidence=3, aspects={"harmless": "tie"}, tags=("clear",)),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def test_rows_have_the_columns_that_the_published_sets_have() -> None:
    published = (
        (
            HUMAN_PREFERENCE,
            "id model_a model_b winner evaluation_session_id evaluation_order conversation_a conversation_b "
            "full_conversation conv_metadata category_tag language is_code timestamp",
        ),
        (SCIARENA, "id question responseA responseB modelA modelB vote citation_a citation_b question_type subject"),
        (
            MULTIPREF,
            "comparison_id prompt_id text model_a completion_a model_b completion_b source category subject_study "
            "highest_level_degree normal_worker_annotations expert_worker_annotations",
        ),
        (
            COMPARIA,
            "id timestamp model_a_name model_b_name model_pair_name chosen_model_name both_equal opening_msg "
            "conversation_a conversation_b conv_turns system_prompt_a system_prompt_b selected_category "
            "is_unedited_prompt conversation_pair_id session_hash visitor_id conv_comments_a conv_comments_b "
            "conv_useful_a conv_useful_b conv_creative_a conv_clear_formatting_b conv_incorrect_a conv_superficial_a",
        ),
    )
    checkable = {"draw_index", "p_pair", "side_swap", "roster_hash", "policy_hash", "status", "leaf_index"}
    for schema, names in published:
        row = schema.row(RECORD)
        assert set(names.split()) <= set(row)
        assert checkable <= set(row)
        assert list(row) == list(schema.all_columns)


@pytest.mark.parametrize(
    ("verdict", "winner", "vote", "overall", "chosen"),
    [
        ("a", "model_a", "A", "A-is-clearly-better", "one"),
        ("b", "model_b", "B", "B-is-clearly-better", "two"),
        ("tie", "tie", "tie", "Tie", None),
        ("both_bad", "both_bad", "both_bad", "Tie", None),
    ],
)
def test_verdicts_are_told_in_each_set_of_words(
    verdict: str, winner: str, vote: str, overall: str, chosen: str | None
) -> None:
    record = dataclasses.replace(RECORD, verdict=verdict)
    assert HUMAN_PREFERENCE.row(record)["winner"] == winner
    assert SCIARENA.row(record)["vote"] == vote
    assert MULTIPREF.row(record)["normal_worker_annotations"][0]["overall_pref"] == overall
    row = COMPARIA.row(record)
    assert (row["chosen_model_name"], row["both_equal"]) == (chosen, chosen is None)
    assert all(schema.row(record)["verdict"] == verdict for schema in TABLES if schema.is_open)


def test_conversations_and_counts_are_those_of_the_turns() -> None:
    row = HUMAN_PREFERENCE.row(RECORD)
    texts = [(m["role"], m["content"][0]["text"], m["num_tokens"]) for m in row["conversation_b"]]
    assert texts == [
        ("user", "Why?", None),
        ("assistant", "No.", 2),
        ("user", "And then?", None),
        ("assistant", "Yes.", 2),
    ]
    assert row["full_conversation"][1]["model_side_a"]["content"][0]["text"] == "1. Nothing"
    metadata = row["conv_metadata"]
    assert (metadata["turns"], metadata["sum_assistant_a_tokens"], metadata["sum_assistant_b_tokens"]) == (2, 11, 4)
    assert metadata["header_count_a"]["h1"] == 1
    assert metadata["list_count_a"] == {"ordered": 1, "unordered": 1}
    assert metadata["bold_count_a"] == {"**": 1, "__": 0}
    assert SCIARENA.row(RECORD)["responseA"] == "# Because\n\n- **it** is\n\n1. Nothing"


@given(st.lists(st.sampled_from(["# x", "### y", "- z", "3) q", "words", "**b**", "__u__ and __v__"]), max_size=12))
def test_marks_are_counted_line_by_line(parts: list[str]) -> None:
    found = count_marks("\n\n".join(parts))
    assert found["header_count"]["h1"] == parts.count("# x")
    assert found["header_count"]["h3"] == parts.count("### y")
    assert found["list_count"] == {"ordered": parts.count("3) q"), "unordered": parts.count("- z")}
    assert found["bold_count"] == {"**": parts.count("**b**"), "__": 2 * parts.count("__u__ and __v__")}


def test_set_for_judges_has_no_verdict_no_name_and_no_voter() -> None:
    text = json.dumps(FOR_JUDGES.row(RECORD))
    assert not any(word in text for word in ("one", "two", "id-a", "id-b", "winner", "verdict", RECORD.voter, "91"))
    assert not set(CHECKABLE) - {"season", "simulated"} & set(FOR_JUDGES.all_columns)


def test_strength_decides_between_slightly_and_clearly() -> None:
    assert [preference("a", strength) for strength in (None, 1, 2, 3, 5)] == [
        "A-is-clearly-better",
        "A-is-slightly-better",
        "A-is-slightly-better",
        "A-is-clearly-better",
        "A-is-clearly-better",
    ]
    assert preference(None, 3) is None


@pytest.mark.parametrize(
    ("early", "rules", "status"),
    [
        (False, set(), "counted"),
        (True, set(), "pre-release"),
        (True, {"random", "always-left"}, "excluded:always-left+random"),
    ],
)
def test_status_names_the_rules(early: bool, rules: set[str], status: str) -> None:
    assert status_of(is_pre_release=early, rules=rules) == status


@settings(max_examples=20)
@given(prompts=st.lists(TEXTS, min_size=1, max_size=4), batch=st.integers(1, 3))
def test_both_formats_hold_the_same_rows_however_they_come(
    tmp_path_factory: pytest.TempPathFactory, prompts: list[str], batch: int
) -> None:
    folder = tmp_path_factory.mktemp("files")
    turns = [Turn(p, "d" * 64, None, p[::-1], None, None, None) for p in prompts]
    records = [dataclasses.replace(RECORD, turns=(turn,), description=Description()) for turn in turns]
    for schema in TABLES:
        rows = [schema.row(record) for record in records]
        batches = [rows[start : start + batch] for start in range(0, len(rows), batch)]
        lines, parquet = write_table(folder, schema.name, schema.all_columns, batches)
        assert (lines.n_rows, parquet.n_rows) == (len(rows), len(rows))
        read = [json.loads(line) for line in (folder / lines.name).read_bytes().split(b"\n") if line]
        assert read == rows
        assert pa_parquet.read_table(folder / parquet.name).to_pylist() == rows
        assert lines.sha256 == hashlib.sha256((folder / lines.name).read_bytes()).hexdigest()
    assert not list(folder.glob("*.part"))


FACTS = Facts(
    id=RECORD.id, season="main", title="Arena", is_simulated=True, tree_size=120, votes_size=110, n_votes=9,
    n_withheld=1, date="2026-11-30", licence="https://example.org/licence", level="0.95", min_votes=10, log_key="k",
)  # fmt: skip


def test_card_describes_every_file_and_every_column(tmp_path: Path) -> None:
    files: list[dict[str, Any]] = []
    for schema in TABLES:
        made = write_table(tmp_path, schema.name, schema.all_columns, [[schema.row(RECORD)]])
        files += [file.to_json() for file in made]
    card = croissant_card(FACTS, files)
    assert (card["@type"], card["conformsTo"]) == ("sc:Dataset", CONFORMS_TO)
    required = {"name", "description", "license", "url", "creator", "datePublished", "version", "citeAs"}
    assert required <= card.keys()
    objects = {d["@id"]: d for d in card["distribution"]}
    assert {n: d["sha256"] for n, d in objects.items()} == {f["name"]: f["sha256"] for f in files}
    columns = {s.name: s.all_columns for s in TABLES} | {"contestants": CONTESTANT_COLUMNS}
    assert [record_set["@id"] for record_set in card["recordSet"]] == list(columns)
    seen: set[str] = set()
    for record_set in card["recordSet"]:
        described = columns[record_set["@id"]]
        assert [f["@id"] for f in record_set["field"]] == [f"{record_set['@id']}/{column}" for column in described]
        for field in record_set["field"]:
            leaves = field.get("subField", [field])
            assert leaves
            for leaf in leaves:
                assert leaf["@id"] not in seen
                seen.add(leaf["@id"])
                assert leaf["dataType"].startswith("sc:")
                assert leaf["source"]["fileObject"]["@id"] == f"{record_set['@id']}.parquet"
                assert leaf["source"]["extract"]["column"] in described
    assert "imulated" in card["description"]
    json.dumps(card)


def test_readme_says_how_to_recompute_and_marks_simulated_votes() -> None:
    text = readme(FACTS, [])
    assert text.startswith("---\nlicense: other\nlicense_link: https://example.org/licence\nconfigs:\n")
    assert "--min-votes 10 --level 0.95" in text
    assert "**Simulated votes.**" in text
    assert "**Simulated votes.**" not in readme(dataclasses.replace(FACTS, is_simulated=False), [])
    assert all(f"`{schema.name}`" in text for schema in TABLES)
