"""The small files beside the weights that turn text to tokens and end an answer."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from webapp.inference.card import read_json
from webapp.inference.errors import CheckpointError


def read_tokenizer(path: Path, vocab_size: int) -> Tokenizer:
    """The folder's tokenizer.json, without padding or truncation; it may not know more ids than the model."""
    file = path / "tokenizer.json"
    if not file.is_file():
        raise CheckpointError(file, "is missing; copy the tokenizer.json that the model was trained with")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise CheckpointError(file, f"is not a tokenizer ({error})") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if tokenizer.get_vocab_size() > vocab_size:
        raise CheckpointError(
            file,
            f"has {tokenizer.get_vocab_size()} tokens, but the model only {vocab_size}; it is another model's",
        )
    return tokenizer


def eos_token_ids(path: Path, configured: object, vocab_size: int) -> frozenset[int]:
    """Tokens that end an answer, from generation_config.json and config.json."""
    found = configured
    if (path / "generation_config.json").is_file():
        found = read_json(path / "generation_config.json").get("eos_token_id", found)
    ids = found if isinstance(found, list) else [found]
    return frozenset(token for token in ids if isinstance(token, int) and 0 <= token < vocab_size)
