"""Battles: their start, further turns, and the one close of every draw index."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

from arena import answers
from arena.models import Battle, BattleClose, BattleTurn, CloseKind, PoolPrompt, Season, TurnText, Vote, Voter
from arena.services.draws import SaltedText, checked_nonce, draw_battle
from arena.services.epochs import Standing, next_draw, reveal_finished_epochs, sequence_before_draw, standing_of
from arena.services.overlaps import request_overlap
from arena.services.seasons import rules_of
from arena.services.voters import check_eligible
from webapp.errors import BadInputError, ConflictError, FairgroundError, NotFoundError
from webapp.text import storable
from webapp.transparency.services import append_entry, salted_text_hash
from webapp.transparency.soundness import require_sound

log = structlog.get_logger(__name__)
MAX_PROMPT_CHARACTERS = 20_000
#: Who wrote the answers, as the reveal tells it.
WRITERS = tuple(f"contestant_{side}__{name}" for side in answers.SIDES for name in ("provider", "checkpoint"))
#: Of a battle with its season, epoch and rules; an epoch's table of weights, above all, stays where it is.
NEEDED_TO_ACT = (
    *("draw_index", "voter", "contestant_a", "contestant_b", "created_at"),
    *("season__slug", "epoch__number", "epoch__policy__rules"),
)


def start_battle(
    *,
    season: Season,
    voter: Voter,
    prompt: str = "",
    nonce: str = "",
    pool_prompt: PoolPrompt | None = None,
    standing: Standing | None = None,
) -> Battle:
    """Draw a pair for a prompt, write the draw to the log, sign its receipt, and queue both answers.

    nonce: the client's 16 to 64 bytes in hexadecimal; empty lets the server choose one. standing: from
    a caller that holds a transaction and has called `sequence_before_draw` before it. The draw stands
    whatever happens next: an answer that cannot be made closes it as an error. Raises
    `BadInputError`, `ForbiddenError` for voters the policy keeps out, `ConflictError` while another
    battle of the voter is open or fewer than two contestants are there, `LogUnsoundError` while the
    log is known to be damaged.
    """
    require_sound()
    is_sequenced = standing is not None
    standing = standing or standing_of(season)
    check_eligible(voter, rules_of(standing.policy))
    for left in Battle.objects.unclosed().filter(season=season, voter=voter):
        settle_battle(left)
    text = _checked_prompt(pool_prompt.text if pool_prompt else prompt)
    nonce = checked_nonce(nonce)
    if not is_sequenced:
        sequence_before_draw(season, standing)
    with transaction.atomic():
        epoch, draw_index = next_draw(season)
        if Battle.objects.unclosed().filter(season=season, voter=voter).exists():
            raise ConflictError("You have an open battle. Vote on it or skip it first.", code="open-battle")
        salted = SaltedText.of(text)
        battle = draw_battle(
            epoch=epoch,
            draw_index=draw_index,
            voter=voter,
            prompt=salted,
            nonce=nonce,
            pool_prompt=pool_prompt,
        )
        _start_turn(battle, salted, earlier=[])
    return battle


def _checked_prompt(prompt: str) -> str:
    text = storable(prompt)
    if not text.strip():
        raise BadInputError("The prompt is empty. Write one, or take one from the pool.", field="prompt")
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise BadInputError(
            f"The prompt has {len(text)} characters; at most {MAX_PROMPT_CHARACTERS} are taken.", field="prompt"
        )
    return text


def _start_turn(battle: Battle, prompt: SaltedText, *, earlier: list[BattleTurn]) -> None:
    """Queue both answers of a turn; when one cannot be made the battle closes as an error, uncounted."""
    turn = BattleTurn(battle=battle, number=len(earlier) + 1, prompt_hash=prompt.digest)
    prompts = [*(t.text.prompt for t in earlier), prompt.text]
    failure = ""
    try:
        turn.generation_a, turn.generation_b = answers.start_sides(battle, prompts, earlier)
    except FairgroundError as error:
        log.warning("an answer could not be started", battle=str(battle.id), error=error.message)
        turn.generation_a = turn.generation_b = None
        failure = "answer-not-possible"
    turn.save(force_insert=True)
    TurnText.objects.create(turn=turn, prompt=prompt.text, salt=prompt.salt)
    if failure:
        close_battle(battle_id=battle.id, kind=CloseKind.ERROR, reason=failure)


def get_battle(battle_id: uuid.UUID | str, *, voter: Voter | None) -> Battle:
    """Return a battle that this asker may read: an own one, or any that is closed.

    Raises `NotFoundError` alike for none and for another's open battle.
    """
    battle = (
        Battle.objects.select_related("season", "epoch__policy", *WRITERS, "close", "voter")
        .defer("epoch__table")
        .filter(pk=battle_id)
        .first()
    )
    if battle is None or (not hasattr(battle, "close") and (voter is None or battle.voter_id != voter.pk)):
        raise NotFoundError("There is no such battle, or it is still open and somebody else's.")
    return battle


def is_closed(battle: Battle) -> bool:
    """Tell whether a battle has its close, after which all of it may be shown."""
    return BattleClose.objects.filter(battle_id=battle.pk).exists()


def own_open_battle(battle_id: uuid.UUID | str, *, voter: Voter | None) -> Battle:
    """Return the voter's own battle, locked until the transaction ends. Raises `ConflictError` when it is closed."""
    own = Battle.objects.filter(pk=battle_id, voter=voter).select_related("season", "epoch__policy").order_by()
    locked = own.only(*NEEDED_TO_ACT).select_for_update(of=("self",)) if voter else Battle.objects.none()
    battle: Battle | None = locked.first()
    if battle is None or voter is None:
        raise NotFoundError("There is no such battle of yours.")
    battle.voter = voter
    if is_closed(battle):
        raise ConflictError("The battle is closed; nothing about it changes any more.", code="closed")
    return battle


