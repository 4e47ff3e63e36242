"""A release's data card (Croissant 1.0, JSON-LD) and its README. Knows nothing of the database.

Croissant: Akhtar et al. 2024, https://docs.mlcommons.org/croissant/docs/croissant-spec-1.0.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arena.releases.schemas import Columns, Schema
from arena.releases.tables import FOR_JUDGES, TABLES

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataBiases": "cr:dataBiases",
    "dataCollection": "cr:dataCollection",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "personalSensitiveInformation": "cr:personalSensitiveInformation",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
DATA_TYPES = {"string": "sc:Text", "int": "sc:Integer", "float": "sc:Float", "bool": "sc:Boolean"}
FORMATS = {
    "jsonl": "application/jsonlines",
    "parquet": "application/x-parquet",
    "json": "application/json",
    "md": "text/markdown",
}
CONTESTANT_COLUMNS: Columns = {
    **dict.fromkeys(
        (
            "contestant",
            "model",
            "title",
            "provider",
            "licence_group",
            "licence",
            "visibility",
            "state",
            "digest",
            "checkpoint_digest",
        ),
        "string",
    ),
    "experts": ["string"],
    "max_tokens": "int",
    "temperature": "string",
    "top_p": "string",
    "system_prompt": "string",
}


@dataclass(frozen=True)
class Facts:
    """What the card and the README say of a release. level, min_votes: of its leaderboard."""

    id: str
    season: str
    title: str
    is_simulated: bool
    tree_size: int
    votes_size: int
    n_votes: int
    n_withheld: int
    date: str
    licence: str
    level: str
    min_votes: int
    log_key: str

    @property
    def name(self) -> str:
        """Return a name for the data set."""
        return f"fairground-{self.season}-{self.tree_size}"


def croissant_card(facts: Facts, files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the card as JSON-LD. files: all released files but the card."""
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "@id": facts.name,
        "conformsTo": CONFORMS_TO,
        "name": facts.name,
        "description": _description(facts),
        "license": facts.licence,
        "url": f"urn:uuid:{facts.id}",
        "version": f"{facts.tree_size}.0.0",
        "datePublished": facts.date,
        "creator": {"@type": "sc:Organization", "name": facts.title},
        "citeAs": f"{facts.title}: votes at {facts.tree_size} entries of the log, release {facts.id}.",
        "isLiveDataset": False,
        "keywords": ["human preference", "arena", *(["simulated"] if facts.is_simulated else [])],
        "dataCollection": "Blind pairwise votes; pairs are drawn at random with the recorded probability p_pair.",
        "personalSensitiveInformation": "Prompts are by people and may name others. Voters are salted digests.",
        "distribution": [_file_object(file) for file in files],
        "recordSet": [*map(_record_set, TABLES), _columns_set("contestants", CONTESTANT_COLUMNS, "All contestants.")],
    }


def _description(facts: Facts) -> str:
    made = "Simulated votes, made by a program; nobody judged anything." if facts.is_simulated else "Votes by people."
    return (
        f"{made} {facts.n_votes} votes of the season {facts.title}, at {facts.tree_size} entries of its public log; "
        f"the verdicts of the newest {facts.n_withheld} are withheld until the next release."
    )


def _file_object(file: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file["name"],
        "name": file["name"],
        "contentUrl": file["name"],
        "contentSize": f"{file['n_bytes']} B",
        "encodingFormat": FORMATS[str(file["name"]).rpartition(".")[2]],
        "sha256": file["sha256"],
    }


def _record_set(schema: Schema) -> dict[str, Any]:
    about = f"In the columns of {schema.follows}." if schema.follows else "Battles for judges, without verdicts."
    return _columns_set(schema.name, schema.all_columns, about)


def _columns_set(name: str, columns: Columns, description: str) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": description,
        "field": [_field(name, column, declared, f"{name}.parquet") for column, declared in columns.items()],
    }


def _field(parent: str, column: str, declared: Any, file: str) -> dict[str, Any]:
    field: dict[str, Any] = {"@type": "cr:Field", "@id": f"{parent}/{column}"}
    if isinstance(declared, list):
        field["repeated"], declared = True, declared[0]
    if isinstance(declared, dict):
        field["subField"] = list(_leaves(f"{parent}/{column}", declared, file, column, ""))
    else:
        field["dataType"] = DATA_TYPES[declared]
        field["source"] = {"fileObject": {"@id": file}, "extract": {"column": column}}
    return field


