"""Documents of the demonstration corpora: docstrings and topics of packages installed on this machine.

One document per module, class or function. The order is that of sorted paths and of the
source, and texts seen before are left out, so the same packages give the same documents.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
import platform
import pydoc_data.topics
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from webapp.demo.corpora import DEMO_CORPORA, STANDARD_LIBRARY, DemoCorpus

__all__ = ["DEMO_CORPORA", "DemoCorpus", "harvest_corpus", "write_corpus_file"]

MIN_CHARACTERS = 120
MIN_SOURCE_CHARACTERS, MAX_SOURCE_CHARACTERS = 400, 120_000
MAX_CORPUS_CHARACTERS = 14_000_000
SKIPPED_FOLDERS = frozenset(
    {
        *("test", "tests", "testing", "site-packages", "__pycache__", "idlelib", "lib2to3", "_vendor", "turtledemo"),
        "encodings",  # tables of code points
    }
)
Document = dict[str, Any]
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def harvest_corpus(slug: str, *, max_characters: int | None = None) -> Iterator[Document]:
    """Yield the documents of one corpus: {id, text, title, licence, url, metadata}.

    Ends after `max_characters`, by default `MAX_CORPUS_CHARACTERS`, or the corpus's own.
    Raises `KeyError` for an unknown slug.
    """
    corpus = {corpus.slug: corpus for corpus in DEMO_CORPORA}[slug]
    limit = min(corpus.max_characters, MAX_CORPUS_CHARACTERS if max_characters is None else max_characters)
    seen: set[bytes] = set()
    n_characters = 0
    for document in _all_documents(corpus):
        body = document["text"].split("\n", 1)[-1].strip()
        digest = hashlib.sha256(body.encode()).digest()
        if digest in seen:
            continue
        seen.add(digest)
        n_characters += len(document["text"])
        if n_characters > limit:
            return
        yield document


def write_corpus_file(slug: str, folder: Path) -> Path:
    """Write a corpus's documents as JSON lines, whole or not at all; return the file."""
    file = folder / f"{slug}.jsonl"
    partial = file.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as out:
        for document in harvest_corpus(slug):
            out.write(json.dumps(document, ensure_ascii=False, sort_keys=True) + "\n")
    partial.replace(file)
    return file


def _all_documents(corpus: DemoCorpus) -> Iterator[Document]:
    """Yield every docstring of every package first, then the source files where the corpus has them."""
    places = [place for package in corpus.packages if (place := _place(*package, corpus.licence))]
    if STANDARD_LIBRARY in corpus.packages:
        yield from _topics(places[0][2])
    for root, module, facts in places:
        yield from _docstrings(root, module, facts)
    if corpus.with_source:
        for root, module, facts in places:
            yield from _sources(root, module, facts)


def _topics(facts: dict[str, str]) -> Iterator[Document]:
    """Yield the language reference's sections that `help()` shows."""
    for name, text in sorted(pydoc_data.topics.topics.items()):
        if len(text) >= MIN_CHARACTERS:
            yield _document(f"topic:{name}", f"Python topic: {name}\n\n{text.strip()}\n", "pydoc_data/topics.py", facts)


def _place(module: str, distribution: str, fallback_licence: str) -> tuple[Path, str, dict[str, str]] | None:
    """Return a package's folder, import name and facts; None where it is not installed."""
    if (module, distribution) == STANDARD_LIBRARY:
        facts = {"package": "python", "version": platform.python_version(), "licence": "PSF-2.0"}
        return Path(sysconfig.get_paths()["stdlib"]), "", {**facts, "url": "https://docs.python.org/3/"}
    try:
        installed = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
    metadata = installed.metadata
    facts = {
        "package": distribution,
        "version": installed.version,
        "licence": _licence(metadata, fallback_licence),
        "url": _homepage(metadata),
    }
    return Path(str(installed.locate_file(module))), module, facts


def _licence(metadata: Any, fallback: str) -> str:
    """Return the licence expression of a package: PEP 639's field, else its classifier, else a short field."""
    expression = metadata.get("License-Expression")
    if expression:
        return str(expression)
    for classifier in metadata.get_all("Classifier") or []:
        if classifier.startswith("License :: OSI Approved :: "):
            return str(classifier.rsplit(" :: ", 1)[-1])
    short = (metadata.get("License") or "").strip()
    return short if 0 < len(short) < 60 else fallback


def _homepage(metadata: Any) -> str:
    for entry in metadata.get_all("Project-URL") or []:
        label, _, url = entry.partition(",")
        if label.strip().lower() in {"documentation", "homepage", "docs"}:
            return str(url.strip())
    return str(metadata.get("Home-page") or "")


def _docstrings(root: Path, module: str, facts: dict[str, str]) -> Iterator[Document]:
    for path in _python_files(root):
        relative = path.relative_to(root)
        dotted, where = _names(relative, module)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError, OSError):
            continue
        docstring = ast.get_docstring(tree)
        if docstring and len(docstring) >= MIN_CHARACTERS:
            yield _document(dotted, f"module {dotted}\n\n{docstring.strip()}\n", where, facts)
        yield from _definitions(tree, dotted, where, facts)


def _sources(root: Path, module: str, facts: dict[str, str]) -> Iterator[Document]:
    """Yield whole modules of moderate size as documents."""
    for path in _python_files(root):
        dotted, where = _names(path.relative_to(root), module)
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        if MIN_SOURCE_CHARACTERS <= len(text) <= MAX_SOURCE_CHARACTERS:
            yield _document(f"source:{dotted}", f"# {where}\n{text.strip()}\n", where, facts)


def _names(relative: Path, module: str) -> tuple[str, str]:
    """Return the dotted name and the path within the package of one file."""
    dotted = ".".join(filter(None, [module, *relative.with_suffix("").parts])).removesuffix(".__init__")
    return dotted, f"{module}/{relative.as_posix()}".lstrip("/")


def _python_files(root: Path) -> Iterator[Path]:
    for entry in sorted(root.iterdir()):
        if entry.is_dir():
            if entry.name not in SKIPPED_FOLDERS and not entry.is_symlink():
                yield from _python_files(entry)
        elif entry.suffix == ".py" and not entry.name.startswith("_sysconfigdata"):  # tables of the build
            yield entry


def _definitions(node: ast.AST, prefix: str, where: str, facts: dict[str, str]) -> Iterator[Document]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Definition):
            continue
        name = f"{prefix}.{child.name}"
        docstring = ast.get_docstring(child)
        if docstring and len(docstring) >= MIN_CHARACTERS:
            yield _document(name, f"{_signature(child, name)}\n\n{docstring.strip()}\n", where, facts)
        yield from _definitions(child, name, where, facts)


def _signature(node: Definition, name: str) -> str:
    if isinstance(node, ast.ClassDef):
        return f"class {name}"
    return f"def {name}({ast.unparse(node.args)})"


def _document(name: str, text: str, path: str, facts: dict[str, str]) -> Document:
    text = text.encode("utf-8", "replace").decode()
    return {
        "id": hashlib.sha256(f"{facts['package']}\n{path}\n{name}\n{text}".encode()).hexdigest()[:16],
        "text": text,
        "title": name,
        "licence": facts["licence"],
        "url": facts["url"],
        "metadata": {"package": facts["package"], "version": facts["version"], "path": path, "name": name},
    }
