"""Corpora, their indexes, traces and takedowns."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from tracer.engine.tokens import FOLDED_BYTES, PLAIN_BYTES
from tracer.remote_client import RemoteServer
from webapp.identifiers import slug_of_name, uuid7
from webapp.jobs import FINAL, Job, JobQuerySet
from webapp.ownership import Owned, OwnedManager


class DisclosureChoice(models.TextChoices):
    """How much of a corpus people may see."""

    FULL = "full", "documents can be read"
    SNIPPET = "snippet", "matches with a little context"
    COUNTS = "counts", "owner, licence and counts only"


class CorpusQuerySet(models.QuerySet["Corpus"]):
    """Reads of corpora."""

    def traceable(self) -> CorpusQuerySet:
        """Return the corpora with an enabled index, here or on their owner's server."""
        here = Index.objects.filter(corpus=models.OuterRef("pk"), is_enabled=True)
        elsewhere = RemoteIndex.objects.filter(corpus=models.OuterRef("pk"), is_enabled=True)
        return self.filter(models.Exists(here) | models.Exists(elsewhere))

    def indexed_here(self) -> CorpusQuerySet:
        """Return the corpora with an enabled index on this site."""
        return self.filter(models.Exists(Index.objects.filter(corpus=models.OuterRef("pk"), is_enabled=True)))


class Corpus(models.Model):
    """A named set of documents with owner, licence, provenance and disclosure."""

    slug = models.SlugField(max_length=60, unique=True)
    title = models.CharField(max_length=200)
    owner = models.CharField(max_length=200)
    licence = models.CharField(max_length=200)
    disclosure = models.CharField(max_length=10, choices=DisclosureChoice.choices, default=DisclosureChoice.FULL)
    provenance = models.TextField(blank=True, default="")
    owner_group = models.ForeignKey(
        "auth.Group",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="Its members see the corpus in full.",
    )
    file = models.CharField(max_length=500, help_text="Corpus file or folder, relative to the data folder.")
    files = models.JSONField(
        default=list, blank=True, help_text="Each file's path, name, size and bytes when decompressed, in order."
    )
    digest = models.CharField(
        max_length=64,
        blank=True,
        default="",
        help_text="SHA-256 of its file, of its files' digests, or of its index.",
    )
    n_documents = models.PositiveBigIntegerField()
    created_at = models.DateTimeField(default=timezone.now)

    objects = CorpusQuerySet.as_manager()

    class Meta:
        ordering = ["slug"]
        verbose_name_plural = "corpora"

    def __str__(self) -> str:
        return self.slug

    def get_absolute_url(self) -> str:
        """Return the address of the corpus's page."""
        return reverse("tracer:corpus-detail", args=[self.slug])

    @property
    def owner_slug(self) -> str:
        """Return what stands for its owner in addresses."""
        return slug_of_name(self.owner)

    @property
    def is_here(self) -> bool:
        """Tell whether its documents are on this site; a remote corpus's stay with their owner."""
        return bool(self.digest or self.file)


class Index(models.Model):
    """One immutable build over a corpus. `path` is relative to the data folder unless absolute."""

    corpus = models.ForeignKey(Corpus, on_delete=models.PROTECT, related_name="indexes")
    path = models.CharField(max_length=500)
    digest = models.CharField(max_length=64, unique=True)
    tokenizer_digest = models.CharField(max_length=64)
    n_tokens = models.PositiveBigIntegerField()
    n_documents = models.PositiveBigIntegerField()
    n_shards = models.PositiveIntegerField()
    is_enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["corpus", "created_at"]
        verbose_name_plural = "indexes"

    def __str__(self) -> str:
        return f"{self.corpus.slug}@{self.digest[:12]}"

    @property
    def unit(self) -> str:
        """Return what its tokens are, in words."""
        return {PLAIN_BYTES: "bytes", FOLDED_BYTES: "bytes, case folded"}.get(self.tokenizer_digest, "tokens")

    @property
    def folder(self) -> Path:
        """Return the folder of the index's files."""
        return Path(settings.DATA_DIR) / self.path


class IndexBuild(Job):
    """An index in the making: one job a shard, in any process that sees the data folder.

    `fraction_at_start` is how much was done when it was started or resumed, for the time left.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    corpus = models.ForeignKey(Corpus, on_delete=models.CASCADE, related_name="builds")
    index = models.ForeignKey(Index, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    is_bytes = models.BooleanField(default=False)
    folds_case = models.BooleanField(default=False)
    n_shards = models.PositiveIntegerField()
    n_bytes = models.PositiveBigIntegerField(help_text="Of text, decompressed.")
    fraction_at_start = models.FloatField(default=0.0)

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def folder(self) -> Path:
        """Return the folder of its unfinished files."""
        return Path(settings.DATA_DIR) / "indexes" / self.corpus.slug / f"building-{self.id}"


class ShardBuild(Job):
    """One shard in the making: the text in bytes [begin, end) of the corpus."""

    build = models.ForeignKey(IndexBuild, on_delete=models.CASCADE, related_name="shards")
    number = models.PositiveIntegerField()
    begin = models.PositiveBigIntegerField()
    end = models.PositiveBigIntegerField()
    n_bytes_done = models.PositiveBigIntegerField(default=0)
    n_documents = models.PositiveBigIntegerField(default=0)
    stage = models.CharField(max_length=10, blank=True, default="")

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["build", "number"]
        constraints = [models.UniqueConstraint(fields=["build", "number"], name="one_build_per_shard")]

    def __str__(self) -> str:
        return f"{self.build_id}/{self.number}"


class RemoteIndex(models.Model):
    """An index on its owner's server, asked by address at every trace. Only the name of its key's variable is kept."""

    corpus = models.ForeignKey(Corpus, on_delete=models.CASCADE, related_name="remotes")
    kind = models.CharField(max_length=20)
    url = models.CharField(max_length=500)
    name = models.CharField(max_length=200)
    key_env = models.CharField(max_length=100, blank=True, default="")
    timeout_s = models.FloatField(default=10.0)
    is_enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["created_at"]
        verbose_name_plural = "remote indexes"

    def __str__(self) -> str:
        return f"{self.corpus.slug} at {self.kind}"

    @property
    def server(self) -> RemoteServer:
        """Return how to ask it."""
        return RemoteServer(self.kind, self.url, self.name, self.key_env, self.timeout_s)


class TraceBatch(Owned, Job):
    """Texts traced as one job."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    n_texts = models.PositiveIntegerField()

    objects = OwnedManager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "trace batches"

    def __str__(self) -> str:
        return str(self.id)

    @property
    def n_finished(self) -> int:
        """Return how many of its traces have ended."""
        return self.traces.filter(status__in=FINAL).count()


