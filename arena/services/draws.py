"""A draw: the pair for a battle, its log entry, and the receipt that the client gets first."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef

from arena.models import Battle, Contestant, Epoch, PoolPrompt, RosterChange, RosterKind, Visibility, Voter
from arena.sampling import Draw, draw_pair
from arena.sampling.draws import MAX_NONCE_BYTES, MIN_NONCE_BYTES
from arena.services.epochs import table_of
from webapp.errors import BadInputError
from webapp.identifiers import uuid7
from webapp.transparency.models import Entry
from webapp.transparency.services import append_entry, format_time, salted_text_hash, sign_receipt


@dataclass(frozen=True)
class SaltedText:
    """A text, the salt kept beside it, and the hash that the log holds. Both in hexadecimal."""

    text: str
    salt: str
    digest: str

    @classmethod
    def of(cls, text: str) -> SaltedText:
        """Salt a text afresh."""
        salt, digest = salted_text_hash(text)
        return cls(text, salt.hex(), digest)


def checked_nonce(nonce: str) -> str:
    """Return the client's nonce in lower-case hexadecimal, or a fresh one for an empty string."""
    if not nonce:
        return secrets.token_hex(MIN_NONCE_BYTES)
    try:
        n_bytes = len(bytes.fromhex(nonce))
    except ValueError:
        n_bytes = 0
    if len(nonce) != 2 * n_bytes or not MIN_NONCE_BYTES <= n_bytes <= MAX_NONCE_BYTES:
        raise BadInputError(
            f"The nonce must be {MIN_NONCE_BYTES} to {MAX_NONCE_BYTES} bytes in hexadecimal, or empty.", field="nonce"
        )
    return nonce.lower()


def draw_battle(
    *, epoch: Epoch, draw_index: int, voter: Voter, prompt: SaltedText, nonce: str, pool_prompt: PoolPrompt | None
) -> Battle:
    """Draw the pair of an index and store the battle with its log entry and receipt, in the caller's transaction."""
    seed = bytes.fromhex(epoch.seed)
    draw = draw_pair(table_of(epoch), seed=seed, draw_index=draw_index, nonce=bytes.fromhex(nonce))
    contestant_a, contestant_b = _contestants(draw)
    battle_id = uuid7()
    body = {
        "season": epoch.season.slug,
        "epoch": epoch.number,
        "draw_index": draw_index,
        "battle": str(battle_id),
        "nonce": nonce,
        "prompt": prompt.digest,
        "voter": voter.digest(epoch.season),
    }
    entry = append_entry(kind="draw", body=body)
    return Battle.objects.create(
        id=battle_id,
        season=epoch.season,
        epoch=epoch,
        draw_index=draw_index,
        nonce=nonce,
        voter=voter,
        contestant_a=contestant_a,
        contestant_b=contestant_b,
        is_swapped=draw.swap,
        p_numerator=str(draw.probability.numerator),
        p_denominator=str(draw.probability.denominator),
        is_pre_release=any(map(_is_under_test, (contestant_a, contestant_b))),
        pool_prompt=pool_prompt,
        category=pool_prompt.category if pool_prompt else "",
        discipline=pool_prompt.discipline if pool_prompt else "",
        language=pool_prompt.language if pool_prompt else "",
        receipt=sign_receipt(_receipt(body, epoch, entry)),
        entry=entry,
    )


def _receipt(body: dict[str, Any], epoch: Epoch, entry: Entry) -> dict[str, Any]:
    """Return what the client can later hold against the log: the draw, the commitment, the table."""
    return {
        **body,
        "entry": str(entry.id),
        "at": format_time(entry.at),
        "seed_commitment": epoch.commitment,
        "weights_digest": epoch.table_digest,
    }


def _contestants(draw: Draw) -> tuple[Contestant, Contestant]:
    """Return the contestants of sides a and b with their checkpoint, one object where it is the same."""
    launches = RosterChange.objects.filter(contestant=OuterRef("pk"), kind=RosterKind.LAUNCHED)
    rows = Contestant.objects.select_related("checkpoint").annotate(is_launched=Exists(launches))
    found = rows.in_bulk([uuid.UUID(draw.side_a), uuid.UUID(draw.side_b)])
    a, b = found[uuid.UUID(draw.side_a)], found[uuid.UUID(draw.side_b)]
    if a.checkpoint_id == b.checkpoint_id:
        b.checkpoint = a.checkpoint
    return a, b


def _is_under_test(contestant: Contestant) -> bool:
    """Tell whether it is a private variant that was not launched yet."""
    return contestant.visibility == Visibility.PRIVATE and not contestant.is_launched  # type: ignore[attr-defined]
