"""Tracing without a web site: corpora to indexes, texts to spans and documents.

Knows nothing of Django, Celery or HTTP; may be used from a notebook.
"""

from tracer.engine.adoption import adopt_index
from tracer.engine.build import BuildProgress, build_index
from tracer.engine.corpus_files import CorpusDocument, read_corpus_file
from tracer.engine.errors import (
    CorpusFileError,
    EngineError,
    IndexFileError,
    ParameterError,
    StockBusyError,
    StockCrashError,
    StockEngineError,
    StockMissingError,
    StockRefusedError,
    TraceCancelledError,
)
from tracer.engine.layout import Manifest
from tracer.engine.memory import TraceMemory
from tracer.engine.parameters import Boundaries, RankBy, TraceParameters
from tracer.engine.pipeline import Disclosure, SearchableCorpus, preview_spans, trace_text
from tracer.engine.reader import IndexReader, StoredDocument, Verification, validate_index
from tracer.engine.relevance import Relevance
from tracer.engine.results import FoundDocument, Match, Span, TraceResult
from tracer.engine.stock import StockEngine

__all__ = [
    "Boundaries",
    "BuildProgress",
    "CorpusDocument",
    "CorpusFileError",
    "Disclosure",
    "EngineError",
    "FoundDocument",
    "IndexFileError",
    "IndexReader",
    "Manifest",
    "Match",
    "ParameterError",
    "RankBy",
    "Relevance",
    "SearchableCorpus",
    "Span",
    "StockBusyError",
    "StockCrashError",
    "StockEngine",
    "StockEngineError",
    "StockMissingError",
    "StockRefusedError",
    "StoredDocument",
    "TraceCancelledError",
    "TraceMemory",
    "TraceParameters",
    "TraceResult",
    "Verification",
    "adopt_index",
    "build_index",
    "preview_spans",
    "read_corpus_file",
    "trace_text",
    "validate_index",
]
