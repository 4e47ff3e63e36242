"""The one settings module. Every value that an operator may change comes from the environment."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from webapp.environment import check_names, read_secret_key
from webapp.limit_settings import LAPTOP, PRODUCTION, read_limits
from webapp.logs import logging_config
from webapp.sign_in import ELSEWHERE, social_providers

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
check_names(os.environ)


def _read(kind: str, name: str, default: Any) -> Any:
    """Read one variable; a value of the wrong type names the variable and the type expected."""
    try:
        return getattr(env, kind)(name, default=default)
    except (ValueError, environ.ImproperlyConfigured) as error:
        raise ImproperlyConfigured(f"{name}={os.environ.get(name)!r} is not a valid {kind}: {error}") from error


DATA_DIR = Path(_read("str", "FAIRGROUND_DATA_DIR", str(BASE_DIR / "var"))).expanduser().resolve()
DATABASE_URL = _read("str", "DATABASE_URL", "")
REDIS_URL = _read("str", "REDIS_URL", "")
EMBEDDED = not REDIS_URL
DEBUG = _read("bool", "FAIRGROUND_DEBUG", False)
SECRET_KEY = read_secret_key(
    _read("str", "FAIRGROUND_SECRET_KEY", ""), DATA_DIR, production=bool(DATABASE_URL or REDIS_URL)
)
ALLOWED_HOSTS = _read("list", "FAIRGROUND_ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = _read("list", "FAIRGROUND_CSRF_TRUSTED_ORIGINS", [])
LOG_LEVEL = _read("str", "FAIRGROUND_LOG_LEVEL", "INFO").upper()
LOG_KEY = _read("str", "FAIRGROUND_LOG_KEY", "")
DEFAULT_CHECKPOINT = _read("str", "FAIRGROUND_DEFAULT_CHECKPOINT", "")
MAX_GENERATION_TOKENS = _read("int", "FAIRGROUND_MAX_GENERATION_TOKENS", 1024)
MAX_TRACE_CHARACTERS = _read("int", "FAIRGROUND_MAX_TRACE_CHARACTERS", 100_000)
STALE_AFTER_S = _read("float", "FAIRGROUND_STALE_AFTER_S", 120.0)
SLOW_TRACE_MS = _read("float", "FAIRGROUND_SLOW_TRACE_MS", 2000.0)
NGRAM_TIMEOUT_S = _read("float", "FAIRGROUND_NGRAM_TIMEOUT_S", 10.0)
MINIMUM_SHOWN_COUNT = _read("int", "FAIRGROUND_MINIMUM_SHOWN_COUNT", 10)
INFERENCE_DEVICE = _read("str", "FAIRGROUND_DEVICE", "auto")
REMOTE_PRIVATE_HOSTS = _read("list", "FAIRGROUND_REMOTE_PRIVATE_HOSTS", [])
RESIDENT_EXPERTS = _read("list", "FAIRGROUND_RESIDENT_EXPERTS", [])
INFERENCE_ROWS = _read("int", "FAIRGROUND_ROWS", 0)
INFERENCE_CACHE_GB = _read("float", "FAIRGROUND_CACHE_GB", 0.0)
INFERENCE_THREADS = _read("int", "FAIRGROUND_THREADS", 0)
INFERENCE_MULTIPLY = _read("str", "FAIRGROUND_MULTIPLY", "auto")
INFERENCE_DTYPE = _read("str", "FAIRGROUND_DTYPE", "auto")
SIGNUP = _read("str", "FAIRGROUND_SIGNUP", "open")
EMAIL_URL = _read("str", "FAIRGROUND_EMAIL_URL", "")
LIMITS = read_limits(_read("str", "FAIRGROUND_LIMITS", ""), LAPTOP if EMBEDDED else PRODUCTION)
MAX_STREAMS = _read("int", "FAIRGROUND_MAX_STREAMS", 20)
TOKENIZER_FOLDERS = _read("list", "FAIRGROUND_TOKENIZERS", [])
MAX_WAITING = _read("int", "FAIRGROUND_MAX_WAITING", 1000)
RELEASE_LICENCE = _read("str", "FAIRGROUND_RELEASE_LICENCE", "https://creativecommons.org/licenses/by/4.0/")
METRICS_TOKEN = _read("str", "FAIRGROUND_METRICS_TOKEN", "")
TRUSTED_PROXIES = _read("int", "FAIRGROUND_TRUSTED_PROXIES", 0)
HTTPS = _read("bool", "FAIRGROUND_HTTPS", False)

if LOG_LEVEL not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
    raise ImproperlyConfigured(
        f"FAIRGROUND_LOG_LEVEL={LOG_LEVEL!r} is unknown. Use DEBUG, INFO, WARNING, ERROR or CRITICAL."
    )
if SIGNUP not in {"open", "closed"}:
    raise ImproperlyConfigured(f"FAIRGROUND_SIGNUP={SIGNUP!r} is unknown. Use open or closed.")
if STALE_AFTER_S < 2:
    raise ImproperlyConfigured(f"FAIRGROUND_STALE_AFTER_S={STALE_AFTER_S} is too short: jobs show life each second.")
if HTTPS and not TRUSTED_PROXIES:
    raise ImproperlyConfigured(
        "FAIRGROUND_HTTPS is on, but this server speaks plain HTTP and no proxy is trusted: every page would redirect "
        "to itself. Put a proxy with TLS in front and set FAIRGROUND_TRUSTED_PROXIES=1, or unset FAIRGROUND_HTTPS."
    )
if REDIS_URL and urlsplit(REDIS_URL).scheme not in {"redis", "rediss", "unix"}:
    raise ImproperlyConfigured("REDIS_URL must look like redis://host:6379/0.")

#: What besides the engines must hear at once that an owner opted out or in; each catches up by itself too.
OPT_OUT_FOLLOWERS = ("arena.services.optouts.follow_opt_outs",)

SOCIALACCOUNT_PROVIDERS = social_providers({name: _read("str", name, "") for name in ELSEWHERE})
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    *(f"allauth.socialaccount.providers.{name}" for name in SOCIALACCOUNT_PROVIDERS),  # others would fail when asked
    "allauth.mfa",
    "allauth.usersessions",
    "knox",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "template_partials",
    "csp",
    "webapp",
    "webapp.accounts",
    "webapp.transparency",
    "tracer",
    "webapp.playground",
    "arena",
    "webapp.operations",
]

MIDDLEWARE = [
    "webapp.operations.health.probe_middleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "webapp.middleware.RequestIdMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "webapp.limits.LimitMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "csp.middleware.CSPMiddleware",
    "webapp.problems.wrong_method_middleware",
]

ROOT_URLCONF = "webapp.urls"
ASGI_APPLICATION = "webapp.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]


def _databases() -> dict[str, dict[str, Any]]:
    """SQLite tuned for one web process by default; PostgreSQL through psycopg's pool when a URL is given."""
    if not DATABASE_URL:
        DATA_DIR.mkdir(parents=True, exist_ok=True)
        return {
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": DATA_DIR / "fairground.sqlite3",
                "OPTIONS": {
                    "transaction_mode": "IMMEDIATE",
                    "timeout": 20,
                    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
                },
            }
        }
    try:
        database: dict[str, Any] = dict(env.db_url("DATABASE_URL"))
    except (ValueError, environ.ImproperlyConfigured) as error:
        raise ImproperlyConfigured(
            f"DATABASE_URL is not a database address: {error}. Example: postgres://user:password@host:5432/name"
        ) from error
    if "postgresql" not in database["ENGINE"]:
        raise ImproperlyConfigured("DATABASE_URL must be postgres://…; leave it unset to use SQLite.")
    database["CONN_MAX_AGE"] = 0
    database["CONN_HEALTH_CHECKS"] = True  # a connection that PostgreSQL's restart broke costs nobody an answer
    database.setdefault("OPTIONS", {})["pool"] = {"min_size": 1, "max_size": 8, "timeout": 10}
    return {"default": database}


