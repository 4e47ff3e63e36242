"""The kinds of job there are, for checks, metrics and the operator's page."""

from __future__ import annotations

from typing import Any

from tracer.models import Bulletin, Trace
from webapp.playground.models import Generation

JOB_MODELS: dict[str, Any] = {"trace": Trace, "generation": Generation, "bulletin": Bulletin}
