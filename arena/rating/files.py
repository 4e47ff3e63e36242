"""Reads files of votes: CSV, JSON lines and Parquet, in the columns of published arena data.

Columns: model_a, model_b, winner; optionally p_pair (a number or "numerator/denominator"), voter,
category (a string or a list), and any numeric covariates by name. Other columns don't matter; an
optional column without a single value counts as missing. Everything is checked; the
first fault is an error that names its line.

A file of this arena's releases has draw_index, leaf_index and status: of it the rows whose status is
`counted` are read, as on the leaderboard; and of these, those that have a value of each covariate asked for.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from arena.rating.arrays import BoolArray, FloatArray, IntArray
from arena.rating.errors import VoteError, VoteFileError
from arena.rating.verdicts import FILE_VERDICTS, verdict_code
from arena.rating.votes import VoteTable

REQUIRED = ("model_a", "model_b", "winner")
OPTIONAL = ("p_pair", "voter")
RELEASE = ("draw_index", "leaf_index", "status")  # together they tell a file of a release
STATUS = re.compile(r"(counted)|pre-release|excluded:.+")
MAX_ID_LENGTH = 1000
_FRACTION = re.compile(r"[0-9]{1,400}/[0-9]{1,400}")
_DECIMAL = re.compile(r"[+-]?[0-9.]{1,400}([eE][+-]?[0-9]{1,4})?")
_CELL_LIMIT = 2**31 - 1
_JSON_KINDS = {bool: "true or false", list: "a list", dict: "an object"}
_CSV_BLOCK = 64 << 20  # bytes; a row must fit, and rows may hold whole conversations


@dataclass(frozen=True)
class _Columns:
    """Columns of strings (null where a value is missing), and how a row is named to people."""

    path: Path
    table: Any  # pyarrow.Table of N rows
    unit: str
    line_of: Callable[[int], int]
    categories: list[list[str]] = field(default_factory=list)  # only when a category was asked for

    def fail(self, row: int, reason: str) -> VoteFileError:
        """Return the error that names the line of a row."""
        return VoteFileError(self.path, reason, self.line_of(row), self.unit)


def read_votes(path: Path, *, category: str | None = None, covariates: Sequence[str] = ()) -> VoteTable:
    """Return the votes of a .csv, .jsonl or .parquet file.

    category: keep only votes of it; contestants without a vote in it stay listed. covariates: names
    of numeric columns to read. Raise `VoteFileError` naming the line, `OSError` when the file
    cannot be opened.
    """
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise VoteFileError(path, "unknown kind of file; give .csv, .jsonl or .parquet")
    needed = (*REQUIRED, *covariates, *(["category"] if category is not None else []))
    columns = readers[path.suffix.lower()](path, needed)
    if not columns.table.num_rows:
        raise VoteFileError(path, "holds no votes; give a file with at least one")
    columns = _with_values(columns, covariates)
    votes = _to_votes(columns, covariates)
    counted = _counted(columns)
    if not counted.any():
        raise VoteFileError(path, "holds no vote that counts; none has the status counted")
    if category is None:
        return votes if counted.all() else votes.select(counted)
    rows = counted & np.array([category in names for names in columns.categories])
    if not rows.any():
        known = sorted({name for names in columns.categories for name in names})
        raise VoteFileError(path, f"no vote is in category {category!r}; categories are: {', '.join(known[:20])}")
    return votes.select(rows)


def _check_names(path: Path, names: Sequence[str], needed: Sequence[str]) -> list[str]:
    """Return the columns to read; raise naming what is missing or doubled."""
    missing = [name for name in needed if name not in names]
    if missing:
        there = ", ".join(map(repr, names[:30])) or "none"
        raise VoteFileError(path, f"column {', '.join(missing)} is missing; its columns are: {there}")
    release = ("status",) if all(name in names for name in RELEASE) else ()
    wanted = [name for name in dict.fromkeys((*needed, *OPTIONAL, *release)) if name in names]
    doubled = [name for name in wanted if names.count(name) > 1]
    if doubled:
        raise VoteFileError(path, f"column {doubled[0]} stands twice; keep one of them")
    return wanted


def _read_csv(path: Path, needed: Sequence[str]) -> _Columns:
    wanted = _check_names(path, _csv_header(path), needed)
    try:
        table = pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(block_size=_CSV_BLOCK),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowException as error:
        raise _explain_csv(path, str(error)) from None
    categories = [[name] for name in table["category"].to_pylist()] if "category" in needed else []
    return _Columns(path, table, "line", lambda row: _csv_line(path, row), categories)


def _csv_header(path: Path) -> list[str]:
    """Return the names in the first row; raise when there is none."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            names = next(csv.reader(file), [])
        except csv.Error as error:
            raise VoteFileError(path, f"not CSV: {error}", 1) from None
    if not names:
        raise VoteFileError(path, "is empty; give a file with column names and votes")
    return names


