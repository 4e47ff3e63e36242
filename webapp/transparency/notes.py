"""Signed notes (C2SP signed-note) and checkpoints (C2SP tlog-checkpoint) with Ed25519.

A note is a text that ends in a line feed, an empty line, and signature lines
`— <key name> base64(key id ‖ signature)`. A checkpoint's text is origin, tree size and root, one
a line. Knows nothing of databases or settings.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ED25519 = b"\x01"
DASH = "\u2014"


class NoteError(ValueError):
    """A note or key of the wrong form, or a signature that does not hold."""


@dataclass(frozen=True)
class Verifier:
    """A named public key."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell keys of one name apart."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def to_text(self) -> str:
        """Return the key as other tools of C2SP read it: name+id+base64."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    @classmethod
    def from_text(cls, text: str) -> Verifier:
        """Read `to_text`; raise `NoteError` when it is not a key."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise NoteError("the public key is not base64") from error
        verifier = cls(name, raw[1:])
        if raw[:1] != _ED25519 or len(raw) != 33 or verifier.key_id.hex() != key_id:
            raise NoteError("the public key's id does not belong to it")
        return verifier

    def open(self, note: str) -> str:
        """Return the text of a note; raise `NoteError` unless this key signed it."""
        text, separator, signatures = note.rpartition("\n\n")
        text += "\n"
        if not separator:
            raise NoteError("the note has no signature")
        for line in signatures.splitlines():
            signature = self._signature(line)
            if signature is not None:
                try:
                    Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
                except InvalidSignature as error:
                    raise NoteError(f"the signature of {self.name} does not hold") from error
                return text
        raise NoteError(f"the note is not signed by {self.name}")

    def _signature(self, line: str) -> bytes | None:
        parts = line.split(" ")
        if len(parts) != 3 or parts[:2] != [DASH, self.name]:
            return None
        try:
            raw = base64.b64decode(parts[2], validate=True)
        except binascii.Error:
            return None
        return raw[4:] if raw[:4] == self.key_id else None


@dataclass(frozen=True)
class Signer:
    """A private key; its name carries the key's own fingerprint, so that no two logs share a name."""

    seed: bytes

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        public = Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()
        return Verifier(f"fairground/{hashlib.sha256(public).hexdigest()[:16]}", public)

    def sign(self, text: str) -> str:
        """Return `text`, which ends in a line feed, as a signed note."""
        if not text.endswith("\n") or "\r" in text:
            raise NoteError("a note's text ends in a line feed and has no carriage return")
        verifier = self.verifier
        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())
        encoded = base64.b64encode(verifier.key_id + signature).decode()
        return f"{text}\n{DASH} {verifier.name} {encoded}\n"


def checkpoint_text(origin: str, tree_size: int, root: bytes) -> str:
    """Return the text of a checkpoint."""
    return f"{origin}\n{tree_size}\n{base64.b64encode(root).decode()}\n"


def parse_checkpoint(text: str) -> tuple[str, int, bytes]:
    """Return origin, tree size and root of a checkpoint's text; raise `NoteError` when it is not one."""
    lines = text.split("\n")
    try:
        origin, size, encoded = lines[:3]
        root = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error) as error:
        raise NoteError("not a checkpoint: origin, tree size and root stand on three lines") from error
    if len(root) != 32 or not size.isascii() or not size.isdecimal() or str(int(size)) != size:
        raise NoteError("not a checkpoint: tree size or root is malformed")
    return origin, int(size), root