class Trace(Owned, Job):
    """One text × a set of indexes × one parameter set; immutable once done. `number` is its place in a batch."""

    batch = models.ForeignKey(TraceBatch, null=True, blank=True, on_delete=models.CASCADE, related_name="traces")
    number = models.PositiveIntegerField(default=0)
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    text = models.TextField()
    prompt = models.TextField(blank=True, default="")
    corpora = models.JSONField(help_text="Slugs of the corpora to search, in order.")
    parameters = models.JSONField()
    result = models.JSONField(null=True, blank=True)
    #: Its place in the queue, on the object that asking for it returned.
    position: int | None = None

    objects = OwnedManager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return str(self.id)

    def get_absolute_url(self) -> str:
        """Return the permalink of the trace."""
        return reverse("tracer:trace-detail", args=[self.id])


class Takedown(models.Model):
    """A document hidden everywhere; the tombstone keeps the reason, and the salts of both hashes in the log."""

    log_id = models.UUIDField(default=uuid7, editable=False)
    corpus = models.ForeignKey(Corpus, on_delete=models.PROTECT, related_name="takedowns")
    document_key = models.CharField(max_length=500)
    reason = models.TextField()
    document_salt = models.BinaryField(default=bytes, editable=False)
    reason_salt = models.BinaryField(default=bytes, editable=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["corpus", "document_key"], name="one_takedown_per_document")]

    def __str__(self) -> str:
        return f"{self.corpus.slug}/{self.document_key}"


class Benchmark(Owned):
    """Items whose words are looked for in corpora. One with a slug is the site's own, for everybody to name."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.SlugField(max_length=60, unique=True, null=True, blank=True)
    title = models.CharField(max_length=200)
    field = models.CharField(max_length=100, help_text="Of each JSON line, the field that was measured.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of its items.")
    n_items = models.PositiveIntegerField()
    n_windows = models.JSONField(help_text="Of each item, in order.")
    created_at = models.DateTimeField(default=timezone.now)

    objects = OwnedManager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.slug or str(self.id)


class BenchmarkItem(models.Model):
    """One item of a benchmark; `number` is its place, from 0."""

    benchmark = models.ForeignKey(Benchmark, on_delete=models.CASCADE, related_name="items")
    number = models.PositiveIntegerField()
    key = models.CharField(max_length=200)
    text = models.TextField(blank=True)

    class Meta:
        ordering = ["benchmark", "number"]
        constraints = [models.UniqueConstraint(fields=["benchmark", "number"], name="one_item_per_number")]

    def __str__(self) -> str:
        return f"{self.benchmark_id}/{self.number}"


class Bulletin(Owned, Job):
    """A benchmark measured against corpora: how many of its items stand there."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    benchmark = models.ForeignKey(Benchmark, on_delete=models.PROTECT, related_name="bulletins")

    objects = OwnedManager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return str(self.id)

    def get_absolute_url(self) -> str:
        """Return the permalink of the bulletin."""
        return reverse("tracer:bulletin-detail", args=[self.id])

    @property
    def lacks_a_corpus(self) -> bool:
        """Tell whether a corpus could not be measured to its end."""
        return self.parts.exclude(unavailable="").exists()


class BulletinPart(models.Model):
    """One corpus of a bulletin. `found` has the windows found of each item measured so far, in order.

    What is stored is what its author may see; `tracer.disclosure` decides again when it is shown.
    """

    bulletin = models.ForeignKey(Bulletin, on_delete=models.CASCADE, related_name="parts")
    corpus = models.SlugField(max_length=60)
    index = models.CharField(max_length=64, blank=True, default="", help_text="Digest of the index that was searched.")
    unit = models.CharField(max_length=20, blank=True, default="", help_text="What the index is made of.")
    found = models.JSONField(default=list)
    n_undecided = models.PositiveIntegerField(default=0, help_text="Windows that would have cost too much.")
    examples = models.JSONField(default=list)
    unavailable = models.TextField(blank=True, default="", help_text="Why it could not be measured.")

    class Meta:
        ordering = ["bulletin", "corpus"]
        constraints = [models.UniqueConstraint(fields=["bulletin", "corpus"], name="one_part_per_corpus")]

    def __str__(self) -> str:
        return f"{self.bulletin_id}/{self.corpus}"
