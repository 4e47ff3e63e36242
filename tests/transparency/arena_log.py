"""A small arena's log, written with the arena's own sampling and rating, but without its tables."""

from __future__ import annotations

import hashlib
import random
import uuid
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import rfc8785
from django.db import transaction

from arena.rating import RatingOptions, VoteTable, rate
from arena.sampling import PairTally, WeightTable, commit_seed, draw_pair, pair_weights
from webapp.transparency.models import Entry
from webapp.transparency.services import append_entry, sequence_entries

SEASON = "s1"
VERDICTS = ("a", "b", "tie", "both_bad")
OVERLAP = {"min_length_tokens": 8}
INDEX = "6" * 64


@dataclass
class ArenaLog:
    """Appends leaves in the arena's order and keeps what it needs to compute the next."""

    random: random.Random
    chance: random.Random = field(default_factory=lambda: random.Random(0))  # of overlaps, apart from the rest
    policy: int = 0
    epoch: int = -1
    table: WeightTable | None = None
    seed: bytes = b""
    n_draws: int = 0
    roster: list[str] = field(default_factory=list)
    votes: list[dict[str, Any]] = field(default_factory=list)  # of closed battles, with their entries
    excluded: set[str] = field(default_factory=set)
    private: dict[str, Entry | None] = field(default_factory=dict)  # launch entry by contestant
    simulated: bool = True
    released: int = 0  # tree size of the last release

    def append(self, kind: str, **body: Any) -> Entry:
        with transaction.atomic():
            return append_entry(kind=kind, body={"season": SEASON, **body})

    def new_id(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def size(self) -> int:
        sequence_entries()
        return Entry.objects.filter(index__isnull=False).count()

    def publish_policy(self, **changes: Any) -> None:
        self.policy += 1
        body = {
            "version": self.policy,
            "simulated": self.simulated,
            "sampling": {"format": "fairground-weights-1", "epsilon": "1/10", "prior": 1},
            "rating": {"min_votes": 3, "level": "0.95"},
            "exclusion_rules": ["always-left"],
            "roster_rules": ["provider", "variant-term"],
            "variant_cap": 1,
            "variant_days": 30,
            "edit_window_s": 60,
            "document": "0" * 64,
            "overlap": OVERLAP,
        }
        self.append("policy", **{**body, **changes})

    def register(self, provider: str, visibility: str = "public") -> str:
        name, artifact = self.new_id(), {"weights": self.new_id()}
        self.append(
            "contestant",
            contestant=name,
            provider=provider,
            licence_group="open-weight",
            visibility=visibility,
            artifact=artifact,
            artifact_digest=hashlib.sha256(rfc8785.dumps(artifact)).hexdigest(),
        )
        self.roster = sorted([*self.roster, name])
        if visibility == "private":
            self.private[name] = None
        return name

    def change(self, contestant: str, change: str, **more: Any) -> None:
        entry = self.append(
            "roster_change",
            contestant=contestant,
            change=change,
            policy=self.policy,
            rule="provider",
            numbers={},
            **more,
        )
        if change == "launched":
            self.private[contestant] = entry
        if change in ("withdrawn", "retired"):
            self.roster.remove(contestant)

    def counted(self) -> list[dict[str, Any]]:
        return [v for v in self.votes if v["voter"] not in self.excluded]

    def begin_epoch(self) -> None:
        size = self.size()
        tallies: dict[tuple[str, str], PairTally] = {}
        for vote in self.counted():
            pair = (min(vote["a"], vote["b"]), max(vote["a"], vote["b"]))
            old = tallies.get(pair, PairTally())
            won = {"a": vote["a"], "b": vote["b"]}.get(vote["verdict"])
            tallies[pair] = PairTally(
                old.n_first + (won == pair[0]), old.n_second + (won == pair[1]), old.n_ties + (won is None)
            )
        self.table = pair_weights(self.roster, tallies, epsilon=Fraction(1, 10), prior=1)
        self.seed, self.epoch, self.n_draws = self.random.randbytes(32), self.epoch + 1, 0
        self.append(
            "epoch",
            epoch=self.epoch,
            policy=self.policy,
            seed_commitment=commit_seed(self.seed),
            roster=self.roster,
            tree_size=size,
            n_votes=len(self.counted()),
            weights_digest=self.table.digest(),
        )

    def battle(self, voter: str, verdict: str | None, *, edits: int = 0, outcome: str = "skip") -> None:
        assert self.table is not None
        nonce = self.random.randbytes(16)
        key = {"epoch": self.epoch, "draw_index": self.n_draws, "battle": self.new_id()}
        draw = draw_pair(self.table, seed=self.seed, draw_index=self.n_draws, nonce=nonce)
        self.n_draws += 1
        drawn = self.append("draw", **key, nonce=nonce.hex(), prompt="1" * 64, voter=voter)
        close: dict[str, Any] = {
            **key,
            "outcome": outcome if verdict is None else "vote",
            "side_a": draw.side_a,
            "side_b": draw.side_b,
            "swap": draw.swap,
            "probability": f"{draw.probability.numerator}/{draw.probability.denominator}",
            "slices": {"category": self.random.choice(["code", "prose"])},
            "features": {side: {"characters": self.random.randrange(50, 900)} for side in ("a", "b")},
        }
        cast: Entry | None = None
        for edit in range(edits + 1 if verdict else 0):
            chosen = verdict if edit == edits else self.random.choice(VERDICTS)
            more = {"supersedes": str(cast.id)} if cast else {}
            cast = self.append("vote", **key, verdict=chosen, voter=voter, **more)
        if cast is not None:
            close["vote"] = str(cast.id)
        entry = self.append("close", **close)
        if cast is not None:
            sides = {"a": draw.side_a, "b": draw.side_b}
            vote = {**sides, "draw": drawn, "close": entry, "verdict": verdict, "voter": voter, **close}
            self.votes.append({**vote, "shares": self.measure(vote)})

    def measure(self, vote: dict[str, Any]) -> tuple[float, float] | None:
        """Append the overlap of a closed vote, most often measured; return the shares. None of a private variant."""
        if not all(self._is_public(vote[side], vote["draw"]) for side in ("a", "b")):
            return None
        body: dict[str, Any] = {
            "battle": vote["battle"],
            "settings": hashlib.sha256(rfc8785.dumps(OVERLAP)).hexdigest(),
        }
        chance = self.chance.random()
        if chance < 0.1:
            return None
        if chance < 0.2:
            self.append("overlap", **body, outcome="unmeasured", reason="erased")
            return None
        sizes = [vote["features"][side]["characters"] for side in ("a", "b")]
        covered = [self.chance.randrange(size + 1) for size in sizes]
        both = [{"covered": c, "characters": n} for c, n in zip(covered, sizes, strict=True)]
        searched = [] if self.simulated else [{"corpus": "wiki", "index": INDEX}]
        self.append("overlap", **body, outcome="measured", a=both[0], b=both[1], indexes=searched)
        return covered[0] / sizes[0], covered[1] / sizes[1]

    def reveal(self) -> None:
        self.append("reveal", epoch=self.epoch, seed=self.seed.hex(), n_draws=self.n_draws)

    def exclude(self, voter: str) -> str:
        exclusion = self.new_id()
        body = {"exclusion": exclusion, "policy": self.policy, "rule": "always-left", "numbers": {"e": "1000.0"}}
        self.append("exclude", **body, subject="voter", target=voter)
        self.excluded.add(voter)
        return exclusion

    def include(self, exclusion: str, voter: str) -> None:
        self.append("include", exclusion=exclusion, policy=self.policy, rule="always-left", numbers={})
        self.excluded.remove(voter)

    def publish_board(
        self,
        *,
        category: str = "",
        both_bad: bool = True,
        include_excluded: bool = False,
        pre_release: tuple[str, ...] = (),
        covariates: tuple[str, ...] = (),
    ) -> str:
        size = self.size()
        votes = [
            v
            for v in (self.votes if include_excluded else self.counted())
            if (not category or v["slices"]["category"] == category)
            and (both_bad or v["verdict"] != "both_bad")
            and all(side in pre_release or self._is_public(side, v["draw"]) for side in (v["a"], v["b"]))
        ]
        measured = [v for v in votes if v["shares"]]
        n_without = len(votes) - len(measured)
        votes = measured if "overlap" in covariates else votes
        lines, columns = [], {name: [self._difference(v, name) for v in votes] for name in covariates}
        for v in votes:
            v["close"].refresh_from_db()
            row = [v["close"].index, v["side_a"], v["side_b"], v["verdict"], v["probability"], v["voter"]]
            lines.append(rfc8785.dumps(row) + b"\n")
        registered = Entry.objects.filter(kind="contestant", index__lt=size)
        names = [e.body["contestant"] for e in registered]
        listed = [n for n in names if n not in self.private or self.private[n] or n in pre_release]
        result = rate(
            VoteTable.from_columns(
                [v["side_a"] for v in votes],
                [v["side_b"] for v in votes],
                [v["verdict"] for v in votes],
                p_pair=[Fraction(v["probability"]) for v in votes],
                voter=[v["voter"] for v in votes],
                covariates=columns or None,
                contestants=listed,
            ),
            RatingOptions(min_votes=3, covariates=covariates),
        )
        board = self.new_id()
        digits = ("rating", "lower", "upper")
        self.append(
            "board",
            board=board,
            tree_size=size,
            policy=self.policy,
            slice={"category": category} if category else {},
            both_bad=both_bad,
            include_excluded=include_excluded,
            pre_release=list(pre_release),
            method={"level": "0.95", "min_votes": 3, "covariates": list(covariates)},
            input_digest=hashlib.sha256(b"".join(lines)).hexdigest(),
            n_votes=len(votes),
            ratings=[
                {**vars(r), **{d: f"{getattr(r, d):.2f}" for d in digits}, **self._overlap(measured, r.contestant)}
                for r in result.ratings
            ],
            n_without_overlap=n_without,
            unrankable=[
                {
                    "contestant": u.contestant,
                    "reason": {"no v": "no-votes", "not ": "not-connected"}.get(u.reason[:4], "few-votes"),
                }
                for u in result.unrankable
            ],
        )
        return board

    def release(self, *, replaces: Entry | None = None) -> Entry:
        """Release as the arena does: the newest tenth withheld, unless the votes are simulated."""
        if replaces is not None:
            body = {k: v for k, v in replaces.body.items() if k != "season"}
            again = {**body, "files": dict.fromkeys(body["files"], "e" * 64), "replaces": str(replaces.id)}
            return self.append("release", **again)
        size = self.size()
        for vote in self.votes:
            vote["close"].refresh_from_db()
        counts = {"release": self.new_id(), "votes_size": size, "n_votes": len(self.votes), "n_withheld": 0}
        if not self.simulated:
            n = len(self.votes)
            first = n - n // 10
            begun = max(self.votes[first]["close"].index if first < n else size, self.released)
            told = sum(v["close"].index < begun for v in self.votes)
            counts |= {"votes_size": begun, "n_votes": told, "n_withheld": n - told}
        self.released = size
        return self.append("release", tree_size=size, files={"votes.jsonl": "d" * 64}, **counts)

    def _is_public(self, contestant: str, draw: Entry) -> bool:
        launch = self.private.get(contestant)
        return contestant not in self.private or (launch is not None and launch.serial < draw.serial)

    @staticmethod
    def _overlap(measured: list[dict[str, Any]], contestant: str) -> dict[str, Any]:
        sides = [(v[side], v["shares"][k]) for v in measured for k, side in enumerate(("a", "b"))]
        own = [share for name, share in sides if name == contestant]
        return {"n_overlap": len(own), **({"overlap": f"{sum(own) / len(own):.4f}"} if own else {})}

    @staticmethod
    def _difference(vote: dict[str, Any], name: str) -> float:
        if name == "overlap":
            return float(vote["shares"][0] - vote["shares"][1])
        a, b = vote["features"]["a"][name], vote["features"]["b"][name]
        return float((a - b) / (a + b))


def write_arena_log(seed: int = 0, *, n_battles: int = 60, simulated: bool = True) -> ArenaLog:
    """Write a season with variants, exclusions, edits, slices, releases, two epochs and an open one."""
    log = ArenaLog(random.Random(seed), simulated=simulated)
    write_corpus_log()
    log.publish_policy()
    for provider in ("p1", "p1", "p2"):
        log.register(provider)
    variant = log.register("p2", "private")
    voters = [hashlib.sha256(bytes([v])).hexdigest() for v in range(6)]

    def fight() -> None:
        for k in range(n_battles):
            voter = log.random.choice(voters)
            if k % 9 == 8:
                log.battle(voter, None, outcome=log.random.choice(["skip", "abandoned", "error"]))
            else:
                log.battle(voter, log.random.choice(VERDICTS), edits=k % 7 == 3)

    log.begin_epoch()
    fight()
    log.reveal()
    exclusion = log.exclude(voters[0])
    log.publish_board()
    board = log.publish_board(pre_release=(variant,))
    log.change(variant, "launched", board=board)
    first = log.release()
    log.publish_policy(variant_cap=2)
    log.change(log.roster[0], "paused")
    log.change(log.roster[0], "resumed")
    log.begin_epoch()
    fight()
    log.reveal()
    log.publish_board(include_excluded=True)
    log.include(exclusion, voters[0])
    log.publish_board(both_bad=False)
    log.publish_board(category="code")
    log.publish_board(covariates=("characters",))
    log.publish_board(covariates=("overlap", "characters"))
    log.release()
    log.size()
    first.refresh_from_db()
    log.release(replaces=first)
    log.begin_epoch()
    log.battle(voters[1], "a")
    log.size()
    return log


def write_corpus_log() -> None:
    """Append an entry of every kind that is not the arena's."""
    tokens = {"tokenizer_digest": "3" * 64, "n_documents": 2, "n_tokens": 9, "n_shards": 1}
    owner = {"owner": "An owner", "expert": "web", "exact": True, "checkpoint": "m", "checkpoint_digest": "4" * 64}
    bodies: list[tuple[str, dict[str, Any]]] = [
        (
            "corpus",
            {
                "corpus": "wiki", "owner": "An owner", "licence": "CC0-1.0", "disclosure": "full", "n_documents": 2,
                "digest": "5" * 64, "title": "A wiki",
            },
        ),
        ("index", {"corpus": "wiki", "index": INDEX, "change": "registered", **tokens}),
        ("takedown", {"corpus": "wiki", "takedown": str(uuid.UUID(int=7)), "document": "7" * 64, "reason": "8" * 64}),
        ("opt_out", {**owner, "change": "out", "reason": "9" * 64}),
        ("opt_out", {**owner, "change": "in"}),
    ]  # fmt: skip
    for kind, body in bodies:
        with transaction.atomic():
            append_entry(kind=kind, body=body)
