"""Files of votes: three formats, one table; a fault is an error that names its line."""

from __future__ import annotations

import csv
import json
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arena.rating import VoteFileError, VoteTable
from arena.rating.files import read_votes
from tests.arena.rating.strategies import vote_tables

Rows = list[dict[str, Any]]
FORMATS = ("csv", "jsonl", "parquet")
WORDS = ("model_a", "model_b", "tie", "both_bad")
GOOD: Rows = [
    {"model_a": "x", "model_b": "y", "winner": "model_a"},
    {"model_a": "y", "model_b": "x", "winner": "model_a"},
]


def write(folder: Path, kind: str, rows: Rows) -> Path:
    """Write votes in one of the formats; keys of the first row are the columns."""
    path = folder / f"votes.{kind}"
    if kind == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        pa_parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def text(folder: Path, name: str, content: str | bytes) -> Path:
    """Write a file as it stands."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows_of(votes: VoteTable) -> Rows:
    """Return a table as rows of a file."""
    rows: Rows = []
    for k in range(votes.n_votes):
        row: dict[str, Any] = {
            "id": k,
            "model_a": votes.contestants[votes.side_a[k]],
            "model_b": votes.contestants[votes.side_b[k]],
            "winner": WORDS[votes.verdict[k]],
        }
        if votes.p_pair is not None:
            row["p_pair"] = f"{round(20 * float(votes.p_pair[k]))}/20"
        if votes.voter is not None:
            row["voter"] = f"v{votes.voter[k]}"
        rows.append(row)
    return rows


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(votes=vote_tables())
def test_reads_the_table_that_was_written(kind: str, tmp_path: Path, votes: VoteTable) -> None:
    found = read_votes(write(tmp_path, kind, rows_of(votes)))
    assert found.contestants == votes.contestants
    for name in ("side_a", "side_b", "verdict", "p_pair"):
        np.testing.assert_array_equal(getattr(found, name), getattr(votes, name))
    if votes.voter is None or found.voter is None:
        assert votes.voter is found.voter
    else:
        pairs = set(zip(votes.voter.tolist(), found.voter.tolist(), strict=True))
        assert len(pairs) == votes.n_voters == found.n_voters


@pytest.mark.parametrize("kind", FORMATS)
def test_knows_every_word_for_a_winner(kind: str, tmp_path: Path) -> None:
    words = ("model_a", "model_b", "tie", "tie (bothbad)", "both_bad")
    votes = read_votes(write(tmp_path, kind, [{"model_a": "x", "model_b": "y", "winner": word} for word in words]))
    assert votes.verdict.tolist() == [0, 1, 2, 3, 3]


@pytest.mark.parametrize("kind", FORMATS)
def test_reads_chances_as_fractions_or_numbers(kind: str, tmp_path: Path) -> None:
    chances = ["3/190", "0.25", "1e-3", "1"]
    votes = read_votes(write(tmp_path, kind, [{**GOOD[0], "p_pair": p} for p in chances]))
    assert votes.p_pair is not None
    assert votes.p_pair.tolist() == [float(Fraction(p)) for p in chances]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_reads_numbers_as_numbers_when_the_format_has_them(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, kind, [{**row, "p_pair": 0.1, "voter": 7, "length": 2.5} for row in GOOD])
    votes = read_votes(path, covariates=["length"])
    assert votes.p_pair is not None
    assert votes.p_pair.tolist() == [0.1, 0.1]
    assert votes.voter is not None
    assert votes.voter.tolist() == [0, 0]
    assert votes.covariates["length"].tolist() == [2.5, 2.5]


@pytest.mark.parametrize("kind", FORMATS)
def test_keeps_a_category_and_lists_contestants_without_votes_in_it(kind: str, tmp_path: Path) -> None:
    rows = [{**row, "category": "math"} for row in GOOD]
    rows.append({"model_a": "x", "model_b": "z", "winner": "tie", "category": "law"})
    votes = read_votes(write(tmp_path, kind, rows), category="math")
    assert (votes.n_votes, votes.contestants) == (2, ("x", "y", "z"))


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_counts_a_vote_in_each_of_its_categories_when_they_are_a_list(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, kind, [{**GOOD[0], "category": ["math", "law"]}, {**GOOD[1], "category": ["law"]}])
    assert [read_votes(path, category=name).n_votes for name in ("math", "law")] == [1, 2]


@pytest.mark.parametrize("kind", FORMATS)
def test_takes_an_optional_column_without_values_as_missing(kind: str, tmp_path: Path) -> None:
    votes = read_votes(write(tmp_path, kind, [{**row, "p_pair": None, "voter": None} for row in GOOD]))
    assert votes.p_pair is None
    assert votes.voter is None


def test_reads_csv_with_byte_order_mark_quotes_and_line_breaks_in_cells(tmp_path: Path) -> None:
    content = '\ufeffid,model_a,model_b,winner\n1,"x,\n""1""",y,tie\n\n2,y,ü,model_b\n'
    assert read_votes(text(tmp_path, "votes.csv", content)).contestants == ('x,\n"1"', "y", "ü")


