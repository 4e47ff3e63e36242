"""REST resources of the log: entries, checkpoints, proofs, the key, and the whole log as one file.

All of it is open to everybody; nothing here changes anything.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse, StreamingHttpResponse
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from webapp.transparency.archive import archive_of, in_threads
from webapp.transparency.exports import verifier_digest
from webapp.transparency.keys import verifier
from webapp.transparency.kinds import KINDS
from webapp.transparency.models import Checkpoint, Entry
from webapp.transparency.proofs import (
    ConsistencyProof,
    InclusionProof,
    find_entry,
    newest_checkpoint,
    prove_consistency,
    prove_inclusion,
    require_checkpoint,
)

MAX_PAGE = 1_000
PROBLEM = OpenApiResponse(OpenApiTypes.OBJECT, description="problem+json: what happened and what to do")


class PageQuery(serializers.Serializer[Any]):
    """Which entries a page holds."""

    start = serializers.IntegerField(min_value=0, max_value=2**63 - 1, default=0, help_text="First leaf index.")
    page_size = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=100)
    kind = serializers.ChoiceField(choices=sorted(KINDS), required=False, help_text="Only entries of this kind.")


class InclusionQuery(serializers.Serializer[Any]):
    """The tree of a proof."""

    tree_size = serializers.IntegerField(
        min_value=1, max_value=2**63 - 1, required=False, help_text="By default that of the newest checkpoint."
    )


class ConsistencyQuery(serializers.Serializer[Any]):
    """Two trees."""

    first = serializers.IntegerField(min_value=1, max_value=2**63 - 1)
    second = serializers.IntegerField(
        min_value=1, max_value=2**63 - 1, required=False, help_text="By default that of the newest checkpoint."
    )


@extend_schema_field(OpenApiTypes.STR)
class HexField(serializers.Field[bytes, str, str, Any]):
    """A hash in lower-case hexadecimal."""

    def to_representation(self, value: bytes) -> str:
        """Return the hexadecimal digits."""
        return bytes(value).hex()


class LogEntrySerializer(serializers.ModelSerializer[Entry]):
    """An entry. SHA-256 of the byte 0 and the bytes of `canonical` is `leaf_hash`."""

    index = serializers.IntegerField(allow_null=True, help_text="Leaf index; null in the first second.")
    leaf = serializers.SerializerMethodField(help_text="docs/log-format.md explains the fields of each kind.")
    canonical = serializers.CharField(source="leaf", help_text="The leaf's bytes (RFC 8785).")
    leaf_hash = HexField()
    proof = serializers.SerializerMethodField(help_text="Address of its proof of inclusion.")

    class Meta:
        model = Entry
        fields = ["id", "index", "kind", "at", "leaf", "canonical", "leaf_hash", "proof"]

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_leaf(self, entry: Entry) -> Any:
        """Return the leaf as JSON."""
        return json.loads(entry.leaf)

    def get_proof(self, entry: Entry) -> str:
        """Return the address of the proof."""
        return reverse("api-log-proof", args=[entry.id])


class LogEntryPageSerializer(serializers.Serializer[Any]):
    """A page of entries in the order of their index."""

    tree_size = serializers.IntegerField(help_text="Number of leaves.")
    next = serializers.CharField(allow_null=True, help_text="Address of the next page.")
    entries = LogEntrySerializer(many=True)


class LogCheckpointSerializer(serializers.ModelSerializer[Checkpoint]):
    """A signed checkpoint; `note` is a C2SP signed note."""

    root_hash = HexField()

    class Meta:
        model = Checkpoint
        fields = ["number", "tree_size", "root_hash", "note", "created_at"]


class LogCheckpointPageSerializer(serializers.Serializer[Any]):
    """A page of checkpoints, oldest first."""

    next = serializers.CharField(allow_null=True, help_text="Address of the next page.")
    checkpoints = LogCheckpointSerializer(many=True)


class LogInclusionSerializer(serializers.Serializer[InclusionProof]):
    """A proof of inclusion (RFC 6962, 2.1.1); `hashes` from the leaf up."""

    index = serializers.IntegerField()
    tree_size = serializers.IntegerField()
    leaf_hash = HexField(source="leaf")
    root_hash = HexField(source="root")
    hashes = serializers.ListField(child=HexField())
    checkpoint = serializers.SerializerMethodField(help_text="Signed note of this tree size, where there is one.")

    def get_checkpoint(self, proof: InclusionProof) -> str | None:
        """Return the note."""
        return proof.checkpoint.note if proof.checkpoint else None


class LogConsistencySerializer(serializers.Serializer[ConsistencyProof]):
    """A proof of consistency (RFC 6962, 2.1.2)."""

    first = serializers.IntegerField()
    second = serializers.IntegerField()
    first_root = HexField()
    second_root = HexField()
    hashes = serializers.ListField(child=HexField())


class LogKeySerializer(serializers.Serializer[Any]):
    """The public key of checkpoints and receipts."""

    name = serializers.CharField(help_text="The log's name: first line of a checkpoint.")
    key = serializers.CharField(help_text="name+id+base64, as tools of C2SP read it.")
    algorithm = serializers.CharField()
    public_key = HexField()
    verifier = serializers.CharField(help_text="Address of the offline verifier, one Python file.")
    verifier_sha256 = serializers.CharField(help_text="Of that file; exports hold the same one.")


def _query(serializer: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    asked = serializer(data=request.query_params)
    asked.is_valid(raise_exception=True)
    return dict(asked.validated_data)


def _next(name: str, rows: list[Any], asked: dict[str, Any], start: int) -> str | None:
    """Return the address of the next page when there is one row more than asked for."""
    if len(rows) <= asked["page_size"]:
        return None
    return f"{reverse(name)}?{urlencode({**asked, 'start': start})}"


class LogEntryList(APIView):
    """Entries."""

    @extend_schema(operation_id="log_entries_list", parameters=[PageQuery], responses=LogEntryPageSerializer)
    def get(self, request: Request) -> Response:
        """Return entries from a leaf index on; follow `next` to mirror the log."""
        asked = _query(PageQuery, request)
        newest = newest_checkpoint()
        size = newest.tree_size if newest else 0
        found = Entry.objects.filter(index__gte=asked["start"], index__lt=size).order_by("index")
        if "kind" in asked:
            found = found.filter(kind=asked["kind"])
        rows = list(found[: asked["page_size"] + 1])
        following = _next("api-log-entries", rows, asked, rows[-1].index or 0) if rows else None
        page = {"tree_size": size, "next": following, "entries": rows[: asked["page_size"]]}
        return Response(LogEntryPageSerializer(page).data)


ENTRY = OpenApiParameter("entry", str, OpenApiParameter.PATH, description="Id or leaf index of an entry.")


class LogEntryDetail(APIView):
    """One entry."""

    @extend_schema(
        operation_id="log_entries_retrieve", parameters=[ENTRY], responses={200: LogEntrySerializer, 404: PROBLEM}
    )
    def get(self, request: Request, entry: str) -> Response:
        """Return an entry by its id or its leaf index."""
        return Response(LogEntrySerializer(find_entry(entry)).data)


class LogEntryProof(APIView):
    """Proof of inclusion."""

    @extend_schema(
        parameters=[ENTRY, InclusionQuery], responses={200: LogInclusionSerializer, 400: PROBLEM, 404: PROBLEM}
    )
    def get(self, request: Request, entry: str) -> Response:
        """Prove that an entry stands in the log of a tree size."""
        asked = _query(InclusionQuery, request)
        return Response(LogInclusionSerializer(prove_inclusion(find_entry(entry), asked.get("tree_size"))).data)


class LogCheckpointList(APIView):
    """Checkpoints."""

    @extend_schema(
        operation_id="log_checkpoints_list",
        parameters=[
            OpenApiParameter("start", int, description="First checkpoint number."),
            OpenApiParameter("page_size", int, description=f"At most {MAX_PAGE}."),
        ],
        responses=LogCheckpointPageSerializer,
    )
    def get(self, request: Request) -> Response:
        """Return checkpoints from a number on, oldest first."""
        asked = _query(PageQuery, request)
        asked.pop("kind", None)
        rows = list(Checkpoint.objects.filter(number__gte=asked["start"]).order_by("number")[: asked["page_size"] + 1])
        following = _next("api-log-checkpoints", rows, asked, rows[-1].number) if rows else None
        page = {"next": following, "checkpoints": rows[: asked["page_size"]]}
        return Response(LogCheckpointPageSerializer(page).data)


class LogCheckpointDetail(APIView):
    """One checkpoint."""

    @extend_schema(operation_id="log_checkpoints_retrieve", responses={200: LogCheckpointSerializer, 404: PROBLEM})
    def get(self, request: Request, tree_size: int) -> Response:
        """Return the checkpoint of a tree size."""
        return Response(LogCheckpointSerializer(require_checkpoint(tree_size)).data)


class LogCheckpointNewest(APIView):
    """The newest checkpoint."""

    @extend_schema(responses={(200, "text/plain"): OpenApiTypes.STR, 404: PROBLEM})
    def get(self, request: Request) -> HttpResponse:
        """Return the newest checkpoint as the signed note itself (C2SP tlog-checkpoint)."""
        response = HttpResponse(require_checkpoint().note, content_type="text/plain; charset=utf-8")
        response["Cache-Control"] = "no-cache"
        return response


class LogConsistency(APIView):
    """Proof of consistency."""

    @extend_schema(parameters=[ConsistencyQuery], responses={200: LogConsistencySerializer, 400: PROBLEM, 404: PROBLEM})
    def get(self, request: Request) -> Response:
        """Prove that an earlier log is the beginning of a later one."""
        return Response(LogConsistencySerializer(prove_consistency(**_query(ConsistencyQuery, request))).data)


class LogKey(APIView):
    """The public key."""

    @extend_schema(responses=LogKeySerializer)
    def get(self, request: Request) -> Response:
        """Return the key with which checkpoints and receipts are checked, and the digest of the offline verifier."""
        key = verifier()
        shown = {
            "name": key.name,
            "key": key.to_text(),
            "algorithm": "Ed25519",
            "public_key": key.public,
            "verifier": request.build_absolute_uri(reverse("transparency:offline-verifier")),
            "verifier_sha256": verifier_digest(),
        }
        return Response(LogKeySerializer(shown).data)


class LogExport(APIView):
    """The whole log."""

    @extend_schema(responses={(200, "application/zip"): OpenApiTypes.BINARY, 404: PROBLEM})
    def get(self, request: Request) -> StreamingHttpResponse:
        """Return leaves, checkpoints, key and verifier as one zip file, up to the newest checkpoint."""
        last = require_checkpoint()
        response = StreamingHttpResponse(in_threads(archive_of(last)), content_type="application/zip")
        response["Content-Disposition"] = f'attachment; filename="log-{last.tree_size}.zip"'
        return response
