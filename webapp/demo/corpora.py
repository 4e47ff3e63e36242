"""What the demonstration corpora are: whose packages, under which licence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DemoCorpus:
    """One corpus of the demonstration.

    `packages` maps import names to distribution names; the standard library has none. Where docstrings
    are few, `with_source` adds the modules themselves as documents. It ends after `max_characters`.
    """

    slug: str
    title: str
    owner: str
    licence: str
    packages: tuple[tuple[str, str], ...]
    with_source: bool = False
    max_characters: int = 6_000_000


STANDARD_LIBRARY = ("", "")

DEMO_CORPORA = (
    DemoCorpus(
        "stdlib",
        "Python standard library",
        "Python Software Foundation",
        "PSF-2.0",
        (STANDARD_LIBRARY,),
        with_source=True,
        max_characters=14_000_000,  # the public model is trained on it, and small models learn what they see most
    ),
    DemoCorpus(
        "web",
        "Django and the web stack",
        "Django Software Foundation and others",
        "BSD-3-Clause",
        (
            ("django", "Django"),
            ("rest_framework", "djangorestframework"),
            ("drf_spectacular", "drf-spectacular"),
            ("celery", "celery"),
            ("kombu", "kombu"),
            ("redis", "redis"),
            ("psycopg", "psycopg"),
            ("uvicorn", "uvicorn"),
            ("asgiref", "asgiref"),
            ("whitenoise", "whitenoise"),
            ("structlog", "structlog"),
        ),
        with_source=True,
    ),
    DemoCorpus(
        "numerics",
        "NumPy and SciPy",
        "NumPy and SciPy developers",
        "BSD-3-Clause",
        (("numpy", "numpy"), ("scipy", "scipy")),
    ),
    DemoCorpus(
        "learning",
        "PyTorch and transformers",
        "PyTorch and transformers contributors",
        "BSD-3-Clause and Apache-2.0",
        (("torch", "torch"), ("transformers", "transformers"), ("safetensors", "safetensors")),
    ),
    DemoCorpus("symbolic", "SymPy", "SymPy developers", "BSD-3-Clause", (("sympy", "sympy"), ("mpmath", "mpmath"))),
)