def test_reads_csv_rows_longer_than_a_megabyte(tmp_path: Path) -> None:
    content = "model_a,model_b,winner,conversation\n" + f"x,y,tie,{'word ' * 400_000}\n" * 2
    assert read_votes(text(tmp_path, "votes.csv", content)).n_votes == 2


def test_reads_extensions_in_capitals(tmp_path: Path) -> None:
    assert read_votes(text(tmp_path, "V.CSV", "model_a,model_b,winner\nx,y,tie\n")).n_votes == 1


HEAD = "model_a,model_b,winner"
CSV_FAULTS = {
    "": "is empty",
    f"{HEAD}\n": "holds no votes",
    "model_a;model_b;winner\nx;y;tie\n": "column model_a, model_b, winner is missing; its columns are: 'model_a;",
    "model_a,winner,winner,model_b\nx,tie,tie,y\n": "column winner stands twice",
    f"{HEAD}\nx,y,tie\nx,y\n": "line 3: 2 values under 3 column names",
    f"{HEAD}\nx,y,tie\nx,y,A\n": "line 3: unknown winner 'A'; write one of: model_a, model_b, tie, tie (bothbad), both",
    f"{HEAD}\nx,y,tie\n\nx,y,Model_a\n": "line 4: unknown winner 'Model_a'",
    f'{HEAD}\n"x\n1",y,tie\n,y,tie\n': "line 4: model_a is empty",
    f"{HEAD}\nx,y,tie\nx,x,tie\n": "line 3: a contestant battles itself; correct or remove this vote",
    f"{HEAD}\n{'x' * 1001},y,tie\n": "line 2: model_a is longer than 1000 characters",
    f"{HEAD},p_pair\nx,y,tie,0\n": "line 2: p_pair is '0'; it must be a number above 0 and up to 1",
    f"{HEAD},p_pair\nx,y,tie,1/2\nx,y,tie,1.5\n": "line 3: p_pair is '1.5'",
    f"{HEAD},p_pair\nx,y,tie,1/0\n": "line 2: p_pair is '1/0'",
    f"{HEAD},p_pair\nx,y,tie,3/2\n": "line 2: p_pair is '3/2'",
    f"{HEAD},p_pair\nx,y,tie,nan\n": "line 2: p_pair is 'nan'",
    f"{HEAD},p_pair\nx,y,tie,1/2\nx,y,tie,\n": "line 3: p_pair is empty",
    f"{HEAD},voter\nx,y,tie,v1\nx,y,tie,\n": "line 3: voter is empty",
}


