"""Tracing without a web site: corpora to indexes, texts to spans and documents.

Knows nothing of Django, Celery or HTTP; may be used from a notebook.
"""

from tracer.engine.adoption import adopt_index
from tracer.engine.build import ShardProgress, assemble_index, build_index, build_shard
from tracer.engine.corpora import Disclosure, SearchableCorpus
from tracer.engine.corpus_files import CorpusDocument, CorpusPart, find_corpus_files, read_corpus_file, read_slice
from tracer.engine.errors import (
    CorpusFileError,
    DiskFullError,
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
from tracer.engine.layout import Manifest, read_manifest
from tracer.engine.memory import TraceMemory
from tracer.engine.parameters import Boundaries, RankBy, TraceParameters
from tracer.engine.pipeline import covered_characters, preview_spans, trace_text
from tracer.engine.reader import IndexReader, StoredDocument, Verification, validate_index
from tracer.engine.relevance import Relevance
from tracer.engine.results import FoundDocument, Match, Span, TraceResult
from tracer.engine.samples import add_samples
from tracer.engine.stock import StockEngine

__all__ = [
    "Boundaries",
    "CorpusDocument",
    "CorpusFileError",
    "CorpusPart",
    "Disclosure",
    "DiskFullError",
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
    "ShardProgress",
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
    "add_samples",
    "adopt_index",
    "assemble_index",
    "build_index",
    "build_shard",
    "covered_characters",
    "find_corpus_files",
    "preview_spans",
    "read_corpus_file",
    "read_manifest",
    "read_slice",
    "trace_text",
    "validate_index",
]
