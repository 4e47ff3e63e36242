"""Errors of the log.

FairgroundError
├── LogDamagedError  (500)   what is stored does not fit the last checkpoint
├── LogUnsoundError  (503)   this process has found that, and takes no votes until it is mended
└── NotFoundError    (404)   no such entry or checkpoint
"""

from __future__ import annotations

from webapp.errors import BusyError, FairgroundError


class LogDamagedError(FairgroundError):
    """Stored leaves, nodes or checkpoints contradict each other; nothing is signed until that is cleared."""

    status = 500
    code = "log-damaged"


class LogUnsoundError(BusyError):
    """No vote is taken while the stored log is not the one that was signed."""

    code = "log-unsound"