def add_turn(*, battle_id: uuid.UUID | str, voter: Voter | None, prompt: str) -> Battle:
    """Ask both contestants a further question. Not after the vote, nor before both answers are there."""
    text = _checked_prompt(prompt)
    with transaction.atomic():
        battle = own_open_battle(battle_id, voter=voter)
        turns = answers.turns_of(battle)
        if battle.votes.exists():
            raise ConflictError("You have voted: no further question can be asked.", code="voted")
        if not answers.are_ready(turns):
            raise ConflictError("An answer is still being made. Ask when both are there.", code="not-ready")
        limit = rules_of(battle.epoch.policy).max_turns
        if len(turns) >= limit:
            raise ConflictError(f"A battle has at most {limit} turns. Vote now.", code="too-many-turns")
        _start_turn(battle, SaltedText.of(text), earlier=turns)
    return battle


def skip_battle(*, battle_id: uuid.UUID | str, voter: Voter | None) -> Battle:
    """Close one's own battle without a vote; nothing is counted and nobody minds."""
    with transaction.atomic():
        battle = own_open_battle(battle_id, voter=voter)
        if battle.votes.exists():
            raise ConflictError("You have voted on this battle. Reveal it instead.", code="voted")
        close_battle(battle_id=battle.pk, kind=CloseKind.SKIP)
    return battle


def reveal_battle(*, battle_id: uuid.UUID | str, voter: Voter | None) -> Battle:
    """Close one's own battle with its vote: from here on the vote stands and the names are shown."""
    with transaction.atomic():
        battle = own_open_battle(battle_id, voter=voter)
        if not battle.votes.exists():
            raise ConflictError("Vote first; the names are shown after that.", code="not-voted")
        close_battle(battle_id=battle.pk, kind=CloseKind.VOTE)
    return battle


def close_battle(*, battle_id: uuid.UUID, kind: str, reason: str = "") -> BattleClose:
    """Write the one close of a draw index, with the pair; open the answers; rate again when it was a vote."""
    with transaction.atomic():
        found = Battle.objects.select_related("season", "epoch__policy").defer("epoch__table")
        battle = found.select_for_update(of=("self",)).get(pk=battle_id)
        known = BattleClose.objects.filter(battle=battle).first()
        if known is not None:
            return known
        turns = answers.turns_of(battle)
        body = _close_body(battle, kind, reason)
        salt = ""
        if turns and answers.are_ready(turns) and answers.generations_of(turns):
            texts = {side: answers.side_text(turns, side) for side in answers.SIDES}
            raw, body["answer_a"] = salted_text_hash(texts["a"])
            body["answer_b"] = salted_text_hash(texts["b"], raw)[1]
            body["features"] = {side: asdict(answers.count_style(text)) for side, text in texts.items()}
            salt = raw.hex()
        entry = append_entry(kind="close", body=body)
        close = BattleClose.objects.create(battle=battle, kind=kind, reason=reason, salt=salt, entry=entry)
        if kind != CloseKind.VOTE:
            answers.cancel(turns)
        answers.unseal(turns)
        if kind == CloseKind.VOTE:
            from arena.services.recompute import request_recompute

            request_overlap(battle)
            request_recompute(battle.season)
    return close


def _close_body(battle: Battle, kind: str, reason: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "season": battle.season.slug,
        "epoch": battle.epoch.number,
        "draw_index": battle.draw_index,
        "battle": str(battle.id),
        "outcome": str(kind),
        "side_a": str(battle.contestant_a_id),
        "side_b": str(battle.contestant_b_id),
        "swap": battle.is_swapped,
        "probability": f"{battle.p_numerator}/{battle.p_denominator}",
    }
    slices = {name: getattr(battle, name) for name in ("category", "discipline", "language") if getattr(battle, name)}
    if battle.voter.community:
        slices["community"] = battle.voter.community
    if slices:
        body["slices"] = slices
    if reason:
        body["reason"] = reason
    if kind == CloseKind.VOTE:
        body["vote"] = str(Vote.objects.current().get(battle=battle).entry_id)
    return body


def settle_battle(battle: Battle) -> bool:
    """Close an open battle as an error when one of its answers failed; tell whether it is closed now."""
    if is_closed(battle):
        return True
    if not battle.votes.exists() and answers.has_failed(answers.turns_of(battle)):
        close_battle(battle_id=battle.pk, kind=CloseKind.ERROR, reason="answer-failed")
        return True
    return False


def close_left_battles(season: Season) -> int:
    """Close what voters left: voted battles after the edit window, others after the published time."""
    now = timezone.now()
    n_closed = 0
    unclosed = Battle.objects.unclosed().filter(season=season)
    for battle in unclosed.select_related("epoch__policy"):
        rules = rules_of(battle.epoch.policy)
        first = battle.votes.order_by("created_at").first()
        if first is not None and first.created_at < now - timedelta(seconds=rules.edit_window_s):
            close_battle(battle_id=battle.pk, kind=CloseKind.VOTE)
        elif first is None and answers.has_failed(answers.turns_of(battle)):
            close_battle(battle_id=battle.pk, kind=CloseKind.ERROR, reason="answer-failed")
        elif first is None and _last_touched(battle) < now - timedelta(seconds=rules.abandon_after_s):
            close_battle(battle_id=battle.pk, kind=CloseKind.ABANDONED)
        else:
            continue
        n_closed += 1
    reveal_finished_epochs(season)
    return n_closed


def _last_touched(battle: Battle) -> Any:
    latest = battle.turns.order_by("-number").first()
    return latest.created_at if latest else battle.created_at
