"""All settings of Tiebreak, in one place, driven by environment variables.

Two profiles share this module (docs/operating.md): *embedded* (the default: SQLite and a broker in a folder, nothing
to install) and *production* (TIEBREAK_PROFILE=production: PostgreSQL, RabbitMQ, HTTPS), which refuses to start while
a secret or a host is missing.
"""

import os
import secrets
from decimal import Decimal, InvalidOperation
from pathlib import Path
from urllib.parse import urlsplit

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()

PROFILE = env.str("TIEBREAK_PROFILE", "embedded")
if PROFILE not in {"embedded", "production"}:
    raise ImproperlyConfigured(f"TIEBREAK_PROFILE is {PROFILE!r}; it takes 'embedded' or 'production'.")
PRODUCTION = PROFILE == "production"

# Everything the application writes (database, uploads, exports, broker folder) lives below VAR_DIR.
VAR_DIR = Path(env.str("TIEBREAK_VAR", str(BASE_DIR / "var")))
VAR_DIR.mkdir(parents=True, exist_ok=True)


def _embedded_secret_key() -> str:
    """Return this installation's own random key, made on first start in a file only its owner can read."""
    path = VAR_DIR / "secret_key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        key = secrets.token_urlsafe(50)
        file.write(key)
    return key


def _required(name: str) -> str:
    value: str = env.str(name, "")
    if not value:
        raise ImproperlyConfigured(f"{name} must be set when TIEBREAK_PROFILE=production (docs/operating.md).")
    return value


DEBUG = False
SECRET_KEY = _required("SECRET_KEY") if PRODUCTION else env.str("SECRET_KEY", "") or _embedded_secret_key()
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=[] if PRODUCTION else ["127.0.0.1", "localhost", "[::1]"])
if PRODUCTION and (not ALLOWED_HOSTS or "*" in ALLOWED_HOSTS):
    raise ImproperlyConfigured("ALLOWED_HOSTS must name this site's hosts when TIEBREAK_PROFILE=production.")
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "dashboard",
    "exports",
    "routing",
    "judges",
    "annotation",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "csp",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": False,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "annotation.views.access.reader",
            ],
            "loaders": [
                ("django.template.loaders.cached.Loader", ["django.template.loaders.filesystem.Loader"]),
            ],
        },
    }
]

# --- Database -------------------------------------------------------------------------------------------------------
DATABASES = {"default": env.db("DATABASE_URL", default=f"sqlite:///{VAR_DIR / 'tiebreak.sqlite3'}")}
_database = DATABASES["default"]
if _database["ENGINE"] == "django.db.backends.sqlite3":
    if PRODUCTION:
        raise ImproperlyConfigured("DATABASE_URL must name a PostgreSQL database when TIEBREAK_PROFILE=production.")
    # Measured: these options give 1,411 transactions/s and no "database is locked" with four writers.
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
else:
    _database["CONN_HEALTH_CHECKS"] = True
    # PostgreSQL plans the annotation screen's statements once a session; off where a pool shares sessions.
    _prepares = env.bool("TIEBREAK_PREPARED_STATEMENTS", default=True)
    _database.setdefault("OPTIONS", {})["prepare_threshold"] = 0 if _prepares else None
_database["CONN_MAX_AGE"] = 60
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- People ---------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "annotation.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# Whoever manages a project has to set up a second step of signing in first (TOTP).
REQUIRE_SECOND_STEP: bool = env.bool("TIEBREAK_REQUIRE_SECOND_STEP", default=False)
# Signing in by an OpenID Connect provider: off without an issuer. What is wrong here `manage.py check` says, and
# nobody signs in by it until it is right (annotation/joining/openid/configuring.py reads it).
OIDC = {
    "issuer": env.str("TIEBREAK_OIDC_ISSUER", default=""),
    "client_id": env.str("TIEBREAK_OIDC_CLIENT_ID", default=""),
    "client_secret": env.str("TIEBREAK_OIDC_CLIENT_SECRET", default=""),
    "scopes": env.str("TIEBREAK_OIDC_SCOPES", default="openid email profile"),
    "label": env.str("TIEBREAK_OIDC_LABEL", default=""),
    "domains": env.str("TIEBREAK_OIDC_DOMAINS", default=""),
    "sign_up": env.str("TIEBREAK_OIDC_SIGN_UP", default="false"),
    "link_by_email": env.str("TIEBREAK_OIDC_LINK_BY_EMAIL", default="false"),
    "roles_claim": env.str("TIEBREAK_OIDC_ROLES_CLAIM", default=""),
    "roles": env.str("TIEBREAK_OIDC_ROLES", default=""),
    "trusted_methods": env.str("TIEBREAK_OIDC_TRUSTED_METHODS", default=""),
}
LOGIN_URL = "sign_in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "sign_in"

