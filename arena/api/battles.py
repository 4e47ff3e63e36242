"""REST resources of battles: start, read, ask further, vote, describe, skip, reveal, see matches; the introduction."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, ClassVar

from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from arena.api.fields import IDEMPOTENCY_KEY, PROBLEM, VOTER
from arena.api.presentation import present_battle
from arena.models import Battle, Verdict, Voter
from arena.onboarding import CHECKS
from arena.services import battles, reveal, votes
from arena.services.epochs import sequence_before_draw, standing_of
from arena.services.pool import take_prompt
from arena.services.seasons import get_season
from arena.services.voters import answer_checks, has_passed_checks, voter_token
from arena.sessions import HEADER, known_voter, voter_for
from webapp.idempotency import answer_once
from webapp.pagination import CreatedCursorPagination

NO_STORE = {"Cache-Control": "private, no-store"}


class BattleRequestSerializer(serializers.Serializer[Any]):
    """A prompt of one's own, or `from_pool`, of a category if one is named."""

    prompt = serializers.CharField(required=False, default="", allow_blank=True, trim_whitespace=False)
    from_pool = serializers.BooleanField(required=False, default=False)
    category = serializers.CharField(required=False, default="", allow_blank=True, max_length=60)
    nonce = serializers.CharField(
        required=False, default="", allow_blank=True, help_text="16 to 64 bytes in hexadecimal that enter the draw."
    )


class PromptSerializer(serializers.Serializer[Any]):
    """A further question to both."""

    prompt = serializers.CharField(trim_whitespace=False)


class VerdictSerializer(serializers.Serializer[Any]):
    """What the voter says."""

    verdict = serializers.ChoiceField(choices=Verdict.choices)


class DetailSerializer(serializers.Serializer[Any]):
    """What a voter may add to the own vote, once."""

    strength = serializers.IntegerField(required=False, allow_null=True, default=None, help_text="1 slight to 5.")
    confidence = serializers.IntegerField(required=False, allow_null=True, default=None, help_text="1 guess to 5.")
    aspects = serializers.DictField(
        child=serializers.CharField(), required=False, default=dict, help_text="Verdict by aspect."
    )
    tags = serializers.ListField(child=serializers.CharField(), required=False, default=list)
    comment = serializers.CharField(required=False, default="", allow_blank=True)


class TurnSerializer(serializers.Serializer[Any]):
    """A prompt and both answers; null while they are made, where they were erased, and in a simulated season."""

    number = serializers.IntegerField()
    prompt = serializers.CharField(allow_null=True)
    answer_a = serializers.CharField(allow_null=True)
    answer_b = serializers.CharField(allow_null=True)


class BattleSerializer(serializers.Serializer[Any]):
    """A battle. `reveal` is null before its close: contestants, ratings, experts, exact chance, others' votes."""

    id = serializers.UUIDField()
    season = serializers.CharField()
    is_simulated = serializers.BooleanField(
        help_text="A program voted: no answers were generated, so that answers, lengths and routing shares are null."
    )
    status = serializers.ChoiceField(choices=["answering", "ready", "failed", "voted", "closed"])
    is_own = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    category = serializers.CharField()
    turns = TurnSerializer(many=True)
    max_turns = serializers.IntegerField()
    vote = serializers.DictField(allow_null=True, help_text="The own verdict and when it was given.")
    receipt = serializers.CharField(help_text="Signed note: which draw this is, before the first token.")
    stream = serializers.CharField(help_text="Address of the event stream of both answers.")
    reveal = serializers.DictField(allow_null=True)


class OwnBattleSerializer(serializers.ModelSerializer[Battle]):
    """A line of one's own history."""

    season: serializers.SlugRelatedField[Any] = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    outcome = serializers.SerializerMethodField(help_text="Null while the battle is open.")

    class Meta:
        model = Battle
        fields = ["id", "season", "category", "created_at", "outcome"]

    @extend_schema_field(OpenApiTypes.STR)
    def get_outcome(self, battle: Battle) -> str | None:
        """Return how it closed."""
        return battle.close.kind if hasattr(battle, "close") else None


