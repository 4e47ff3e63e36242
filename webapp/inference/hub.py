"""Fetching a published checkpoint from the Hugging Face hub. Safetensors and small text files only."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webapp.inference.announcing import Announce, say_nothing
from webapp.inference.errors import CheckpointError

PATTERNS = ("*.safetensors", "*.json", "*.jinja", "README.md", "LICENSE*")
_ADVICE = "Download it on a machine with a network and give its folder instead"


@dataclass(frozen=True)
class HubCheckpoint:
    """A published checkpoint on disk; `revision` is the commit it is of."""

    hub_id: str
    revision: str
    folder: Path


def fetch_from_hub(
    hub_id: str,
    folder: Path,
    *,
    revision: str | None = None,
    endpoint: str | None = None,
    announce: Announce = say_nothing,
) -> HubCheckpoint:
    """Download `hub_id` (owner/name) to `folder`; an interrupted download is resumed by the next call.

    Announces the size before anything is downloaded. CheckpointError says why it cannot be had:
    no network, no such repository, no access, no safetensors, no space.
    """
    from huggingface_hub import HfApi, snapshot_download

    try:
        info = HfApi(endpoint=endpoint).model_info(hub_id, revision=revision, files_metadata=True)
        _check_files(hub_id, info, folder, announce)
        snapshot_download(hub_id, revision=info.sha, local_dir=folder, allow_patterns=list(PATTERNS), endpoint=endpoint)
    except CheckpointError:
        raise
    except Exception as error:  # the library raises its own, its HTTP client's and the system's errors
        raise CheckpointError(Path(hub_id), _explain(hub_id, error)) from error
    return HubCheckpoint(hub_id, str(info.sha), folder)


def _check_files(hub_id: str, info: Any, folder: Path, announce: Announce) -> None:
    weights = [file for file in info.siblings or () if file.rfilename.endswith(".safetensors")]
    if not weights:
        raise CheckpointError(Path(hub_id), "has no .safetensors file; other formats are not read")
    n_bytes = sum(file.size or 0 for file in weights)
    folder.mkdir(parents=True, exist_ok=True)
    have = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    free = shutil.disk_usage(folder).free
    announce(f"downloads {n_bytes / 1e9:.2f} GB of {hub_id} at {info.sha}; {free / 1e9:.2f} GB are free on disk")
    if n_bytes - have > free:
        raise CheckpointError(
            Path(hub_id), f"needs {n_bytes / 1e9:.2f} GB of disk; {free / 1e9:.2f} GB are free at {folder}"
        )


def _explain(hub_id: str, error: Exception) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return f"needs access: accept its terms on the hub, then set HF_TOKEN. {_ADVICE}"
    if isinstance(error, errors.RevisionNotFoundError):
        return "has no such revision on the hub"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "is not on the hub, or is private: check the name, or set HF_TOKEN"
    if isinstance(error, errors.HFValidationError):
        return "is no valid hub id; it looks like owner/name"
    first = str(error).strip().partition("\n")[0]
    return f"cannot be fetched from the hub ({type(error).__name__}: {first}). {_ADVICE}"
