#!/usr/bin/env python3
"""Check an export of Fairground's log offline: `python verify.py EXPORT`.

One file that needs Python 3.11 and `cryptography`, nothing of the site: copy it anywhere, read it,
run it. It shares no code with what it checks. Format of leaves: docs/log-format.md; of draws:
docs/arena-sampling.md; of ratings: docs/arena-rating.md.

What it checks
    files        every record is canonical JSON, indices have no gaps, every leaf has its hash
    tree         every checkpoint is signed, has the root of its leaves, and extends the one before
    policies     versions have no gaps; rules cited were in force
    contestants  artifacts have their digests, variants stay within the cap, all are published
    draws        every index closed exactly once; seeds open their commitments; each pair, swap and
                 probability recomputes; weight tables recompute from the votes logged before them
    votes        one per battle, superseded only in time and before the pair was shown
    overlaps     one per battle, after its close, with the published settings, in registered indexes
    exclusions   every one cites a rule in force
    leaderboards every rating, bound, rank and share of overlap recomputes to the last published digit
    releases     each covers what it must; with --release FOLDER, every file has its digest, every row
                 says what the log says, and every text opens its hash

What it cannot check: that voters are distinct people, that a remote provider served the model it
names, that the clock was right, or that nobody was shown another log. For the last, keep a
checkpoint and give it with --checkpoint, and compare the key with --key.

Exit status: 0 nothing wrong, 1 something is wrong (the first wrong leaf is named first), 2 the
export cannot be read.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import math
import sys
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate, combinations
from operator import mul
from pathlib import Path
from statistics import NormalDist
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT = "fairground-log-1"
FILES = ("leaves.jsonl", "checkpoints.jsonl")
MALFORMED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)  # in what was read
MAX_SHOWN = 20
VARIANT_GRACE = timedelta(days=1)
OPT_OUT_GRACE = timedelta(hours=1)  # until a contestant that needs a withdrawn expert has left the roster
EDIT_GRACE = timedelta(seconds=1)  # between the host's check of the window and the leaf's time


WITHHELD_SHARE = 10
TABLES = ("arena-human-preference-140k", "comparia-votes", "multipref", "sciarena")  # of a release
NOISE = 1e-9  # strengths that differ by less are equal
OVERLAP = "overlap"  # the covariate that `overlap` leaves give


# --- findings ---------------------------------------------------------------------------------------


class Unreadable(Exception):
    """The export cannot be read at all."""


class Wrong(Exception):
    """One thing that is wrong, at a leaf or elsewhere."""

    def __init__(self, message: str, leaf: int | None = None) -> None:
        super().__init__(message)
        self.leaf = leaf

    def __str__(self) -> str:
        where = "" if self.leaf is None else f"leaf {self.leaf}: "
        return where + str(self.args[0])


# --- canonical JSON, hashes, signed notes -----------------------------------------------------------


def canonical(value: Any) -> bytes:
    """Return RFC 8785 bytes of a value without floating point numbers."""
    return json.dumps(_sorted(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=lambda k: k.encode("utf-16-be", "surrogatepass"))}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    if isinstance(value, float):
        raise ValueError("a floating point number")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


def parse(line: bytes) -> Any:
    """Return the value of a canonical line; raise ValueError for one that is not."""
    value = json.loads(line, object_pairs_hook=_once)
    if canonical(value) != line:
        raise ValueError("not canonical JSON")
    return value


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 ‖ leaf), RFC 6962."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right), RFC 6962."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class GrowingTree:
    """The Merkle tree of the leaves added so far, as its complete subtrees."""

    def __init__(self) -> None:
        self.size = 0
        self.parts: list[tuple[int, bytes]] = []  # (number of leaves, hash), largest first

    def add(self, leaf: bytes) -> None:
        """Add a leaf hash."""
        self.size += 1
        self.parts.append((1, leaf))
        while len(self.parts) > 1 and self.parts[-1][0] == self.parts[-2][0]:
            n, right = self.parts.pop()
            _, left = self.parts.pop()
            self.parts.append((2 * n, node_hash(left, right)))

    def root(self) -> bytes:
        """Return the root."""
        if not self.parts:
            return hashlib.sha256(b"").digest()
        root = self.parts[-1][1]
        for _, left in reversed(self.parts[:-1]):
            root = node_hash(left, root)
        return root


@dataclass(frozen=True)
class Key:
    """An Ed25519 key of a signed note: `name+id+base64`."""

    name: str
    key_id: bytes
    public: Ed25519PublicKey

    @classmethod
    def read(cls, text: str) -> Key:
        """Read a key; raise ValueError when it is not one or its id does not belong to it."""
        name, _, rest = text.strip().partition("+")
        hexadecimal, _, encoded = rest.partition("+")
        raw = base64.b64decode(encoded, validate=True)
        key_id = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
        if raw[:1] != b"\x01" or len(raw) != 33 or key_id.hex() != hexadecimal:
            raise ValueError("its id does not belong to it")
        return cls(name, key_id, Ed25519PublicKey.from_public_bytes(raw[1:]))

    def open(self, note: Any) -> list[str]:
        """Return the lines of a signed note's text; raise ValueError unless this key signed it."""
        if type(note) is not str:
            raise ValueError(f"{note!r} is no signed note")
        text, separator, signatures = note.rpartition("\n\n")
        for line in signatures.split("\n") if separator else ():
            parts = line.split(" ")
            if len(parts) == 3 and parts[0] == "\u2014" and parts[1] == self.name:
                raw = base64.b64decode(parts[2], validate=True)
                if base64.b64encode(raw).decode() != parts[2]:
                    raise ValueError("the signature is not canonical base64")
                if raw[:4] == self.key_id:
                    try:
                        self.public.verify(raw[4:], (text + "\n").encode())
                    except InvalidSignature:
                        raise ValueError("the signature does not hold") from None
                    return text.split("\n")
        raise ValueError(f"not signed by {self.name}")

    def open_checkpoint(self, note: Any) -> tuple[int, bytes]:
        """Return tree size and root of a checkpoint; raise ValueError."""
        lines = self.open(note)
        if len(lines) < 3 or lines[0] != self.name or str(int(lines[1])) != lines[1]:
            raise ValueError("not a checkpoint of this log")
        return int(lines[1]), base64.b64decode(lines[2], validate=True)


# --- sampling (docs/arena-sampling.md) --------------------------------------------------------------


