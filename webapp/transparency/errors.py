"""Errors of the log.

FairgroundError
├── LogDamagedError  (500)   what is stored does not fit the last checkpoint
└── NotFoundError    (404)   no such entry or checkpoint
"""

from __future__ import annotations

from webapp.errors import FairgroundError


class LogDamagedError(FairgroundError):
    """Stored leaves, nodes or checkpoints contradict each other; nothing is signed until that is cleared."""

    status = 500
    code = "log-damaged"