# --- Mail: links that sign in; without a server none is offered, and none is written to a log -----------------------
MAIL_IS_SENT = bool(env.str("EMAIL_URL", ""))
_mail = env.email_url("EMAIL_URL", default="dummymail://")
EMAIL_BACKEND: str = _mail["EMAIL_BACKEND"]
EMAIL_HOST: str = _mail.get("EMAIL_HOST") or "localhost"
EMAIL_PORT: int = _mail.get("EMAIL_PORT") or 25
EMAIL_HOST_USER: str = _mail.get("EMAIL_HOST_USER") or ""
EMAIL_HOST_PASSWORD: str = _mail.get("EMAIL_HOST_PASSWORD") or ""
EMAIL_USE_TLS: bool = _mail.get("EMAIL_USE_TLS", False)
EMAIL_USE_SSL: bool = _mail.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL: str = env.str("DEFAULT_FROM_EMAIL", default="tiebreak@localhost")

# --- Broker: a wake-up only; the database is the queue of record -----------------------------------------------------
BROKER_URL = _required("BROKER_URL") if PRODUCTION else env.str("BROKER_URL", "filesystem://localhost")
BROKER_DIR = VAR_DIR / "broker"
# How often the scheduler looks for what a lost message or a dead worker left behind.
SWEEP_SECONDS: float = env.float("TIEBREAK_SWEEP_SECONDS", default=30.0)

# How long a fact may wait for others before a worker is asked to ring their consumers; 0: asked in the same request.
OUTBOX_DELAY_SECONDS: float = env.float("TIEBREAK_OUTBOX_DELAY_SECONDS", default=0.5)
# Which Celery task hears of which fact (annotation.models.OutboxEvent.topic).
OUTBOX_CONSUMERS = {
    "preference_submitted": ["routing.tasks.resolve_pair", "routing.tasks.refit_after_answer"],
    "judge_run_finished": ["routing.tasks.resolve_after_run", "routing.tasks.refit_after_run"],
    "labels_outdated": ["routing.tasks.resolve_project"],
    "refit_wanted": ["routing.tasks.refit_project"],
    "gold_answered": ["annotation.tasks.look_at_rater"],
    "gold_revoked": ["annotation.tasks.look_again"],
}

# --- Judges ---------------------------------------------------------------------------------------------------------
# A key belongs to a host, so it can never be sent to another: TIEBREAK_JUDGE_KEYS='{"api.openai.com": "sk-..."}'.
JUDGE_KEYS: dict[str, str] = env.json("TIEBREAK_JUDGE_KEYS", default={})
if env.str("OPENAI_API_KEY", ""):
    JUDGE_KEYS.setdefault("api.openai.com", env.str("OPENAI_API_KEY"))
# Hosts a judge may be asked at. Only the operator widens it, so that no page can turn the server into a proxy.
JUDGE_HOSTS: list[str] = env.list("TIEBREAK_JUDGE_HOSTS", default=["api.openai.com", "127.0.0.1", "localhost"])
JUDGE_TIMEOUT_SECONDS: float = env.float("TIEBREAK_JUDGE_TIMEOUT_SECONDS", default=90.0)
# How model servers are spoken to: aiohttp takes half the processor time a call, httpx is the model client's own.
JUDGE_TRANSPORT: str = env.str("TIEBREAK_JUDGE_TRANSPORT", default="aiohttp")
if JUDGE_TRANSPORT not in {"aiohttp", "httpx"}:
    raise ImproperlyConfigured(f"TIEBREAK_JUDGE_TRANSPORT is {JUDGE_TRANSPORT!r}; it takes 'aiohttp' or 'httpx'.")