def _answer(battle_id: uuid.UUID, voter: Voter | None, status: int = 200) -> Response:
    battle = battles.get_battle(battle_id, voter=voter)
    return Response(present_battle(battle, voter), status=status, headers=NO_STORE)


class BattleCollection(ListAPIView[Battle]):
    """The asker's own battles."""

    serializer_class = OwnBattleSerializer
    pagination_class = CreatedCursorPagination
    queryset = Battle.objects.none()

    def get_queryset(self) -> Any:
        """Return the asker's battles."""
        voter = None if getattr(self, "swagger_fake_view", False) else known_voter(self.request)
        if voter is None:
            return Battle.objects.none()
        return Battle.objects.filter(voter=voter).select_related("season", "close")

    @extend_schema(parameters=[VOTER])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Return the asker's own battles, newest first."""
        return super().get(request, *args, **kwargs)

    @extend_schema(
        request=BattleRequestSerializer,
        parameters=[IDEMPOTENCY_KEY, VOTER],
        responses={
            202: BattleSerializer, 400: PROBLEM, 403: PROBLEM, 404: PROBLEM, 409: PROBLEM,
        },
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Draw a pair in the main season and queue both answers.

        Someone without an account gets an `Arena-Voter` header back, and sends it from then on.
        """
        asked = BattleRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        values = asked.validated_data
        season = get_season(None)
        standing = standing_of(season)
        voter = voter_for(request, season, standing.policy)
        sequence_before_draw(season, standing)

        def create() -> Response:
            battle = battles.start_battle(
                season=season,
                voter=voter,
                prompt=values["prompt"],
                nonce=values["nonce"],
                pool_prompt=take_prompt(values["category"]) if values["from_pool"] else None,
                standing=standing,
            )
            answer = _answer(battle.pk, voter, 202)
            answer["Location"] = reverse("api-arena-battle", args=[battle.pk])
            return answer

        return _known_again(answer_once(request, create), voter)


def _known_again(response: Response, voter: Voter) -> Response:
    """Give a voter without an account the header by which the next request is known."""
    if voter.user_id is None:
        response[HEADER] = voter_token(voter)
    return response


class BattleDetail(APIView):
    """One battle."""

    @extend_schema(parameters=[VOTER], responses={200: BattleSerializer, 404: PROBLEM})
    def get(self, request: Request, battle_id: uuid.UUID) -> Response:
        """Return a battle: an own one, or any that is closed."""
        return _answer(battle_id, known_voter(request))


class BattleAction(APIView):
    """Something that the voter does with an own battle; answers with the battle."""

    body: ClassVar[type[serializers.Serializer[Any]] | None] = None
    act: ClassVar[Callable[..., object]]

    def run(self, request: Request, battle_id: uuid.UUID) -> Response:
        """Check the body, act, answer with the battle as it is now."""
        values: dict[str, Any] = {}
        if self.body is not None:
            asked = self.body(data=request.data)
            asked.is_valid(raise_exception=True)
            values = dict(asked.validated_data)
        voter = known_voter(request)
        type(self).act(battle_id=battle_id, voter=voter, **values)
        return _answer(battle_id, voter)


ACTION_ANSWERS = {200: BattleSerializer, 400: PROBLEM, 404: PROBLEM, 409: PROBLEM}


class BattleTurns(BattleAction):
    """Further questions."""

    body = PromptSerializer
    act = staticmethod(battles.add_turn)

    @extend_schema(request=PromptSerializer, parameters=[VOTER], responses=ACTION_ANSWERS)
    def post(self, request: Request, battle_id: uuid.UUID) -> Response:
        """Ask both contestants a further question, before the vote."""
        return self.run(request, battle_id)


class BattleVote(BattleAction):
    """The verdict."""

    body = VerdictSerializer
    act = staticmethod(votes.cast_vote)

    @extend_schema(request=VerdictSerializer, parameters=[VOTER], responses=ACTION_ANSWERS)
    def post(self, request: Request, battle_id: uuid.UUID) -> Response:
        """Vote, or change the vote within the edit window. Nothing is revealed yet."""
        return self.run(request, battle_id)


class BattleDescription(BattleAction):
    """What the voter adds."""

    body = DetailSerializer
    act = staticmethod(votes.describe_vote)

    @extend_schema(request=DetailSerializer, parameters=[VOTER], responses=ACTION_ANSWERS)
    def post(self, request: Request, battle_id: uuid.UUID) -> Response:
        """Add strength, confidence, aspects, tags or a comment to the own vote, once."""
        return self.run(request, battle_id)


class BattleSkip(BattleAction):
    """No verdict."""

    act = staticmethod(battles.skip_battle)

    @extend_schema(request=None, parameters=[VOTER], responses=ACTION_ANSWERS)
    def post(self, request: Request, battle_id: uuid.UUID) -> Response:
        """Close without a vote."""
        return self.run(request, battle_id)


class BattleReveal(BattleAction):
    """The close."""

    act = staticmethod(battles.reveal_battle)

    @extend_schema(request=None, parameters=[VOTER], responses=ACTION_ANSWERS)
    def post(self, request: Request, battle_id: uuid.UUID) -> Response:
        """Close with the vote, which stands from here on; the answer says who wrote them."""
        return self.run(request, battle_id)


class BattleMatches(APIView):
    """Traces of both answers."""

    @extend_schema(
        request=None, parameters=[VOTER], responses={202: BattleSerializer, 400: PROBLEM, 404: PROBLEM, 409: PROBLEM}
    )
    def post(self, request: Request, battle_id: uuid.UUID) -> Response:
        """Trace both answers of a closed battle; `reveal` names the traces."""
        voter = known_voter(request)
        reveal.trace_answers(battles.get_battle(battle_id, voter=voter))
        return _answer(battle_id, voter, 202)


class CheckSerializer(serializers.Serializer[Any]):
    """A check of the introduction with its options by id."""

    id = serializers.CharField()
    question = serializers.CharField()
    options = serializers.DictField(child=serializers.CharField())


class OnboardingSerializer(serializers.Serializer[Any]):
    """The checks, whether the asker has passed, and after answering why an answer is wrong."""

    checks = CheckSerializer(many=True)
    has_passed = serializers.BooleanField()
    wrong = serializers.DictField(child=serializers.CharField(), help_text="Explanation by check.")


class OnboardingAnswerSerializer(serializers.Serializer[Any]):
    """The chosen option of every check."""

    answers = serializers.DictField(child=serializers.CharField())


class Onboarding(APIView):
    """The introduction's checks."""

    @extend_schema(parameters=[VOTER], responses={200: OnboardingSerializer})
    def get(self, request: Request) -> Response:
        """Return the checks, without the right options."""
        voter = known_voter(request)
        return Response(_onboarding(voter is not None and has_passed_checks(voter), []), headers=NO_STORE)

    @extend_schema(
        request=OnboardingAnswerSerializer,
        parameters=[VOTER],
        responses={200: OnboardingSerializer, 400: PROBLEM, 403: PROBLEM, 404: PROBLEM},
    )
    def post(self, request: Request) -> Response:
        """Answer all checks. Someone without an account gets an `Arena-Voter` header back."""
        asked = OnboardingAnswerSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        voter = voter_for(request)
        wrong = answer_checks(voter=voter, answers=asked.validated_data["answers"])
        return _known_again(Response(_onboarding(not wrong, wrong), headers=NO_STORE), voter)


def _onboarding(has_passed: bool, wrong: list[str]) -> dict[str, Any]:
    return {
        "checks": [{"id": c.id, "question": c.question, "options": dict(c.options)} for c in CHECKS],
        "has_passed": has_passed,
        "wrong": {c.id: c.why for c in CHECKS if c.id in wrong},
    }