DATABASES = _databases()
CACHES = {
    "default": {"BACKEND": "webapp.shared_cache.SharedRedisCache", "LOCATION": REDIS_URL}
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}

LANGUAGE_CODE = "en"
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "accounts:overview"
LOGOUT_REDIRECT_URL = "home"
ACCOUNT_ADAPTER = "webapp.accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"} if EMAIL_URL else {"username"}
ACCOUNT_SIGNUP_FIELDS = [*(["email*"] if EMAIL_URL else []), "username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory" if EMAIL_URL else "none"
ACCOUNT_USERNAME_BLACKLIST = ["admin", "operator", "fairground", "anonymous", "system"]
ACCOUNT_USERNAME_MIN_LENGTH = 2
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_LOGOUT_ON_GET = False
SOCIALACCOUNT_LOGIN_ON_GET = False
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "Fairground"
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXIES
KNOX_TOKEN_MODEL = "accounts.ApiToken"  # noqa: S105 (a model's name)
# Its tokens are ours: knox's own table, which nothing would use, is not made.
MIGRATION_MODULES = {"knox": None}
REST_KNOX = {"AUTH_HEADER_PREFIX": "Bearer", "TOKEN_PREFIX": "fg_", "TOKEN_TTL": timedelta(days=30)}
if EMAIL_URL:
    try:
        vars().update(env.email_url_config(EMAIL_URL))
    except (KeyError, ValueError) as error:
        raise ImproperlyConfigured(
            "FAIRGROUND_EMAIL_URL is not an address of a mail server. Example: smtp+tls://user:password@host:587"
        ) from error
    DEFAULT_FROM_EMAIL = _read("str", "FAIRGROUND_EMAIL_FROM", "fairground@localhost")

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "webapp.problems.csrf_failure"
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^metrics$"]
SECURE_HSTS_SECONDS = 365 * 86400 if HTTPS else 0
# Only where a proxy of ours replaces the header may it be believed.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS and TRUSTED_PROXIES else None
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440

REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "webapp.accounts.authentication.BearerTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["webapp.accounts.authentication.WithinScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["webapp.parsing.ShallowJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "webapp.pagination.CreatedCursorPagination",
    "EXCEPTION_HANDLER": "webapp.problems.exception_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "URL_FORMAT_OVERRIDE": None,
    "NUM_PROXIES": TRUSTED_PROXIES,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Fairground",
    "DESCRIPTION": "Run FlexOlmo expert by expert and trace its answers to the corpora it was trained on.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "webapp.schema.document_problems",
    ],
    "ENUM_NAME_OVERRIDES": {
        "JobStatusEnum": "webapp.jobs.JobStatus",
        "VisibilityEnum": "webapp.ownership.Visibility",
        "ContestantVisibilityEnum": "arena.models.Visibility",
        "ComparisonKindEnum": "webapp.playground.models.Comparison.Kind",
    },
}