# Calls one message's work may have under way. How many a server gets of all workers is in its row, and follows what it
# says (judges.limiting): it starts at 16 and grows to this many, unless its row allows more or less.
JUDGE_CONCURRENCY: int = env.int("TIEBREAK_JUDGE_CONCURRENCY", default=64)
JUDGE_MAX_CONCURRENCY: int = env.int("TIEBREAK_JUDGE_MAX_CONCURRENCY", default=64)
# Conversations in one request, at servers whose probe found that form; 1 for one each.
JUDGE_CONVERSATIONS_A_REQUEST: int = env.int("TIEBREAK_JUDGE_CONVERSATIONS_A_REQUEST", default=32)
JUDGE_LEASE_SECONDS: int = env.int("TIEBREAK_JUDGE_LEASE_SECONDS", default=600)
JUDGE_CHUNK_SIZE: int = env.int("TIEBREAK_JUDGE_CHUNK_SIZE", default=128)
# How long an answer is used again for the same request; without a number of days, for ever.
JUDGE_CACHE_DAYS: float | None = env.float("TIEBREAK_JUDGE_CACHE_DAYS", default=None)
# What a server takes in one file of requests. OpenAI: 50,000 lines and 200 MB.
JUDGE_BATCH_REQUESTS: int = env.int("TIEBREAK_JUDGE_BATCH_REQUESTS", default=50_000)
JUDGE_BATCH_BYTES: int = env.int("TIEBREAK_JUDGE_BATCH_BYTES", default=200_000_000)
JUDGE_BATCH_POLL_SECONDS: float = env.float("TIEBREAK_JUDGE_BATCH_POLL_SECONDS", default=60.0)
# Models that our own workers may run, by the names that managers choose from: a folder of this machine, or a name on
# the Hub whose files are in its cache. TIEBREAK_GPU_MODELS='{"qwen3-8b": "/srv/models/Qwen3-8B"}'. Only the operator
# names them, so that no page can have a worker read another place of the machine.
GPU_MODELS: dict[str, str] = env.json("TIEBREAK_GPU_MODELS", default={})
if not isinstance(GPU_MODELS, dict) or not all(isinstance(one, str) and one for one in GPU_MODELS.values()):
    raise ImproperlyConfigured(
        'TIEBREAK_GPU_MODELS takes a JSON object of names and places, as in {"qwen3-8b": "/srv/models/Qwen3-8B"}.'
    )
GPU_DEVICE: str = env.str("TIEBREAK_GPU_DEVICE", default="auto")
if GPU_DEVICE not in {"auto", "cuda", "cpu"}:
    raise ImproperlyConfigured(f"TIEBREAK_GPU_DEVICE is {GPU_DEVICE!r}; it takes 'auto', 'cuda' or 'cpu'.")
# Questions that one message speaks for, and how many of them the model is given at once: while it computes some, the
# next are read, and the answers of the last are stored.
GPU_CHUNK_SIZE: int = env.int("TIEBREAK_GPU_CHUNK_SIZE", default=2048)
GPU_GROUP_SIZE: int = env.int("TIEBREAK_GPU_GROUP_SIZE", default=256)
# Positions (tokens and padding) of one forward pass; 0: as the device allows.
GPU_TOKENS_A_BATCH: int = env.int("TIEBREAK_GPU_TOKENS_A_BATCH", default=0)
# A vLLM server whose health /readyz tells, as in http://127.0.0.1:8001; empty: none. A judge has its own address.
VLLM_URL: str = env.str("TIEBREAK_VLLM_URL", default="").rstrip("/")
# What an hour of a GPU costs, for judges that are given no price of their own; without it they are free.
_gpu_usd = env.str("TIEBREAK_GPU_USD_PER_HOUR", default="")
try:
    GPU_USD_PER_HOUR = Decimal(_gpu_usd) if _gpu_usd else None
except InvalidOperation:
    raise ImproperlyConfigured(f"TIEBREAK_GPU_USD_PER_HOUR is {_gpu_usd!r}; it takes US dollars, as in 2.50.") from None


