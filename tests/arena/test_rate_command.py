"""`manage.py rate`: ratings alone on standard output; faults are one line that says what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

VOTES = """model_a,model_b,winner,category,voter,p_pair,length
x,y,model_a,math,v1,1/3,2
y,x,model_a,math,v2,1/3,-1
x,y,tie (bothbad),law,v3,1/3,0
x,y,model_a,law,v1,1/3,1
x,z,model_a,law,v2,1/6,1
"""


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    path = tmp_path / "votes.csv"
    path.write_text(VOTES, encoding="utf-8")
    return path


def run(*arguments: object) -> str:
    """Return what the command writes to standard output."""
    out = StringIO()
    call_command("rate", *map(str, arguments), stdout=out)
    return out.getvalue()


def rated(*arguments: object) -> dict[str, Any]:
    """Return the command's JSON."""
    answer: dict[str, Any] = json.loads(run(*arguments, "--format", "json"))
    return answer


def test_prints_ratings_alone_when_run_as_a_program(votes: Path) -> None:
    manage = Path(settings.BASE_DIR) / "manage.py"
    command = [sys.executable, str(manage), "rate", "--votes", str(votes), "--format", "json"]
    done = subprocess.run(command, capture_output=True, check=True, cwd=votes.parent)
    answer = json.loads(done.stdout)
    assert list(answer) == ["ratings", "unrankable", "method"]
    assert [row["contestant"] for row in answer["ratings"]] == ["x", "y"]
    assert list(answer["ratings"][0]) == [
        "contestant",
        "rating",
        "lower",
        "upper",
        "n_votes",
        "rank_low",
        "rank_high",
    ]
    assert done.stderr == b""


def test_lists_who_cannot_be_ranked_with_the_reason(votes: Path) -> None:
    assert rated("--votes", votes)["unrankable"] == [
        {
            "contestant": "z",
            "reason": "not connected: has not both scored and lost points, "
            "directly or through others, against the ranked",
        }
    ]
    answer = rated("--votes", votes, "--min-votes", 10)
    assert answer["ratings"] == []
    assert {row["contestant"]: row["reason"] for row in answer["unrankable"]}["x"] == "5 votes; at least 10 are needed"


def test_tells_the_method(votes: Path) -> None:
    method = rated("--votes", votes)["method"]
    assert (method["estimator"], method["clusters"], method["both_bad"]) == ("inverse-propensity", "voter", "half")
    assert (method["n_votes"], method["n_voters"], method["category"]) == (5, 3, None)


def test_rates_a_category(votes: Path) -> None:
    answer = rated("--votes", votes, "--category", "math")
    assert [row["n_votes"] for row in answer["ratings"]] == [2, 2]
    assert answer["unrankable"] == [{"contestant": "z", "reason": "no votes"}]
    assert answer["method"]["category"] == "math"


def test_follows_its_options(votes: Path) -> None:
    options = ["--both-bad", "leave_out", "--weighting", "equal", "--anchor", "y", "--flips", "--level", "0.9"]
    answer = rated("--votes", votes, *options)
    # x won 2 of 3: odds of 2 to 1; one more for y would be even, two reverse it
    assert [(row["contestant"], row["rating"]) for row in answer["ratings"]] == [("x", 1120.41), ("y", 1000.0)]
    assert answer["method"]["neighbours"] == [{"upper": "x", "lower": "y", "votes_to_flip": 2}]
    assert (answer["method"]["level"], answer["method"]["both_bad"]) == (0.9, "leave_out")


def test_controls_for_covariates(votes: Path) -> None:
    more = "".join(f"{'xy'[k % 2]},{'yx'[k % 2]},model_{'aab'[k % 3]},math,v{k % 5},1/3,{k % 7}\n" for k in range(40))
    votes.write_text(VOTES + more, encoding="utf-8")
    method = rated("--votes", votes, "--covariates", "length", "--position")["method"]
    assert [effect["name"] for effect in method["covariate_effects"]] == ["length", "position"]


def test_bootstraps_the_same_when_the_seed_is_the_same(votes: Path) -> None:
    options = ["--votes", votes, "--interval", "bootstrap", "--rounds", "200"]
    assert run(*options, "--seed", 1) == run(*options, "--seed", 1) != run(*options, "--seed", 2)