def _csv_line(path: Path, row: int) -> int:
    """Return the line on which a row of values (from 0) begins."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        csv.field_size_limit(_CELL_LIMIT)
        reader = csv.reader(file)
        next(reader)
        begin = reader.line_num + 1
        for cells in reader:
            if cells and row == 0:
                break
            row -= bool(cells)
            begin = reader.line_num + 1
    return begin


def _explain_csv(path: Path, fallback: str) -> VoteFileError:
    """Return why a CSV file cannot be read, with the line: not UTF-8, or a row of another length."""
    wrong = _find_bad_utf8(path)
    if wrong is not None:
        return wrong
    with path.open(encoding="utf-8-sig", newline="") as file:
        csv.field_size_limit(_CELL_LIMIT)
        reader = csv.reader(file)
        n = len(next(reader))
        for cells in reader:
            if cells and len(cells) != n:
                return VoteFileError(path, f"{len(cells)} values under {n} column names", reader.line_num)
    return VoteFileError(path, f"not CSV: {' '.join(fallback.split())}")


def _find_bad_utf8(path: Path) -> VoteFileError | None:
    with path.open("rb") as file:
        for line, content in enumerate(file, start=1):
            try:
                content.decode("utf-8")
            except UnicodeDecodeError as error:
                return VoteFileError(path, f"not UTF-8 (byte {error.start} of the line); convert the file first", line)
    return None


def _read_jsonl(path: Path, needed: Sequence[str]) -> _Columns:
    wrong = _find_bad_utf8(path)
    if wrong is not None:
        raise wrong
    wanted = dict.fromkeys((*needed, *OPTIONAL))
    cells: dict[str, list[str | None]] = {name: [] for name in wanted if name != "category"}
    statuses: list[str | None] = []
    categories: list[list[str]] = []
    lines: list[int] = []
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            record = _json_record(path, text, line, needed)
            lines.append(line)
            for name, values in cells.items():
                values.append(_cell(path, record.get(name), name, line))
            is_release = all(name in record for name in RELEASE)
            statuses.append(_cell(path, record["status"], "status", line) if is_release else None)
            if "category" in wanted:
                categories.append(_category_names(path, record["category"], line))
    if any(status is not None for status in statuses):
        cells["status"] = statuses
    table = pa.table({name: pa.array(values, pa.string()) for name, values in cells.items()})
    return _Columns(path, table, "line", lines.__getitem__, categories)


def _json_record(path: Path, text: str, line: int, needed: Sequence[str]) -> dict[str, Any]:
    try:
        record = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise VoteFileError(path, f"not JSON: {error}", line) from None
    if not isinstance(record, dict):
        raise VoteFileError(path, "not a JSON object; each line holds one vote as an object", line)
    missing = [name for name in needed if name not in record]
    if missing:
        raise VoteFileError(path, f"{', '.join(missing)} is missing; every vote needs {', '.join(needed)}", line)
    return record


def _cell(path: Path, value: Any, name: str, line: int) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise VoteFileError(path, f"{name} holds half a surrogate pair, which is no text", line)
        return value
    if isinstance(value, bool) and name not in (*REQUIRED, *OPTIONAL):
        return "1" if value else "0"
    raise VoteFileError(path, f"{name} is {_JSON_KINDS[type(value)]}, not a string or a number", line)


def _category_names(path: Path, value: Any, line: int, unit: str = "line") -> list[str]:
    names = value if isinstance(value, list) else [value]
    if not all(name is None or isinstance(name, str) for name in names):
        raise VoteFileError(path, "category is not a string or a list of strings", line, unit)
    return [name for name in names if name is not None]


def _read_parquet(path: Path, needed: Sequence[str]) -> _Columns:
    try:
        with path.open("rb") as file:
            parquet = pa_parquet.ParquetFile(file)
            table = parquet.read(columns=_check_names(path, parquet.schema_arrow.names, needed))
            table.validate(full=True)  # finds text that is no UTF-8
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise VoteFileError(path, f"not a readable Parquet file: {' '.join(str(error).split())}") from None
    categories = []
    if "category" in needed:
        values = enumerate(table["category"].to_pylist(), start=1)
        categories = [_category_names(path, value, row, "row") for row, value in values]
        table = table.drop_columns(["category"])
    for place, name in enumerate(table.column_names):
        try:
            column = pc.cast(table[name], pa.string())
        except pa.ArrowException:
            raise VoteFileError(path, f"column {name} is {table[name].type}, not strings or numbers") from None
        table = table.set_column(place, name, column)
    return _Columns(path, table, "row", lambda row: row + 1, categories)


def _to_votes(columns: _Columns, covariates: Sequence[str]) -> VoteTable:
    words_a, ids_a = _dictionary(columns, "model_a")
    words_b, ids_b = _dictionary(columns, "model_b")
    names = tuple(sorted({*words_a, *words_b}))
    place = {name: k for k, name in enumerate(names)}
    winners, ids_w = _dictionary(columns, "winner")
    codes = []
    for number, word in enumerate(winners):
        if word not in FILE_VERDICTS:
            known = ", ".join(FILE_VERDICTS)
            raise columns.fail(int(np.argmax(ids_w == number)), f"unknown winner {word!r}; write one of: {known}")
        codes.append(verdict_code(FILE_VERDICTS[word]))
    p_pair = _numbers(columns, "p_pair", _probability) if _has_values(columns, "p_pair") else None
    voter = _dictionary(columns, "voter")[1] if _has_values(columns, "voter") else None
    try:
        return VoteTable(
            names,
            np.array([place[word] for word in words_a], dtype=np.int32)[ids_a],
            np.array([place[word] for word in words_b], dtype=np.int32)[ids_b],
            np.array(codes, dtype=np.int8)[ids_w],
            p_pair,
            voter,
            {name: _numbers(columns, name, _finite) for name in covariates},
        )
    except VoteError as error:
        raise (
            VoteFileError(columns.path, error.reason)
            if error.row is None
            else columns.fail(error.row, f"{error.reason}; correct or remove this vote")
        ) from None


def _with_values(columns: _Columns, covariates: Sequence[str]) -> _Columns:
    """Return the rows that have a value of each covariate, in a file of a release; elsewhere all rows."""
    if not covariates or "status" not in columns.table.column_names:
        return columns
    has = np.ones(columns.table.num_rows, dtype=np.bool_)
    for name in covariates:
        has &= pc.fill_null(pc.not_equal(columns.table[name], ""), False).to_numpy()
    if not has.any():
        raise VoteFileError(columns.path, f"no vote has a value of {', '.join(covariates)}; leave covariates out")
    rows = np.flatnonzero(has).tolist()
    categories = [columns.categories[row] for row in rows] if columns.categories else []
    return _Columns(
        columns.path, columns.table.take(rows), columns.unit, lambda row: columns.line_of(rows[row]), categories
    )


def _counted(columns: _Columns) -> BoolArray:
    """Return which rows count: all, but in a file of a release those whose status says so."""
    if "status" not in columns.table.column_names:
        return np.ones(columns.table.num_rows, dtype=np.bool_)
    words, ids = _dictionary(columns, "status")
    found = [STATUS.fullmatch(word) for word in words]
    for number, match in enumerate(found):
        if match is None:
            row = int(np.argmax(ids == number))
            raise columns.fail(
                row, f"unknown status {words[number][:60]!r}; write counted, pre-release or excluded:rule"
            )
    return np.array([match is not None and match[1] is not None for match in found], dtype=np.bool_)[ids]


def _has_values(columns: _Columns, name: str) -> bool:
    """Tell whether a column is there and any row of it is neither null nor empty."""
    if name not in columns.table.column_names:
        return False
    return bool(pc.any(pc.not_equal(columns.table[name], "")).as_py())


def _dictionary(columns: _Columns, name: str) -> tuple[list[str], IntArray]:
    """Return the distinct values of a column and each row's place among them; none may be missing or empty."""
    encoded = columns.table[name].combine_chunks().dictionary_encode()
    if encoded.null_count:
        row = int(np.argmax(encoded.is_null().to_numpy(zero_copy_only=False)))
        raise columns.fail(row, f"{name} is missing; fill it in or remove the vote")
    words: list[str] = encoded.dictionary.to_pylist()
    ids: IntArray = encoded.indices.to_numpy(zero_copy_only=False)
    for number, word in enumerate(words):
        if not word or len(word) > MAX_ID_LENGTH:
            reason = f"is longer than {MAX_ID_LENGTH} characters" if word else "is empty"
            raise columns.fail(int(np.argmax(ids == number)), f"{name} {reason}")
    return words, ids


def _numbers(columns: _Columns, name: str, parse: Callable[[str], float]) -> FloatArray:
    """Return a column of numbers; distinct texts are parsed once."""
    words, ids = _dictionary(columns, name)
    values = np.empty(len(words))
    for number, word in enumerate(words):
        try:
            values[number] = parse(word)
        except (ValueError, ZeroDivisionError, OverflowError) as error:
            raise columns.fail(int(np.argmax(ids == number)), f"{name} is {word[:60]!r}; {error}") from None
    return np.asarray(values[ids])


def _probability(text: str) -> float:
    value = float("nan")
    if _FRACTION.fullmatch(text) and not re.fullmatch(r"0+", text.partition("/")[2]):
        value = float(Fraction(text))
    elif _DECIMAL.fullmatch(text):
        value = _float(text)
    if not 0 < value <= 1:
        raise ValueError("it must be a number above 0 and up to 1, or such a fraction as 3/190")
    return value


def _finite(text: str) -> float:
    value = _float(text) if _DECIMAL.fullmatch(text) else float("nan")
    if not np.isfinite(value):
        raise ValueError("it must be a finite number")
    return value


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