# --- Crowd platforms --------------------------------------------------------------------------------------------------
def _https_or_local(name: str, url: str) -> str:
    """Return an address that keys are sent to: by HTTPS, or on this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"}):
        return url
    raise ImproperlyConfigured(f"{name} is {url!r}; it takes an https:// address (http:// only on this machine).")


# A token of Prolific has its owner's full rights and never expires: it is read from here and is in no table.
PROLIFIC_TOKEN: str = env.str("TIEBREAK_PROLIFIC_TOKEN", default="")
PROLIFIC_URL = _https_or_local(
    "TIEBREAK_PROLIFIC_URL", env.str("TIEBREAK_PROLIFIC_URL", default="https://api.prolific.com/api/v1/")
)
PROLIFIC_KEYS_URL = _https_or_local(
    "TIEBREAK_PROLIFIC_KEYS_URL",
    env.str("TIEBREAK_PROLIFIC_KEYS_URL", default="https://api.prolific.com/.well-known/study/jwks.json"),
)
# The workspace whose signed arrivals and events are ours, and the secret that its events are signed with.
PROLIFIC_WORKSPACE: str = env.str("TIEBREAK_PROLIFIC_WORKSPACE", default="")
PROLIFIC_HOOK_SECRET: str = env.str("TIEBREAK_PROLIFIC_HOOK_SECRET", default="")
# Hosts that the end page of other platforms may lead back to; one that begins with a dot stands for all below it.
CROWD_RETURN_HOSTS: list[str] = env.list(
    "TIEBREAK_CROWD_RETURN_HOSTS", default=["connect.cloudresearch.com", ".sona-systems.com"]
)

# --- The Hub of datasets ---------------------------------------------------------------------------------------------
# A token that may write there: read from here, in no table, no log and on no page (docs/publishing.md).
HUB_TOKEN: str = env.str("TIEBREAK_HUB_TOKEN", default="")
HUB_URL = _https_or_local("TIEBREAK_HUB_URL", env.str("TIEBREAK_HUB_URL", default="https://huggingface.co")).rstrip("/")
# Accounts and organisations below which may be published; empty: wherever the token may write.
HUB_NAMESPACES: list[str] = env.list("TIEBREAK_HUB_NAMESPACES", default=[])
# Seconds for one answer of the Hub; a file that is uploaded gets as long as bytes move.
HUB_TIMEOUT_SECONDS: float = env.float("TIEBREAK_HUB_TIMEOUT_SECONDS", default=60.0)

# --- Reports --------------------------------------------------------------------------------------------------------
# Above so many pairs reports count a sample of prompt groups: some 1.5 kB of memory a pair (docs/reports.md).
REPORT_PAIRS: int = env.int("TIEBREAK_REPORT_PAIRS", default=250_000)
if REPORT_PAIRS < 1:
    raise ImproperlyConfigured(f"TIEBREAK_REPORT_PAIRS is {REPORT_PAIRS}; it takes a whole number from 1.")

# --- Files ----------------------------------------------------------------------------------------------------------
UPLOAD_DIR = VAR_DIR / "uploads"
EXPORT_DIR = VAR_DIR / "exports"
BATCH_DIR = VAR_DIR / "batches"
UPLOAD_LIMIT_BYTES: int = env.int("TIEBREAK_UPLOAD_LIMIT_BYTES", default=2 * 1024**3)
IMPORT_LINE_LIMIT_BYTES: int = env.int("TIEBREAK_IMPORT_LINE_LIMIT_BYTES", default=16 * 1024**2)

STATIC_URL = "static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", str(VAR_DIR / "static")))
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "config.static_storage.ModuleStorage"},
}

# --- Language and time ----------------------------------------------------------------------------------------------
LANGUAGE_CODE = "en"
USE_I18N = True
# The annotator's pages; those of managers are in English.
LANGUAGES = [("en", "English"), ("de", "German"), ("es", "Spanish"), ("ar", "Arabic"), ("zh-hans", "Chinese")]
LOCALE_PATHS = [BASE_DIR / "annotation" / "locale"]
FORMAT_MODULE_PATH = ["annotation.formats"]
TIME_ZONE = "UTC"
USE_TZ = True

# --- Security -------------------------------------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
CSRF_FAILURE_VIEW = "annotation.views.failing.form_refused"
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_ENGINE = "annotation.sessions"
AUTHENTICATION_BACKENDS = ["annotation.sessions.UserBackend"]
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
BEHIND_TLS_PROXY: bool = PRODUCTION and env.bool("BEHIND_TLS_PROXY", default=False)
if PRODUCTION:
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
    # Probes ask by plain HTTP from inside.
    SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$"]
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    if BEHIND_TLS_PROXY:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", "INFO")},
    # The client logs a line a request: tens of thousands in a run.
    "loggers": {name: {"level": "WARNING"} for name in ("httpx2", "httpcore2", "openai", "huggingface_hub")},
}