CELERY_BROKER_URL = REDIS_URL or "memory://"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_DB_REUSE_MAX = 1000  # tasks; else Celery closes the pool after each one (see webapp/celery.py)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 6 * 3600} if REDIS_URL else {"polling_interval": 0.01}
CELERY_TASK_DEFAULT_QUEUE = "trace"
CELERY_TASK_ROUTES = {
    "webapp.playground.publish_matches": {"queue": "trace"},
    "tracer.build_shard": {"queue": "build"},
    "tracer.finish_build": {"queue": "build"},
    "tracer.run_bulletin": {"queue": "build"},
    "tracer.sample_indexes": {"queue": "build"},
    "tracer.*": {"queue": "trace"},
    "webapp.playground.*": {"queue": "model"},
    "arena.make_release": {"queue": "build"},
    "arena.measure_overlap": {"queue": "trace"},
    "arena.*": {"queue": "rank"},
    "webapp.transparency.*": {"queue": "rank"},
}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE = {
    "beat": {"task": "webapp.operations.tasks.beat", "schedule": 15.0, "options": {"expires": 15}},
    "requeue-unfinished-jobs": {"task": "webapp.tasks.requeue_unfinished", "schedule": min(30.0, STALE_AFTER_S / 4)},
    "sample-indexes": {"task": "tracer.sample_indexes", "schedule": 600.0, "options": {"expires": 600}},
    "keep-arena-house": {"task": "arena.keep_house", "schedule": 30.0, "options": {"expires": 30}},
    "sequence-log": {
        "task": "webapp.transparency.tasks.sequence",
        "schedule": 1.0,
        "options": {"expires": 5},
    },
}

LOGGING = logging_config(LOG_LEVEL)