def test_prints_a_table_when_json_is_not_asked_for(votes: Path) -> None:
    text = run("--votes", votes, "--flips")
    assert "contestant" in text
    assert "not ranked:\n  z: not connected" in text
    assert "5 votes; Bradley–Terry, inverse-propensity; 95 % intervals, sandwich, by voter; both bad: half" in text


def test_says_that_nobody_can_be_ranked(votes: Path) -> None:
    votes.write_text("model_a,model_b,winner\nx,y,model_a\n", encoding="utf-8")
    assert run("--votes", votes).startswith("nobody can be ranked")
    answer = rated("--votes", votes)
    assert answer["ratings"] == []
    assert [row["contestant"] for row in answer["unrankable"]] == ["x", "y"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--level", "1"], "level: 1.0 is not from 0.5 to below 1"),
        (["--level", "nan"], "level: nan is not"),
        (["--min-votes", "0"], "min_votes: 0 is below 1"),
        (["--rounds", "1"], "n_rounds: 1 is not from 100 to 100000"),
        (["--seed", "-1"], "seed: -1 is below 0"),
        (["--anchor", "z"], "anchor: 'z' is not among the ranked contestants"),
        (["--category", "art"], "votes.csv: no vote is in category 'art'; categories are: law, math"),
        (["--covariates", "tokens"], "votes.csv: column tokens is missing"),
        (["--covariates", "length,length"], "covariates: a name stands twice"),
        (["--covariates", "length", "--interval", "bootstrap"], "interval: the bootstrap knows no covariates"),
        (["--both-bad", "zero"], "invalid choice: 'zero'"),
        (["--weighting", "none"], "invalid choice: 'none'"),
        (["--format", "xml"], "invalid choice: 'xml'"),
    ],
)
def test_refuses_options_out_of_bounds(votes: Path, options: list[str], reason: str) -> None:
    with pytest.raises(CommandError) as caught:
        run("--votes", votes, *options)
    assert reason in str(caught.value)


def test_refuses_unknown_verdicts_instead_of_counting_them_as_ties(votes: Path) -> None:
    votes.write_text(VOTES.replace("x,y,tie (bothbad)", "x,y,bothbad"), encoding="utf-8")
    with pytest.raises(CommandError, match=r"votes\.csv, line 4: unknown winner 'bothbad'; write one of"):
        run("--votes", votes)


def test_refuses_weights_that_the_file_does_not_carry(votes: Path) -> None:
    votes.write_text("model_a,model_b,winner\nx,y,tie\n", encoding="utf-8")
    with pytest.raises(CommandError, match="weighting: inverse propensity needs the votes' p_pair"):
        run("--votes", votes, "--weighting", "inverse_propensity")


def test_refuses_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"none\.csv: No such file or directory; give a readable file"):
        run("--votes", tmp_path / "none.csv")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(CommandError, match=r"folder\.jsonl: Is a directory; give a readable file"):
        run("--votes", tmp_path / "folder.jsonl")


def test_wants_a_file() -> None:
    with pytest.raises(CommandError, match="--votes"):
        run()


RELEASED = """{"model_a":"x","model_b":"y","winner":"model_a","status":"counted","draw_index":0,"leaf_index":1}
{"model_a":"y","model_b":"x","winner":"model_a","status":"counted","draw_index":1,"leaf_index":2}
{"model_a":"x","model_b":"y","winner":"model_a","status":"excluded:random","draw_index":2,"leaf_index":3}
{"model_a":"x","model_b":"y","winner":"model_a","status":"pre-release","draw_index":3,"leaf_index":4}
"""


def test_rates_of_a_release_what_counts(tmp_path: Path) -> None:
    path = tmp_path / "released.jsonl"
    path.write_text(RELEASED, encoding="utf-8")
    assert [row["n_votes"] for row in rated("--votes", path)["ratings"]] == [2, 2]
    path.write_text(RELEASED.replace("leaf_index", "line"), encoding="utf-8")
    assert rated("--votes", path)["method"]["n_votes"] == 4, "the status of other files means something else"
    path.write_text(RELEASED.replace("counted", "pre-release"), encoding="utf-8")
    with pytest.raises(CommandError, match="holds no vote that counts"):
        run("--votes", path)
    path.write_text(RELEASED.replace("excluded:random", "set aside"), encoding="utf-8")
    with pytest.raises(CommandError, match=r"line 3: unknown status 'set aside'"):
        run("--votes", path)