def weight_table(
    roster: Sequence[str], tallies: dict[tuple[str, str], list[int]], epsilon: Fraction, prior: int
) -> list[int]:
    """Return the integer weight of every pair of a sorted roster; tallies: [first won, second won, neither]."""
    total = 1 << 32
    gains = []
    for pair in combinations(roster, 2):
        first, second, ties = tallies.get(pair, [0, 0, 0])
        n = first + second + ties + 2 * prior
        h = 2 * (first + prior) + ties
        x = h * (2 * n - h) << 128
        gains.append(math.isqrt(x // (4 * n**3)) - math.isqrt(x // (4 * n * n * (n + 1))))
    m = len(gains)
    floor = min(math.ceil(epsilon * total / m), total // m)
    rest = total - m * floor
    if not sum(gains):
        gains = [1] * m
    shares = [rest * gain // sum(gains) for gain in gains]
    order = sorted(range(m), key=lambda k: (-(rest * gains[k] % sum(gains)), k))
    for k in order[: rest - sum(shares)]:
        shares[k] += 1
    return [floor + share for share in shares]


def weights_digest(roster: Sequence[str], weights: Sequence[int]) -> str:
    """Return the digest of a weight table."""
    table = {"contestants": list(roster), "format": "fairground-weights-1", "weights": list(weights)}
    return hashlib.sha256(canonical(table)).hexdigest()


def draw_number(seed: bytes, draw_index: int, nonce: bytes, total: int) -> tuple[int, bool]:
    """Return the number below `total` and the swap of a draw."""
    limit = (1 << 64) - (1 << 64) % total
    block = 0
    while True:
        mac = hmac.new(seed, draw_index.to_bytes(8, "big") + block.to_bytes(4, "big") + nonce, hashlib.sha256).digest()
        for start in (0, 8, 16):
            number = int.from_bytes(mac[start : start + 8], "big")
            if number < limit:
                return number % total, bool(mac[31] & 1)
        block += 1


# --- rating (docs/arena-rating.md) ------------------------------------------------------------------


@dataclass(frozen=True)
class Vote:
    """A closed vote as boards see it. close, draw: leaf indices."""

    close: int
    draw: int
    battle: str
    side_a: str
    side_b: str
    verdict: str
    probability: str
    voter: str
    slices: dict[str, Any]
    features: dict[str, Any]

    @property
    def points(self) -> float:
        """Points of side a."""
        return {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}[self.verdict]


@dataclass
class Fitted:
    """What a board should show: rows by contestant, and why the others have none."""

    ratings: dict[str, tuple[float, float, float, int, int, int]] = field(default_factory=dict)
    unrankable: dict[str, str] = field(default_factory=dict)


Shares = dict[str, tuple[float, float]]  # by battle: of side a's and of side b's answer, verbatim in a corpus


def rate(
    votes: Sequence[Vote],
    listed: Iterable[str],
    level: float,
    min_votes: int,
    covariates: Sequence[str],
    shares: Shares | None = None,
) -> Fitted:
    """Return ratings, bounds, votes and ranks by inverse-propensity Bradley–Terry, in plain Python.

    Eq. 7 of Chiang et al. (arXiv 2403.04132); covariance clustered by voter; ranks from pairwise
    differences with Bonferroni's correction. listed: contestants that the board shows. shares: of every
    battle, where `overlap` is among the covariates.
    """
    listed = sorted(set(listed))
    names = sorted({v.side_a for v in votes} | {v.side_b for v in votes} | set(listed))
    n_votes = Counter(name for v in votes for name in (v.side_a, v.side_b))
    ranked = _largest_component(names, votes)
    fitted = Fitted()
    shown = [name for name in listed if name in ranked and n_votes[name] >= min_votes]
    for name in listed:
        if name not in shown:
            reason = "no-votes" if not n_votes[name] else "few-votes" if name in ranked else "not-connected"
            fitted.unrankable[name] = reason
    if not shown:
        return fitted
    mean = sum(1 / float(Fraction(v.probability)) for v in votes) / len(votes)
    inside = [v for v in votes if v.side_a in ranked and v.side_b in ranked]
    columns = [tuple(_difference(v, name, shares or {}) for name in covariates) for v in inside]
    theta, covariance = _fit(sorted(ranked), inside, mean, shown, columns)
    scale, k = 400 / math.log(10), len(shown)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    wide = NormalDist().inv_cdf(1 - (1 - level) / max(k - 1, 1) / 2)
    for i, name in enumerate(shown):
        error = math.sqrt(max(covariance[i][i], 0.0))
        better = worse = 0
        for j in range(k):
            spread = math.sqrt(max(covariance[i][i] + covariance[j][j] - 2 * covariance[i][j], 0.0))
            better += theta[i] - theta[j] + wide * spread < -NOISE
            worse += theta[i] - theta[j] - wide * spread > NOISE
        bounds = (1000 + scale * (theta[i] + side * z * error) for side in (0, -1, 1))
        rating, lower, upper = bounds
        fitted.ratings[name] = (rating, lower, upper, n_votes[name], 1 + better, k - worse)
    return fitted


def _largest_component(names: Sequence[str], votes: Sequence[Vote]) -> set[str]:
    """Return the largest set in which everybody scored, directly or through others, against everybody."""
    scored: dict[str, set[str]] = defaultdict(set)
    lost: dict[str, set[str]] = defaultdict(set)
    for v in votes:
        for winner, loser, points in ((v.side_a, v.side_b, v.points), (v.side_b, v.side_a, 1 - v.points)):
            if points > 0:
                scored[winner].add(loser)
                lost[loser].add(winner)
    left, best = set(names), (0, 0)
    largest: set[str] = set()
    for name in names:  # sorted: of equals the one that holds the first name stays
        if name in left:
            component = _reach(name, scored) & _reach(name, lost)
            left -= component
            inner = sum(1 for v in votes if v.side_a in component and v.side_b in component)
            if len(component) > 1 and (len(component), inner) > best:
                largest, best = component, (len(component), inner)
    return largest


def _reach(start: str, edges: dict[str, set[str]]) -> set[str]:
    seen, stack = {start}, [start]
    while stack:
        new = edges[stack.pop()] - seen
        seen |= new
        stack.extend(new)
    return seen


def _fit(
    names: list[str], votes: Sequence[Vote], mean: float, shown: list[str], columns: Sequence[tuple[float, ...]]
) -> tuple[list[float], list[list[float]]]:
    """Return strengths of the shown, adding up to 0, and their covariance. columns: each vote's covariates.

    The last contestant is held at 0 while fitting, which changes no difference.
    """
    place = {name: i for i, name in enumerate(names)}
    n_covariates = len(columns[0])
    n = len(names) - 1 + n_covariates
    grouped: dict[tuple[int, int, float, tuple[float, ...]], float] = defaultdict(float)
    single = []
    for v, x in zip(votes, columns, strict=True):
        weight = 1 / float(Fraction(v.probability)) / mean
        grouped[place[v.side_a], place[v.side_b], v.points, x] += weight
        single.append((place[v.side_a], place[v.side_b], v.points, x, weight, v.voter))
    sizes = [math.sqrt(sum(row[3][f] ** 2 for row in single) / len(single)) or 1.0 for f in range(n_covariates)]

    def vector(a: int, b: int, x: tuple[float, ...]) -> list[tuple[int, float]]:
        sides = [(a, 1.0), (b, -1.0)]
        scaled = [(len(names) - 1 + f, value / sizes[f]) for f, value in enumerate(x) if value]
        return [(i, s) for i, s in sides if i < len(names) - 1] + scaled

    rows = [(vector(a, b, x), points, weight) for (a, b, points, x), weight in grouped.items()]
    beta = _newton(rows, n)
    inverse = _inverse(_hessian(rows, beta, n))
    clusters: dict[object, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    alone = len({row[5] for row in single}) < 2
    for number, (a, b, points, x, weight, voter) in enumerate(single):
        entries = vector(a, b, x)
        residual = weight * (points - _sigmoid(sum(beta[i] * s for i, s in entries)))
        for i, s in entries:
            clusters[number if alone else voter][i] += residual * s
    factor = 1.0 if alone else len(clusters) / (len(clusters) - 1)
    middle = [[0.0] * n for _ in range(n)]
    for sums in clusters.values():
        for i, one in sums.items():
            for j, two in sums.items():
                middle[i][j] += one * two * factor
    contrast = []
    for name in shown:
        difference = [0.0] * len(names)
        for other in shown:
            difference[place[other]] -= 1 / len(shown)
        difference[place[name]] += 1
        contrast.append(difference[:-1] + [0.0] * n_covariates)
    spread = _product(contrast, inverse)
    covariance = _product(_product(spread, middle), [list(column) for column in zip(*spread, strict=True)])
    return [sum(map(mul, row, beta)) for row in contrast], covariance


Row = tuple[list[tuple[int, float]], float, float]


def _difference(vote: Vote, name: str, shares: Shares) -> float:
    """Return a covariate: side a's feature minus side b's, divided by their sum; of overlap the shares' difference."""
    if name == OVERLAP:
        a, b = shares[vote.battle]
        return a - b
    a, b = vote.features["a"][name], vote.features["b"][name]
    return (a - b) / (a + b) if a + b else 0.0


def _sigmoid(d: float) -> float:
    return 1 / (1 + math.exp(-d)) if d >= 0 else math.exp(d) / (1 + math.exp(d))


def _loss(rows: Sequence[Row], beta: list[float]) -> float:
    loss = 0.0
    for entries, points, weight in rows:
        d = sum(beta[i] * s for i, s in entries)
        loss += weight * (max(d, 0.0) + math.log1p(math.exp(-abs(d))) - points * d)
    return loss


def _hessian(rows: Sequence[Row], beta: list[float], n: int) -> list[list[float]]:
    matrix = [[0.0] * n for _ in range(n)]
    for entries, _, weight in rows:
        p = _sigmoid(sum(beta[i] * s for i, s in entries))
        curve = weight * p * (1 - p)
        for i, s in entries:
            for j, t in entries:
                matrix[i][j] += curve * s * t
    return matrix


def _newton(rows: Sequence[Row], n: int) -> list[float]:
    beta = [0.0] * n
    loss = _loss(rows, beta)
    for _ in range(200):
        gradient = [0.0] * n
        for entries, points, weight in rows:
            residual = weight * (points - _sigmoid(sum(beta[i] * s for i, s in entries)))
            for i, s in entries:
                gradient[i] += residual * s
        step = _solve(_cholesky(_hessian(rows, beta, n)), gradient)
        length = 1.0
        while True:
            trial = [b + length * s for b, s in zip(beta, step, strict=True)]
            reached = _loss(rows, trial)
            if reached <= loss + 1e-13 * (1 + abs(loss)) or length < 1e-9:
                break
            length /= 2
        beta, loss = trial, reached
        if max(map(abs, step), default=0.0) < 1e-10:
            return beta
    raise ValueError("strengths do not converge")


def _cholesky(matrix: list[list[float]]) -> list[list[float]]:
    lower: list[list[float]] = []
    for i, row in enumerate(matrix):
        new: list[float] = []
        for j in range(i):
            new.append((row[j] - sum(map(mul, new, lower[j]))) / lower[j][j])
        rest = row[i] - sum(map(mul, new, new))
        if rest <= 0:
            raise ValueError("strengths cannot be told apart")
        new.append(math.sqrt(rest))
        lower.append(new)
    return lower


def _solve(lower: list[list[float]], right: Sequence[float]) -> list[float]:
    n = len(lower)
    forward: list[float] = []
    for i in range(n):
        forward.append((right[i] - sum(map(mul, lower[i], forward))) / lower[i][i])
    back = [0.0] * n
    for i in reversed(range(n)):
        back[i] = forward[i] / lower[i][i]
        for j in range(i):
            forward[j] -= lower[i][j] * back[i]
    return back


def _inverse(matrix: list[list[float]]) -> list[list[float]]:
    lower, n = _cholesky(matrix), len(matrix)
    return [_solve(lower, [float(i == j) for j in range(n)]) for i in range(n)]


def _product(left: list[list[float]], right: list[list[float]]) -> list[list[float]]:
    columns = [list(column) for column in zip(*right, strict=True)]
    return [[sum(map(mul, row, column)) for column in columns] for row in left]


# --- the arena's leaves, replayed -------------------------------------------------------------------


@dataclass
class Contestant:
    """A contestant as far as the leaves read so far say. launched, gone: leaf index or None."""

    provider: str
    is_private: bool
    since: int
    at: datetime
    launched: int | None = None
    gone: int | None = None
    published: bool = False
    is_paused: bool = False
    needs: frozenset[tuple[str, str]] = frozenset()  # digest of the weights, expert

    def is_public_at(self, index: int) -> bool:
        """Say whether it was public for a draw at a leaf index or tree size."""
        return not self.is_private or (self.launched is not None and self.launched < index)


@dataclass
class Battle:
    """A draw and what became of it."""

    epoch: Epoch
    draw_index: int
    draw: int
    nonce: bytes
    voter: str | None
    prompt: str
    chain: list[tuple[str, dict[str, Any], datetime]] = field(default_factory=list)
    close: int | None = None
    closed: dict[str, Any] = field(default_factory=dict)
    overlap: int | None = None  # leaf that says it, whether measured or not


@dataclass
class Epoch:
    """An epoch with its weight table."""

    number: int
    commitment: str
    roster: list[str]
    cumulative: list[int]
    edit_window: timedelta
    policy: str = ""
    overlap: str = ""  # digest of the settings with which overlap is measured; empty: it isn't
    is_revealed: bool = False
    draws: dict[int, Battle] = field(default_factory=dict)

    def probability(self, first: str, second: str) -> Fraction:
        """Return the chance of a pair, smaller id first."""
        i, j, n = self.roster.index(first), self.roster.index(second), len(self.roster)
        k = i * n - i * (i + 1) // 2 + j - i - 1
        weight = self.cumulative[k] - (self.cumulative[k - 1] if k else 0)
        return Fraction(weight, self.cumulative[-1])


@dataclass
class Season:
    """All that the arena's leaves say about a season so far."""

    policies: list[dict[str, Any]] = field(default_factory=list)
    policy_indices: list[int] = field(default_factory=list)
    contestants: dict[str, Contestant] = field(default_factory=dict)
    changes: list[tuple[int, str, str]] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    battles: dict[str, Battle] = field(default_factory=dict)
    votes: list[Vote] = field(default_factory=list)
    overlaps: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)  # measured, by battle: leaf, body
    exclusions: dict[str, list[Any]] = field(default_factory=dict)  # subject, target, start, end, rule
    boards: dict[str, dict[str, Any]] = field(default_factory=dict)
    releases: dict[str, dict[str, Any]] = field(default_factory=dict)  # by entry

    def roster_at(self, size: int) -> list[str]:
        """Return who may be drawn at a tree size."""
        active = {name for name, c in self.contestants.items() if c.since < size}
        paused: set[str] = set()
        for index, name, change in self.changes:
            if index < size:
                if change in ("withdrawn", "retired"):
                    active.discard(name)
                elif change == "paused":
                    paused.add(name)
                elif change == "resumed":
                    paused.discard(name)
        return sorted(active - paused)

    def votes_at(self, size: int, *, include_excluded: bool = False) -> list[Vote]:
        """Return the votes at a tree size, in the order of their close leaves."""
        end = bisect_left(self.votes, size, key=lambda v: v.close)
        if include_excluded:
            return self.votes[:end]
        out = {(s, t) for s, t, start, stop, _ in self.exclusions.values() if start < size and not stop < size}
        return [v for v in self.votes[:end] if ("voter", v.voter) not in out and ("battle", v.battle) not in out]

    def policy_at(self, size: int) -> dict[str, Any]:
        """Return the policy in force at a tree size; where there is none, the newest."""
        then = [p for p, index in zip(self.policies, self.policy_indices, strict=True) if index < size]
        return (then or self.policies[-1:])[-1]

    def overlaps_at(self, size: int) -> dict[str, tuple[int, dict[str, Any]]]:
        """Return what was measured below a tree size, with the settings in force there: leaf and body by battle."""
        settings = settings_digest(self.policy_at(size))
        return {k: (i, body) for k, (i, body) in self.overlaps.items() if i < size and body["settings"] == settings}


def share(coverage: dict[str, int]) -> float:
    """Return which share of an answer's characters stands verbatim in a corpus; of no characters none."""
    return coverage["covered"] / coverage["characters"] if coverage["characters"] else 0.0


class Replay:
    """Reads leaves in order and checks each against all before it."""

    def __init__(self) -> None:
        self.seasons: dict[str, Season] = defaultdict(Season)
        self.opted_out: dict[tuple[str, str], tuple[int, datetime]] = {}  # by weights and expert; "" is all weights
        self.indexes: set[tuple[str, str]] = set()  # corpus and digest
        self.ids: set[str] = set()
        self.kinds: Counter[str] = Counter()
        self.index = 0
        self.at = datetime.min.replace(tzinfo=UTC)
        self.entry = ""

    def leaf(self, index: int, leaf: dict[str, Any]) -> None:
        """Check one leaf; raise `Wrong`."""
        self.index = index
        try:
            if sorted(leaf) != ["at", "body", "id", "kind", "v"] or leaf["v"] != 1:
                raise ValueError("not a leaf of format version 1")
            if leaf["id"] in self.ids:
                raise ValueError(f"entry {leaf['id']} stands in the log twice")
            self.ids.add(leaf["id"])
            self.entry = leaf["id"]
            self.at = datetime.fromisoformat(leaf["at"])
            check: Callable[[Any], None] | None = getattr(self, f"_{leaf['kind']}", None)
            self.kinds[leaf["kind"]] += 1
            if check is not None:
                check(leaf["body"])
            elif leaf["kind"] not in ("corpus", "takedown"):
                raise ValueError(f"kind {leaf['kind']!r} is unknown to this verifier; get a newer one")
        except KeyError as error:
            raise Wrong(f"{leaf.get('kind')}: lacks or does not know {error}", index) from error
        except MALFORMED as error:
            kind = f"{leaf.get('kind')}: " if isinstance(leaf, dict) else ""
            raise Wrong(f"{kind}{error}", index) from error

    def end(self) -> Iterator[Wrong]:
        """Yield what is overdue after the last leaf."""
        for slug, season in self.seasons.items():
            for name, c in season.contestants.items():
                days = season.policies[-1]["variant_days"] if season.policies else 0
                if c.is_private and not c.published and self.at - c.at > timedelta(days=days) + VARIANT_GRACE:
                    yield Wrong(f"variant {name} of season {slug} is unpublished after {days} days", c.since)

    def _season(self, body: dict[str, Any]) -> Season:
        season = self.seasons[body["season"]]
        if not season.policies:
            raise ValueError(f"season {body['season']} has no policy yet")
        return season

    def _policy_in_force(self, season: Season, body: dict[str, Any]) -> dict[str, Any]:
        policy = season.policies[-1]
        if body["policy"] != policy["version"]:
            raise ValueError(f"cites policy {body['policy']}, in force is {policy['version']}")
        return policy

    def _rule(self, season: Season, body: dict[str, Any], rules: str) -> None:
        if body["rule"] not in self._policy_in_force(season, body)[rules]:
            raise ValueError(f"cites rule {body['rule']!r}, which policy {body['policy']} does not have")

    def _size(self, body: dict[str, Any]) -> int:
        size = body["tree_size"]
        if not 0 <= size <= self.index:
            raise ValueError(f"is taken at tree size {size}, which lies after it")
        return int(size)

    def _policy(self, body: dict[str, Any]) -> None:
        season = self.seasons[body["season"]]
        if body["version"] != len(season.policies) + 1:
            raise ValueError(f"version {body['version']} follows version {len(season.policies)}")
        if season.policies and season.policies[-1]["simulated"] != body["simulated"]:
            raise ValueError("a season does not change between simulated and real")
        season.policies.append(body)
        season.policy_indices.append(self.index)

    def _contestant(self, body: dict[str, Any]) -> None:
        season = self._season(body)
        if body["contestant"] in season.contestants:
            raise ValueError(f"contestant {body['contestant']} is registered twice")
        if hashlib.sha256(canonical(body["artifact"])).hexdigest() != body["artifact_digest"]:
            raise ValueError("the artifact does not have its digest")
        is_private = body["visibility"] == "private"
        artifact = body["artifact"]
        needs = frozenset((str(artifact.get("weights")), str(slug)) for slug in artifact.get("experts", ()))
        contestant = Contestant(body["provider"], is_private, self.index, self.at, needs=needs)
        season.contestants[body["contestant"]] = contestant
        rivals = (c for c in season.contestants.values() if c.provider == body["provider"])
        n = sum(c.is_private and c.launched is None and c.gone is None for c in rivals)
        cap = season.policies[-1]["variant_cap"]
        if is_private and n > cap:
            raise ValueError(f"{body['provider']} has {n} private variants active; the cap is {cap}")

    def _roster_change(self, body: dict[str, Any]) -> None:
        season, change = self._season(body), body["change"]
        self._rule(season, body, "roster_rules")
        c = season.contestants[body["contestant"]]
        if c.gone is not None:
            raise ValueError(f"contestant {body['contestant']} is gone since leaf {c.gone}")
        if change in ("launched", "expired") and (not c.is_private or c.launched is not None):
            raise ValueError(f"contestant {body['contestant']} is public already")
        if change in ("paused", "resumed") and c.is_paused == (change == "paused"):
            raise ValueError(f"contestant {body['contestant']} is {change} already")
        if change not in ("launched", "withdrawn", "expired", "retired", "paused", "resumed"):
            raise ValueError(f"change {change!r} is unknown")
        if c.is_private and not c.published and change in ("launched", "withdrawn", "expired", "retired"):
            self._published(season, body)
            c.published = True
        if body["rule"] == "owner-opt-out" and (change != "paused" or not self._withdrawn(c)):
            raise ValueError(f"no owner of an expert of contestant {body['contestant']} has opted out")
        if body["rule"] == "owner-opt-in" and (change != "resumed" or self._withdrawn(c)):
            raise ValueError(f"the owner of an expert of contestant {body['contestant']} is still out")
        season.changes.append((self.index, body["contestant"], change))
        c.is_paused = change == "paused" if change in ("paused", "resumed") else c.is_paused
        c.launched = self.index if change == "launched" else c.launched
        c.gone = self.index if change in ("withdrawn", "retired") else None

    def _opt_out(self, body: dict[str, Any]) -> None:
        key = (body.get("checkpoint_digest", ""), body["expert"])
        if body["change"] not in ("out", "in"):
            raise ValueError(f"change {body['change']!r} is unknown")
        if (key in self.opted_out) == (body["change"] == "out"):
            raise ValueError(f"expert {body['expert']} is {body['change']} already")
        if body["change"] == "out":
            self.opted_out[key] = (self.index, self.at)
        else:
            del self.opted_out[key]

    def _withdrawn(self, c: Contestant) -> list[tuple[int, datetime]]:
        """Return leaf and time of the opt-outs in force of experts that a contestant needs."""
        keys = (key for weights, slug in c.needs for key in ((weights, slug), ("", slug)))
        return [self.opted_out[key] for key in keys if key in self.opted_out]

    def _published(self, season: Season, body: dict[str, Any]) -> None:
        board = season.boards.get(body.get("board", ""))
        name = body["contestant"]
        shown = [row["contestant"] for row in [*board["ratings"], *board["unrankable"]]] if board else []
        if board is None or name not in shown or name not in board["pre_release"]:
            raise ValueError(f"no board before it publishes the rating of variant {name}")

    def _epoch(self, body: dict[str, Any]) -> None:
        season, size = self._season(body), self._size(body)
        policy = self._policy_in_force(season, body)
        if body["epoch"] != len(season.epochs):
            raise ValueError(f"epoch {body['epoch']} follows {len(season.epochs)} epochs")
        roster = season.roster_at(size)
        if body["roster"] != roster:
            odd = sorted(set(roster) ^ set(body["roster"]))
            raise ValueError(f"the roster is not that of tree size {size}; differs in {', '.join(odd) or 'order'}")
        if not policy["simulated"]:
            self._owners_are_heard(season, roster)
        votes = season.votes_at(size)
        if body["n_votes"] != len(votes):
            raise ValueError(f"{len(votes)} votes count at tree size {size}, not {body['n_votes']}")
        tallies: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        for v in votes:
            pair = (min(v.side_a, v.side_b), max(v.side_a, v.side_b))
            column = 2 if v.points == 0.5 else int((v.points == 1) != (v.side_a == pair[0]))
            tallies[pair][column] += 1
        sampling = policy["sampling"]
        weights = weight_table(roster, tallies, Fraction(sampling["epsilon"]), sampling["prior"])
        if weights_digest(roster, weights) != body["weights_digest"]:
            raise ValueError("the weight table does not recompute from the votes logged before")
        window = timedelta(seconds=policy["edit_window_s"])
        cumulative = list(accumulate(weights))
        told = (policy["document"], settings_digest(policy))
        season.epochs.append(Epoch(body["epoch"], body["seed_commitment"], roster, cumulative, window, *told))

    def _owners_are_heard(self, season: Season, roster: list[str]) -> None:
        for name in roster:
            for index, since in self._withdrawn(season.contestants[name]):
                if self.at - since > OPT_OUT_GRACE:
                    raise ValueError(f"contestant {name} on the roster needs an expert withdrawn by leaf {index}")

    def _draw(self, body: dict[str, Any]) -> None:
        season = self._season(body)
        epoch = season.epochs[body["epoch"]] if 0 <= body["epoch"] < len(season.epochs) else None
        if epoch is None:
            raise ValueError(f"epoch {body['epoch']} has not begun")
        if epoch.is_revealed:
            raise ValueError(f"the seed of epoch {epoch.number} is revealed already")
        if body["draw_index"] != len(epoch.draws):
            raise ValueError(f"draw {body['draw_index']} of epoch {epoch.number} follows {len(epoch.draws)} draws")
        if body["battle"] in season.battles:
            raise ValueError(f"battle {body['battle']} was drawn twice")
        nonce = bytes.fromhex(body["nonce"])
        battle = Battle(epoch, body["draw_index"], self.index, nonce, body.get("voter"), body["prompt"])
        season.battles[body["battle"]] = epoch.draws[body["draw_index"]] = battle

    def _open_battle(self, body: dict[str, Any]) -> tuple[Season, Battle]:
        season = self._season(body)
        battle = season.battles[body["battle"]]
        if (body["epoch"], body["draw_index"]) != (battle.epoch.number, battle.draw_index):
            raise ValueError("epoch or draw index is not that of the battle")
        if battle.close is not None:
            raise ValueError(f"battle {body['battle']} was closed by leaf {battle.close}")
        return season, battle

    def _vote(self, body: dict[str, Any]) -> None:
        _, battle = self._open_battle(body)
        if body["verdict"] not in ("a", "b", "tie", "both_bad"):
            raise ValueError(f"verdict {body['verdict']!r} is unknown")
        if battle.voter not in (None, body["voter"]):
            raise ValueError("the vote is not by the voter who asked")
        if body.get("supersedes") != (battle.chain[-1][0] if battle.chain else None):
            raise ValueError("does not supersede the battle's vote before it")
        if battle.chain:
            window = battle.epoch.edit_window
            if battle.chain[0][1]["voter"] != body["voter"]:
                raise ValueError("supersedes another voter's vote")
            if self.at - battle.chain[0][2] > window + EDIT_GRACE:
                raise ValueError(f"supersedes a vote after more than {window.total_seconds():.0f} s")
        battle.chain.append((self.entry, body, self.at))

    def _close(self, body: dict[str, Any]) -> None:
        season, battle = self._open_battle(body)
        side_a, side_b = body["side_a"], body["side_b"]
        first, second = min(side_a, side_b), max(side_a, side_b)
        if not {side_a, side_b} <= set(battle.epoch.roster) or first == second:
            raise ValueError("a side is not on the epoch's roster")
        if body["swap"] is not (side_b == first):
            raise ValueError("the sides do not fit the swap")
        exact = battle.epoch.probability(first, second)
        if body["probability"] != f"{exact.numerator}/{exact.denominator}":
            raise ValueError(f"the pair's probability is {exact}, not {body['probability']}")
        last = battle.chain[-1][0] if battle.chain else None
        if body["outcome"] not in ("vote", "skip", "abandoned", "error", "moderated"):
            raise ValueError(f"outcome {body['outcome']!r} is unknown")
        if body["outcome"] == "vote" and (last is None or body.get("vote") != last):
            raise ValueError("does not name the battle's last vote")
        if body["outcome"] != "vote" and ("vote" in body or (last and body["outcome"] != "moderated")):
            raise ValueError(f"closes a battle that has a vote as {body['outcome']}")
        battle.close, battle.closed = self.index, body
        if body["outcome"] == "vote":
            cast = battle.chain[-1][1]
            slices, features = body.get("slices", {}), body.get("features", {})
            where = (self.index, battle.draw, body["battle"], side_a, side_b)
            season.votes.append(Vote(*where, cast["verdict"], body["probability"], cast["voter"], slices, features))

    def _index(self, body: dict[str, Any]) -> None:
        self.indexes.add((body["corpus"], body["index"]))

    def _overlap(self, body: dict[str, Any]) -> None:
        season = self._season(body)
        battle = season.battles[body["battle"]]
        closed = battle.closed
        if closed.get("outcome") != "vote":
            raise ValueError(f"battle {body['battle']} is not closed with a vote")
        if battle.overlap is not None:
            raise ValueError(f"the overlap of battle {body['battle']} stands in leaf {battle.overlap} already")
        if not battle.epoch.overlap or body["settings"] != battle.epoch.overlap:
            raise ValueError("was not measured with the settings of the policy that the battle's epoch cites")
        if not all(season.contestants[closed[f"side_{s}"]].is_public_at(battle.draw) for s in ("a", "b")):
            raise ValueError("a private variant took part; the overlap of such battles is not measured")
        if body["outcome"] not in ("measured", "unmeasured"):
            raise ValueError(f"outcome {body['outcome']!r} is unknown")
        is_measured = body["outcome"] == "measured"
        if {"a", "b", "indexes", "reason"} & body.keys() != ({"a", "b", "indexes"} if is_measured else {"reason"}):
            raise ValueError("says what was measured and why it was not, or neither")
        battle.overlap = self.index
        if is_measured:
            self._measured(body, closed, is_simulated=season.policies[-1]["simulated"])
            season.overlaps[body["battle"]] = (self.index, body)

    def _measured(self, body: dict[str, Any], closed: dict[str, Any], *, is_simulated: bool) -> None:
        for side in ("a", "b"):
            covered, characters = whole(body[side]["covered"]), whole(body[side]["characters"])
            if not 0 <= covered <= characters:
                raise ValueError(f"{covered} of {characters} characters of side {side} are covered")
            style = closed.get("features", {}).get(side, {})
            if style.get("characters", characters) != characters:
                raise ValueError(f"the answer of side {side} has {style['characters']} characters, not {characters}")
        if bool(body["indexes"]) == is_simulated:
            raise ValueError("an answer is measured in at least one index, and a simulated one in none")
        digests = [one["index"] for one in body["indexes"]]
        for one in body["indexes"]:
            if (one["corpus"], one["index"]) not in self.indexes or digests.count(one["index"]) > 1:
                raise ValueError(f"index {one['index']} of corpus {one['corpus']} was not registered, or stands twice")

    def _exclude(self, body: dict[str, Any]) -> None:
        season = self._season(body)
        self._rule(season, body, "exclusion_rules")
        if body["exclusion"] in season.exclusions:
            raise ValueError(f"exclusion {body['exclusion']} stands twice")
        if body["subject"] not in ("voter", "battle"):
            raise ValueError(f"subject {body['subject']!r} is unknown")
        row = [body["subject"], body["target"], self.index, math.inf, body["rule"]]
        season.exclusions[body["exclusion"]] = row

    def _include(self, body: dict[str, Any]) -> None:
        season = self._season(body)
        self._rule(season, body, "exclusion_rules")
        exclusion = season.exclusions[body["exclusion"]]
        if exclusion[3] != math.inf:
            raise ValueError(f"exclusion {body['exclusion']} was ended by leaf {exclusion[3]}")
        exclusion[3] = self.index

    def _reveal(self, body: dict[str, Any]) -> None:
        season = self._season(body)
        if not 0 <= body["epoch"] < len(season.epochs) or season.epochs[body["epoch"]].is_revealed:
            raise ValueError(f"epoch {body['epoch']} has not begun or is revealed already")
        epoch, seed = season.epochs[body["epoch"]], bytes.fromhex(body["seed"])
        if hashlib.sha256(seed).hexdigest() != epoch.commitment:
            raise ValueError(f"the seed does not open the commitment of epoch {epoch.number}")
        if body["n_draws"] != len(epoch.draws):
            raise ValueError(f"epoch {epoch.number} has {len(epoch.draws)} draws, not {body['n_draws']}")
        epoch.is_revealed = True
        for number, battle in sorted(epoch.draws.items()):
            if battle.close is None:
                raise ValueError(f"draw {number} of epoch {epoch.number} is not closed")
            value, swap = draw_number(seed, number, battle.nonce, epoch.cumulative[-1])
            first, second = list(combinations(epoch.roster, 2))[bisect_right(epoch.cumulative, value)]
            side_a, side_b = (second, first) if swap else (first, second)
            if (battle.closed["side_a"], battle.closed["side_b"]) != (side_a, side_b):
                raise Wrong(f"close: draw {number} of epoch {epoch.number} gives {side_a} and {side_b}", battle.close)

    def _board(self, body: dict[str, Any]) -> None:
        season, size = self._season(body), self._size(body)
        policy, method = season.policy_at(size), body["method"]
        if body["policy"] != policy["version"]:
            raise ValueError(f"cites policy {body['policy']}, which was not in force at tree size {size}")
        for name in {"level", "min_votes"} & policy["rating"].keys():
            if Fraction(method[name]) != Fraction(policy["rating"][name]):
                raise ValueError(f"its {name} is {method[name]}; policy {body['policy']} says {policy['rating'][name]}")
        if body["board"] in season.boards:
            raise ValueError(f"board {body['board']} stands twice")
        season.boards[body["board"]] = body
        level, covariates = float(method["level"]), method.get("covariates", [])
        votes = board_input(season, body, size)
        shares = {battle: (share(m["a"]), share(m["b"])) for battle, (_, m) in season.overlaps_at(size).items()}
        n_without = sum(v.battle not in shares for v in votes)
        if OVERLAP in covariates:
            votes = [v for v in votes if v.battle in shares]
        if body["n_votes"] != len(votes):
            raise ValueError(f"its input has {len(votes)} votes, not {body['n_votes']}")
        if input_digest(votes) != body["input_digest"]:
            raise ValueError("its input does not have its digest")
        listed = {
            name
            for name, c in season.contestants.items()
            if c.since < size and (c.is_public_at(size) or name in body["pre_release"])
        }
        compare(body, rate(votes, listed, level, method["min_votes"], covariates, shares))
        compare_overlap(body, votes, shares, n_without if settings_digest(policy) else None)

    def _release(self, body: dict[str, Any]) -> None:
        season, size = self._season(body), self._size(body)
        for name, digest in body["files"].items():
            if len(bytes.fromhex(digest)) != 32:
                raise ValueError(f"the digest of {name} is not one")
        if "replaces" in body:
            before = season.releases[body["replaces"]]
            fixed = ("release", "tree_size", "votes_size", "n_votes", "n_withheld")
            odd = [name for name in fixed if body.get(name) != before.get(name)]
            odd += sorted(body["files"].keys() ^ before["files"].keys())
            if odd:
                raise ValueError(f"replaces a release that differs in {', '.join(odd)}")
        elif "votes_size" in body:
            told_before = max((r["tree_size"] for r in season.releases.values()), default=0)
            found = split_release(season, size, told_before)
            if found != (body["votes_size"], body["n_votes"], body["n_withheld"]):
                raise ValueError("tells the verdicts below {}, {} of them, and withholds {}".format(*found))
        season.releases[self.entry] = body


def split_release(season: Season, size: int, told_before: int) -> tuple[int, int, int]:
    """Return below which leaf index a release tells verdicts, how many that are, and how many it withholds.

    The newest tenth of the votes is withheld, but none that the release before held; of simulated votes none.
    """
    n = bisect_left(season.votes, size, key=lambda v: v.close)
    told = n if season.policies[-1]["simulated"] else n - n // WITHHELD_SHARE
    votes_size = max(season.votes[told].close if told < n else size, told_before)
    n_told = bisect_left(season.votes, votes_size, key=lambda v: v.close)
    return votes_size, n_told, n - n_told


def board_input(season: Season, body: dict[str, Any], size: int) -> list[Vote]:
    """Return the votes that a board counts, in order."""
    allowed = set(body["pre_release"])

    def counts(v: Vote) -> bool:
        early = {s for s in (v.side_a, v.side_b) if not season.contestants[s].is_public_at(v.draw)}
        fits = all(v.slices.get(name) == value for name, value in body["slice"].items())
        return early <= allowed and fits and (body["both_bad"] or v.verdict != "both_bad")

    return [v for v in season.votes_at(size, include_excluded=body["include_excluded"]) if counts(v)]


def settings_digest(policy: dict[str, Any]) -> str:
    """Return the digest of the settings with which a policy has overlap measured; empty where it doesn't."""
    settings = policy.get("overlap")
    return hashlib.sha256(canonical(settings)).hexdigest() if settings else ""


def input_digest(votes: Iterable[Vote]) -> str:
    """Return the digest of a board's input."""
    digest = hashlib.sha256()
    for v in votes:
        digest.update(canonical([v.close, v.side_a, v.side_b, v.verdict, v.probability, v.voter]) + b"\n")
    return digest.hexdigest()


def compare(body: dict[str, Any], fitted: Fitted) -> None:
    """Raise ValueError for the first row of a board that does not recompute."""
    reasons = {row["contestant"]: row["reason"] for row in body["unrankable"]}
    for name in sorted(reasons.keys() | fitted.unrankable.keys()):
        if reasons.get(name) != fitted.unrankable.get(name):
            expected = fitted.unrankable.get(name, "ranked" if name in fitted.ratings else "not listed")
            raise ValueError(f"contestant {name} is {expected}, not {reasons.get(name, 'absent')}")
    names = [row["contestant"] for row in body["ratings"]]
    if sorted(names) != sorted(fitted.ratings) or len(reasons) != len(body["unrankable"]):
        raise ValueError(f"should rank exactly {', '.join(sorted(fitted.ratings))}, and list nobody twice")
    for row in body["ratings"]:
        exact = fitted.ratings[row["contestant"]]
        for name, value in zip(("rating", "lower", "upper"), exact[:3], strict=True):
            digits = -int(Decimal(row[name]).as_tuple().exponent)
            if abs(float(row[name]) - value) > 0.5 * 10**-digits + 1e-6:
                raise ValueError(f"{name} of {row['contestant']} is {value:.{digits}f}, not {row[name]}")
        for name, whole in zip(("n_votes", "rank_low", "rank_high"), exact[3:], strict=True):
            if row[name] != whole:
                raise ValueError(f"{name} of {row['contestant']} is {whole}, not {row[name]}")
    if body["ratings"] != sorted(body["ratings"], key=lambda row: (-Decimal(row["rating"]), row["contestant"])):
        raise ValueError("ratings do not stand best first")


def compare_overlap(body: dict[str, Any], votes: Sequence[Vote], shares: Shares, n_without: int | None) -> None:
    """Raise ValueError for the first share of a board that does not recompute.

    n_without: votes whose battles have none measured; None where the policy has none measured at all.
    """
    if body.get("n_without_overlap") != n_without:
        raise ValueError(f"{n_without} of its votes have no measured overlap, not {body.get('n_without_overlap')}")
    own: dict[str, list[float]] = defaultdict(list)
    for v in votes:
        for name, one in zip((v.side_a, v.side_b), shares.get(v.battle, ()), strict=False):
            own[name].append(one)
    for row in body["ratings"]:
        found = own[row["contestant"]]
        if row.get("n_overlap") != (None if n_without is None else len(found)):
            raise ValueError(f"overlap of {row['contestant']} is measured {len(found)} times")
        exact = math.fsum(found) / len(found) if found and n_without is not None else None
        said = row.get("overlap")
        if (said is None) != (exact is None):
            raise ValueError(f"overlap of {row['contestant']} is {exact}, not {said}")
        if exact is not None and (Decimal(said).as_tuple().exponent != -4 or abs(float(said) - exact) > 0.5e-4 + NOISE):
            raise ValueError(f"overlap of {row['contestant']} is {exact:.4f}, not {said}")


# --- an export --------------------------------------------------------------------------------------


@dataclass
class Report:
    """What was found. `findings` are in the order of leaves."""

    findings: list[Wrong] = field(default_factory=list)
    n_leaves: int = 0
    n_checkpoints: int = 0
    replay: Replay = field(default_factory=Replay)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest; raise `Unreadable`."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes(), object_pairs_hook=_once)
        if manifest["format"] != FORMAT:
            raise Unreadable(f"{folder}: format {manifest['format']!r} is unknown; this file reads {FORMAT}")
        _with_members(manifest, "format", "key", "n_leaves", "n_checkpoints", "files")
        _with_members(manifest["files"], *FILES)
        for name in ("n_leaves", "n_checkpoints"):
            whole(manifest[name])
        Key.read(manifest["key"])
        if manifest["key"] != manifest["key"].strip():
            raise ValueError("its key stands among spaces")
    except OSError as error:
        raise Unreadable(f"{error.filename}: {error.strerror}") from error
    except MALFORMED as error:
        raise Unreadable(f"{folder / 'manifest.json'} is damaged: {error}") from error
    return dict(manifest)


def read_leaves(folder: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield hash and leaf of each record; raise `Wrong` at the first bad one."""
    number = -1
    for number, line in enumerate(_lines(folder / "leaves.jsonl")):
        try:
            record = _with_members(parse(line), "hash", "index", "leaf")
            index = whole(record["index"])
        except MALFORMED as error:
            raise Wrong(f"its record is damaged: {error}", number) from error
        if index != number:
            raise Wrong(f"is missing; in its place stands {index}{' again' if 0 <= index < number else ''}", number)
        found = leaf_hash(canonical(record["leaf"]))
        if record["hash"] != found.hex():
            raise Wrong(f"does not have its hash {record['hash']}", number)
        yield found, record["leaf"]


def read_checkpoints(folder: Path, key: Key) -> list[tuple[int, bytes]]:
    """Return tree size and root of each checkpoint; raise `Wrong` at the first bad one."""
    found: list[tuple[int, bytes]] = []
    for number, line in enumerate(_lines(folder / "checkpoints.jsonl")):
        try:
            record = _with_members(parse(line), "note", "number", "tree_size")
            if whole(record["number"]) != number:
                raise ValueError(f"the record holds checkpoint {record['number']}: one is missing, twice or elsewhere")
            size, root = key.open_checkpoint(record["note"])
            if record["note"].rpartition("\n\n")[2].count("\n") != 1 or not record["note"].endswith("\n"):
                raise ValueError("the note has other lines than the log's signature beneath it")
            if whole(record["tree_size"]) != size:
                raise ValueError(f"the note says tree size {size}, the record {record['tree_size']}")
            if size <= (found[-1][0] if found else 0):
                raise ValueError(f"tree size {size} is not above that of the checkpoint before")
        except MALFORMED as error:
            raise Wrong(f"checkpoint {number}: {error}") from error
        found.append((size, root))
    return found


def _with_members(record: Any, *names: str) -> dict[str, Any]:
    if sorted(record) != sorted(names):
        raise ValueError(f"has other members than {', '.join(names)}")
    return dict(record)


def whole(value: Any) -> int:
    """Return a whole number; raise ValueError for anything else, `true` among it."""
    if type(value) is not int:
        raise ValueError(f"{value!r} is no whole number")
    return value


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            for line in file:
                yield line.rstrip(b"\n")
    except OSError as error:
        raise Unreadable(f"{error.filename}: {error.strerror}") from error


def verify(folder: Path, *, pinned: str = "", kept: Sequence[str] = ()) -> Report:
    """Check an export. pinned: the key that it must have. kept: checkpoint notes that it must extend.

    Raise `Unreadable` when there is nothing to check.
    """
    report = Report()
    manifest = read_manifest(folder)
    key = Key.read(manifest["key"])
    if pinned and pinned.strip() != manifest["key"]:
        report.findings.append(Wrong(f"the export's key is {manifest['key']}, not the one given"))
    try:
        checkpoints = read_checkpoints(folder, key)
    except Wrong as wrong:
        report.findings.append(wrong)
        checkpoints = []
    known = dict(checkpoints)
    try:
        for note in kept:
            size, root = key.open_checkpoint(note)
            if known.setdefault(size, root) != root:
                raise Wrong(f"the checkpoint of {size} leaves that you kept has another root")
    except ValueError as error:
        report.findings.append(Wrong(f"the checkpoint that you kept: {error}"))
    except Wrong as wrong:
        report.findings.append(wrong)
    report.n_checkpoints = len(checkpoints)
    _check_leaves(folder, known, report)
    _check_manifest(folder, manifest, report)
    return report


def _check_leaves(folder: Path, known: dict[int, bytes], report: Report) -> None:
    """Check leaves one by one, and the tree wherever a checkpoint says its root."""
    tree, last = GrowingTree(), 0
    try:
        for index, (value, leaf) in enumerate(read_leaves(folder)):
            tree.add(value)
            try:
                report.replay.leaf(index, leaf)
            except Wrong as wrong:
                report.findings.append(wrong)
            if tree.size not in known:
                continue
            if tree.root() != known[tree.size]:
                between = f"{last} to {index}" if index > last else str(index)
                raise Wrong(f"leaves {between} do not have the signed root: one was changed, with its hash", last)
            last = tree.size
        beyond = max(known, default=0)
        if beyond > tree.size:
            raise Wrong(f"is missing: a checkpoint covers {beyond} leaves", tree.size)
        if tree.size > last:
            raise Wrong("is covered by no checkpoint", last)
        report.findings += report.replay.end()
    except Wrong as wrong:
        report.findings.append(wrong)
    report.n_leaves = tree.size
    report.findings.sort(key=lambda w: -1 if w.leaf is None else w.leaf)


def _check_manifest(folder: Path, manifest: dict[str, Any], report: Report) -> None:
    counts = {"n_leaves": report.n_leaves, "n_checkpoints": report.n_checkpoints}
    for name, value in counts.items():
        if not report.findings and manifest.get(name) != value:
            report.findings.append(Wrong(f"manifest.json says {name} {manifest.get(name)}, the export has {value}"))
    for name in FILES:
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if manifest.get("files", {}).get(name) != digest:
            report.findings.append(Wrong(f"manifest.json has another digest of {name}"))


def check_receipt(note: str, manifest: dict[str, Any], leaves: Iterable[dict[str, Any]]) -> str:
    """Return the leaf that a receipt belongs to; raise `Wrong` when it is not in the log as signed.

    The receipt of a draw also holds what the epoch committed to before it.
    """
    key = Key.read(manifest["key"])
    try:
        origin, text = key.open(note)[:2]
        receipt = json.loads(text)
    except ValueError as error:
        raise Wrong(f"receipt: {error}") from error
    if origin != f"{key.name}/receipt":
        raise Wrong("receipt: not a receipt of this log")
    epochs: dict[tuple[str, int], dict[str, Any]] = {}
    for index, leaf in enumerate(leaves):
        body = leaf["body"]
        if leaf["kind"] == "epoch":
            epochs[body["season"], body["epoch"]] = body
        if leaf["id"] == receipt.get("entry"):
            logged = {**body, "at": leaf["at"]}
            if leaf["kind"] == "draw":
                epoch = epochs.get((body["season"], body["epoch"]), {})
                logged |= {name: epoch.get(name) for name in ("seed_commitment", "weights_digest")}
            odd = sorted(name for name, value in logged.items() if name in receipt and receipt[name] != value)
            odd += sorted(body.keys() - receipt.keys())
            if odd:
                raise Wrong(f"differs from the receipt in {', '.join(odd)}", index)
            return f"leaf {index}"
    raise Wrong(f"receipt: entry {receipt.get('entry')} is not in the log")


# --- the files of a release -------------------------------------------------------------------------


def check_release(folder: Path, replay: Replay) -> str:
    """Return the release that a folder's files are; raise `Wrong` where a file, a row or a text isn't the log's."""
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    logged = [(season, body) for season in replay.seasons.values() for body in season.releases.values()]
    if not logged:
        raise Wrong("release: the log has none")
    season, body = max(logged, key=lambda one: sum(digests.get(k) == v for k, v in one[1]["files"].items()))
    odd = sorted(k for k in digests.keys() | body["files"].keys() if digests.get(k) != body["files"].get(k))
    if odd:
        raise Wrong(f"release: {odd[0]} is not in the log with this content")
    expected = season.votes[: bisect_left(season.votes, body["votes_size"], key=lambda v: v.close)]
    measured = season.overlaps_at(body["votes_size"])
    for table in TABLES:
        rows = [json.loads(line) for line in _lines(folder / f"{table}.jsonl")]
        if len(rows) != len(expected):
            raise Wrong(f"release: {table} has {len(rows)} rows; the log has {len(expected)} votes")
        for number, (row, vote) in enumerate(zip(rows, expected, strict=True), start=1):
            try:
                _compare_row(row, vote, season, body)
                _compare_overlap_of_row(row, *measured.get(vote.battle, (None, {})))
            except MALFORMED as error:
                raise Wrong(f"release: {table}, row {number}: {error}", vote.close) from error
    return f"{len(expected)} votes at tree size {body['votes_size']}, {len(digests)} files"


def _compare_row(row: dict[str, Any], vote: Vote, season: Season, release: dict[str, Any]) -> None:
    battle = season.battles[vote.battle]
    epoch, closed = battle.epoch, battle.closed
    says = {
        "season": release["season"],
        "simulated": season.policies[-1]["simulated"],
        "epoch": epoch.number,
        "draw_index": battle.draw_index,
        "p_pair": vote.probability,
        "side_swap": closed["swap"],
        "roster_hash": hashlib.sha256(canonical(epoch.roster)).hexdigest(),
        "policy_hash": epoch.policy,
        "status": _status(vote, season, release["votes_size"]),
        "leaf_index": vote.close,
        "contestant_a": vote.side_a,
        "contestant_b": vote.side_b,
        "verdict": vote.verdict,
        "voter": vote.voter,
        "answer_sha256_a": closed.get("answer_a"),
        "answer_sha256_b": closed.get("answer_b"),
    }
    odd = next((name for name, value in says.items() if row[name] != value), "")
    if odd:
        raise ValueError(f"{odd} is {row[odd]!r}; the log says {says[odd]!r}")
    if row["prompt_sha256"][0] != battle.prompt:
        raise ValueError("the prompt's hash is not that of the draw")
    if "winner" in row:
        if row["winner"] != {"a": "model_a", "b": "model_b"}.get(vote.verdict, vote.verdict):
            raise ValueError(f"winner is {row['winner']}; the verdict is {vote.verdict}")
        _open_texts(row)


def _compare_overlap_of_row(row: dict[str, Any], index: int | None, measured: dict[str, Any]) -> None:
    """Raise ValueError unless a row has what was measured; one of before overlap was measured has no such columns."""
    if not any(name.startswith(OVERLAP) for name in row):
        return
    sides = {side: measured.get(side, {}) for side in ("a", "b")}
    says = {f"overlap_{n}_{side}": one.get(n) for side, one in sides.items() for n in ("covered", "characters")}
    says["overlap_leaf_index"] = index
    says[OVERLAP] = share(sides["a"]) - share(sides["b"]) if measured else None
    odd = next((name for name, value in says.items() if row[name] != value), "")
    if odd:
        raise ValueError(f"{odd} is {row[odd]!r}; the log says {says[odd]!r}")


def _open_texts(row: dict[str, Any]) -> None:
    """Raise ValueError for a text that neither opens its hash nor is replaced by it."""
    for side in ("a", "b"):
        said = [(turn["role"], turn["content"][0]["text"]) for turn in row[f"conversation_{side}"]]
        prompts = [text for role, text in said if role == "user"]
        for text, salt, digest in zip(prompts, row["prompt_salt"], row["prompt_sha256"], strict=True):
            _open_text(text, salt, digest)
        answers = [text for role, text in said if role != "user"]
        salt, digest = row["answer_salt"], row[f"answer_sha256_{side}"]
        if answers:
            _open_text("\n\n".join(answers) if salt else answers[0], salt, digest)


def _open_text(text: str, salt: str | None, digest: str | None) -> None:
    if salt is None and text != f"sha256:{digest}":
        raise ValueError("a text without salt is not replaced by its hash")
    if salt and hashlib.sha256(bytes.fromhex(salt) + text.encode("utf-8", "surrogatepass")).hexdigest() != digest:
        raise ValueError("a text does not open its hash")


def _status(vote: Vote, season: Season, size: int) -> str:
    subjects = (("voter", vote.voter), ("battle", vote.battle))
    rules = {e[4] for e in season.exclusions.values() if (e[0], e[1]) in subjects and e[2] < size and not e[3] < size}
    if rules:
        return f"excluded:{'+'.join(sorted(rules))}"
    public = all(season.contestants[side].is_public_at(vote.draw) for side in (vote.side_a, vote.side_b))
    return "counted" if public else "pre-release"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Check an export of Fairground's log.")
    parser.add_argument("export", type=Path, help="folder written by manage.py export_log")
    parser.add_argument("--key", default="", help="public key that the log must have (name+id+base64)")
    parser.add_argument("--checkpoint", type=Path, action="append", default=[], help="a checkpoint kept earlier")
    parser.add_argument("--receipt", type=Path, action="append", default=[], help="a receipt of a draw")
    parser.add_argument("--release", type=Path, action="append", default=[], help="folder of a released data set")
    options = parser.parse_args(arguments)
    try:
        kept = [path.read_text(encoding="utf-8") for path in options.checkpoint]
        report = verify(options.export, pinned=options.key, kept=kept)
        for path in options.receipt if not report.findings else ():
            leaves = (leaf for _, leaf in read_leaves(options.export))
            try:
                where = check_receipt(path.read_text(encoding="utf-8"), read_manifest(options.export), leaves)
                print(f"receipt {path.name}: {where}")
            except Wrong as wrong:
                report.findings.append(wrong)
        for path in options.release if not report.findings else ():
            try:
                print(f"release {path.name}: {check_release(path, report.replay)}")
            except Wrong as wrong:
                report.findings.append(wrong)
    except (Unreadable, OSError) as error:
        print(f"cannot read the export: {error}", file=sys.stderr)
        return 2
    return _print(report)


def _print(report: Report) -> int:
    for wrong in report.findings[:MAX_SHOWN]:
        print(f"WRONG {wrong}")
    if len(report.findings) > MAX_SHOWN:
        print(f"… and {len(report.findings) - MAX_SHOWN} more")
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(report.replay.kinds.items()))
    print(f"{report.n_leaves} leaves ({kinds or 'none'}), {report.n_checkpoints} checkpoints")
    for slug, season in sorted(report.replay.seasons.items()):
        n_open = sum(b.close is None for b in season.battles.values())
        n_sealed = sum(not e.is_revealed for e in season.epochs)
        simulated = ", simulated" if season.policies and season.policies[-1]["simulated"] else ""
        print(
            f"season {slug}{simulated}: {len(season.votes)} votes, {len(season.battles)} draws ({n_open} open), "
            f"{len(season.epochs)} epochs ({n_sealed} not revealed yet: their pairs can't be recomputed), "
            f"{len(season.boards)} boards"
        )
    print("Nothing is wrong." if not report.findings else f"{len(report.findings)} wrong.")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
