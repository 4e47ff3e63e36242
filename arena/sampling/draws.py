"""The draw of a pair and its sides from a committed seed, a draw index and the client's nonce.

The seed is committed before the epoch's first draw and revealed at its end. The client brings the
nonce, so that whoever holds the seed cannot choose outcomes in advance; the draw index is used
once, so that the client cannot try again.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from fractions import Fraction

from arena.sampling.errors import DrawError
from arena.sampling.weights import Pair, WeightTable

SEED_BYTES = 32
MIN_NONCE_BYTES = 16
MAX_NONCE_BYTES = 64
_WORDS = 3  # 64-bit numbers of one HMAC that may choose the pair; the fourth holds the swap


@dataclass(frozen=True)
class Draw:
    """One drawn battle.

    pair: smaller id first. swap: whether the first of the pair sits on side b. probability: exact
    chance of the unordered pair under the table (sides are swapped with chance ½ on top).
    """

    pair: Pair
    swap: bool
    probability: Fraction

    @property
    def side_a(self) -> str:
        """The contestant on side a."""
        return self.pair[1] if self.swap else self.pair[0]

    @property
    def side_b(self) -> str:
        """The contestant on side b."""
        return self.pair[0] if self.swap else self.pair[1]


def new_seed() -> bytes:
    """Return a fresh epoch seed of 32 bytes from the system's random source."""
    return secrets.token_bytes(SEED_BYTES)


def commit_seed(seed: bytes) -> str:
    """Return the commitment to an epoch seed: SHA-256 as 64 hexadecimal digits."""
    _check_seed(seed)
    return hashlib.sha256(seed).hexdigest()


def opens_commitment(seed: bytes, commitment: str) -> bool:
    """Say whether a revealed seed is the one that was committed to."""
    return hmac.compare_digest(commit_seed(seed), commitment)


def draw_pair(table: WeightTable, *, seed: bytes, draw_index: int, nonce: bytes) -> Draw:
    """Return the battle of a draw index. The same arguments always give the same draw.

    seed: 32 bytes. draw_index: 0 ≤ index < 2**64. nonce: the client's 16 to 64 bytes. Raise
    `DrawError` when one is of another form.
    """
    _check_seed(seed)
    if isinstance(draw_index, bool) or not isinstance(draw_index, int) or not 0 <= draw_index < 2**64:
        raise DrawError(f"draw index {draw_index!r} is not a whole number from 0 to 2**64 - 1")
    if not MIN_NONCE_BYTES <= len(nonce) <= MAX_NONCE_BYTES:
        raise DrawError(f"a nonce has {MIN_NONCE_BYTES} to {MAX_NONCE_BYTES} bytes, not {len(nonce)}")
    limit = 2**64 - 2**64 % table.total  # numbers from here on would favour the first pairs
    for block in range(2**32):
        message = draw_index.to_bytes(8, "big") + block.to_bytes(4, "big") + nonce
        digest = hmac.digest(seed, message, "sha256")
        for word in range(_WORDS):
            number = int.from_bytes(digest[8 * word : 8 * word + 8], "big")
            if number < limit:
                pair = table.pair_at(number % table.total)
                return Draw(pair, swap=bool(digest[31] & 1), probability=table.probability(pair))
    raise DrawError("no number was accepted in 2**32 blocks")  # chance below 2**-(2**33)


def _check_seed(seed: bytes) -> None:
    if len(seed) != SEED_BYTES:
        raise DrawError(f"an epoch seed has {SEED_BYTES} bytes, not {len(seed)}")