def _leaves(parent: str, columns: Columns, file: str, column: str, path: str) -> Iterator[dict[str, Any]]:
    """Yield the leaves of nested columns as sub-fields, each with its path within the column."""
    for name, declared in columns.items():
        step = name if name.isidentifier() else f'"{name}"'
        where = f"{path}.{step}" if path else step
        inner = declared[0] if isinstance(declared, list) else declared
        if isinstance(inner, dict):
            below = f"{where}[*]" if isinstance(declared, list) else where
            yield from _leaves(f"{parent}/{name}", inner, file, column, below)
        else:
            yield {
                "@type": "cr:Field",
                "@id": f"{parent}/{name}",
                "dataType": DATA_TYPES[inner],
                **({"repeated": True} if isinstance(declared, list) else {}),
                "source": {
                    "fileObject": {"@id": file},
                    "extract": {"column": column},
                    "transform": {"jsonPath": where},
                },
            }


def readme(facts: Facts, files: Sequence[Mapping[str, Any]]) -> str:
    """Return the README, with the front matter that dataset hubs read."""
    rows = {str(file["name"]): file["n_rows"] for file in files}
    configs = "\n".join(f"- config_name: {s.name}\n  data_files: {s.name}.parquet" for s in TABLES)
    tables = "\n".join(
        f"| `{s.name}` | {rows.get(f'{s.name}.parquet') or 0} | {s.follows or 'battles for judges, no verdicts'} |"
        for s in TABLES
    )
    simulated = (
        "\n**Simulated votes.** A program made every vote of this season. No person judged anything.\n"
        if facts.is_simulated
        else ""
    )
    controlled = CONTROLLED.format(**vars(facts)) if "leaderboard-overlap.json" in rows else ""
    return README.format(
        configs=configs, tables=tables, simulated=simulated, judges=FOR_JUDGES.name, description=_description(facts),
        controlled=controlled, **vars(facts),
    )  # fmt: skip


CONTROLLED = """
With `--covariates overlap` besides, it gives those of `leaderboard-overlap.json`, the leaderboard controlled for verbatim overlap; rows without a value of `overlap` are left out then.
"""  # noqa: E501


README = """---
license: other
license_link: {licence}
configs:
{configs}
---
# {title}: release at {tree_size} entries of the log
{simulated}
{description} Everybody got these files at the same moment, operators included; their SHA-256 stand in the log as a `release` entry (release `{id}`).

Each table is there as JSON lines and as Parquet, with the same rows.

| table | rows | columns as in |
|---|---|---|
{tables}
| `contestants` | | everybody who ever battled in the season |

## What every row of a vote has besides

| column | meaning |
|---|---|
| `epoch`, `draw_index` | which draw it was; indices have no gaps |
| `p_pair` | exact chance of the pair, as a fraction |
| `side_swap` | whether the pair's first contestant (in sort order of ids) sat on side b |
| `roster_hash`, `policy_hash` | SHA-256 of the epoch's roster and of the rules' text |
| `status` | `counted`; `excluded:` and the rules that set it aside; `pre-release`: a private variant took part, so it never counts |
| `leaf_index` | the close entry in the log |
| `contestant_a`, `contestant_b` | ids as in the log; `model_a`, `model_b` are readable names, `private:` and the id for a variant under test |
| `verdict`, `voter` | as in the log; a voter is a digest, the same within a season |
| `prompt_sha256`, `prompt_salt` | one a turn; SHA-256 of the salt's 32 bytes and the prompt in UTF-8. The first stands in the draw entry |
| `answer_sha256_a`, `answer_sha256_b`, `answer_salt` | the same of a side's answers, joined by two line feeds; in the close entry |
| `overlap_covered_a`, `overlap_characters_a` and of b | of the side's answers, the characters that stand word for word in the site's corpora, and all; null where not measured |
| `overlap_leaf_index`, `overlap` | the entry in the log that says so; side a's share minus side b's |

A text that was erased, or that a private variant under test wrote, is replaced by `sha256:` and its hash, and its salt is null. What this arena does not ask (citations, an annotator's degree, qualities by side, comments) is null or empty. In `multipref` a strength of 1 or 2 of 5 reads as slightly, everything else as clearly; `overall_strength` has the number.

## Recompute the leaderboard

    python manage.py rate --votes arena-human-preference-140k.parquet --min-votes {min_votes} --level {level} --format json

gives the ratings of `leaderboard.json`, which is the leaderboard at tree size {votes_size}. Rows whose status is not `counted` are left out by that command.
{controlled}
## What is withheld

The newest tenth of the votes, {n_withheld} here, stands in `{judges}` without verdicts and names, for automatic judges; the next release tells them. The public log has every verdict from its close on, since a leaderboard that cannot be recomputed is worth nothing: so whoever wants to can look, and withholding only keeps verdicts out of the files that people train and prompt with.

## Check it

The log's export and its verifier come from the same site; its key is `{log_key}`. `python verify.py EXPORT --release FOLDER` compares every file and every row with the log.
"""  # noqa: E501