@pytest.mark.parametrize(("content", "reason"), CSV_FAULTS.items())
def test_names_the_line_and_the_fault_of_csv(content: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(VoteFileError) as caught:
        read_votes(text(tmp_path, "votes.csv", content))
    assert str(caught.value).startswith("votes.csv")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


VOTE = '{"model_a": "x", "model_b": "y", "winner": "tie"}'
JSON_FAULTS = {
    "": "holds no votes",
    f"{VOTE}\n\n[1]\n": "line 3: not a JSON object",
    f"{VOTE}\n{{\n": "line 2: not JSON",
    "[" * 5000: "line 1: not JSON",
    '{"model_a": "x", "winner": "tie"}': "line 1: model_b is missing; every vote needs model_a, model_b, winner",
    VOTE.replace('"x"', "null"): "line 1: model_a is missing",
    VOTE.replace('"x"', "true"): "line 1: model_a is true or false, not a string or a number",
    VOTE.replace('"x"', '["x"]'): "line 1: model_a is a list",
    VOTE.replace('"x"', '{"x": 1}'): "line 1: model_a is an object",
    VOTE.replace('"x"', r'"\ud800"'): "line 1: model_a holds half a surrogate pair",
    VOTE.replace('"tie"', '"tie (both bad)"'): "line 1: unknown winner 'tie (both bad)'",
    VOTE.replace("}", ', "p_pair": NaN}'): "line 1: p_pair is 'NaN'",
    VOTE.replace("}", ', "p_pair": 1e999}'): "line 1: p_pair is '1e999'",
    VOTE.replace("}", f', "p_pair": {"9" * 900}}}'): "line 1: p_pair is '999",
    VOTE.replace("}", ', "p_pair": 0.5}') + f"\n{VOTE}": "line 2: p_pair is missing",
}


@pytest.mark.parametrize(("content", "reason"), JSON_FAULTS.items(), ids=range(len(JSON_FAULTS)))
def test_names_the_line_and_the_fault_of_json_lines(content: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(VoteFileError) as caught:
        read_votes(text(tmp_path, "votes.jsonl", content))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["votes.csv", "votes.jsonl"])
def test_names_the_line_that_is_not_utf8(name: str, tmp_path: Path) -> None:
    good = f"{HEAD}\n" if name == "votes.csv" else f"{VOTE}\n"
    with pytest.raises(VoteFileError, match="line 2: not UTF-8"):
        read_votes(text(tmp_path, name, good.encode() + b"x,\xff\xfe,tie\n"))


def test_names_the_fault_of_parquet(tmp_path: Path) -> None:
    whole = write(tmp_path, "parquet", GOOD).read_bytes()
    for content in (b"", b"PAR1", b"no parquet", whole[: len(whole) // 2], whole[:4] + b"\xff" * 40 + whole[44:]):
        with pytest.raises(VoteFileError, match="not a readable Parquet file"):
            read_votes(text(tmp_path, "broken.parquet", content))
    for change, reason in (
        ({"winner": "c"}, "row 2: unknown winner 'c'"),
        ({"winner": None}, "row 2: winner is missing"),
        ({"model_b": "y"}, "row 2: a contestant battles itself"),
    ):
        with pytest.raises(VoteFileError, match=reason):
            read_votes(write(tmp_path, "parquet", [GOOD[0], {**GOOD[1], **change}]))
    with pytest.raises(VoteFileError, match=r"column model_a is list<.*>, not strings or numbers"):
        read_votes(write(tmp_path, "parquet", [{**row, "model_a": ["x"]} for row in GOOD]))
    with pytest.raises(VoteFileError, match=r"row 1: category is not a string or a list of strings"):
        read_votes(write(tmp_path, "parquet", [{**row, "category": 3} for row in GOOD]), category="math")


@pytest.mark.parametrize("column", ["model_a", "winner", "category"])
def test_refuses_parquet_whose_text_is_not_utf8(column: str, tmp_path: Path) -> None:
    columns: dict[str, Any] = {**{name: [row[name] for row in GOOD] for name in GOOD[0]}, "category": ["c", "c"]}
    columns[column] = pa.array([b"\xff", b"x"], pa.binary()).view(pa.string())
    path = tmp_path / "votes.parquet"
    pa_parquet.write_table(pa.table(columns), path)
    with pytest.raises(VoteFileError, match="not a readable Parquet file"):
        read_votes(path, category="c")


@pytest.mark.parametrize("kind", FORMATS)
def test_refuses_covariates_and_categories_that_are_not_there(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, kind, [{**row, "category": "math", "length": "long"} for row in GOOD])
    with pytest.raises(VoteFileError, match="tokens is missing"):
        read_votes(path, covariates=["tokens"])
    with pytest.raises(VoteFileError, match="length is 'long'; it must be a finite number"):
        read_votes(path, covariates=["length"])
    with pytest.raises(VoteFileError, match="no vote is in category 'law'; categories are: math"):
        read_votes(path, category="law")


def test_refuses_other_kinds_of_file(tmp_path: Path) -> None:
    with pytest.raises(VoteFileError, match=r"votes\.xlsx: unknown kind of file; give \.csv, \.jsonl or \.parquet"):
        read_votes(tmp_path / "votes.xlsx")


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(places=st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=3)), max_size=4))
def test_damaged_files_give_votes_or_a_vote_file_error(
    kind: str, tmp_path: Path, places: list[tuple[int, bytes]]
) -> None:
    path = write(tmp_path, kind, [{**row, "p_pair": "1/3", "voter": "v"} for row in GOOD])
    content = path.read_bytes()
    for place, piece in places:
        cut = place % len(content)
        content = content[:cut] + piece + content[cut + 1 :]
    path.write_bytes(content)
    votes = None
    with suppress(VoteFileError):
        votes = read_votes(path)
    assert votes is None or votes.n_votes > 0
