"""Settings of the demo project; everything that differs between machines comes from variables.

DATABASE_URL, REDIS_URL, SENTINELS, SECRET_KEY, DEBUG, ALLOWED_HOSTS, INSECURE_COOKIES,
HSTS_SECONDS, METRICS_TOKEN, LOG_FORMAT, LOG_LEVEL. Without the first three the project runs on
SQLite and on an embedded server of its own, both below var/.
"""

import os
from pathlib import Path

from plugspace_queue.conf import connection_config, rq_settings
from project import caching, environment, logs, safety

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"

DEBUG = environment.flag(os.environ, "DEBUG", default=True)
safety.refuse_unsafe(os.environ, debug=DEBUG)
SECRET_KEY = os.environ.get("SECRET_KEY") or safety.DEVELOPMENT_KEY
ALLOWED_HOSTS = environment.words(os.environ, "ALLOWED_HOSTS") or safety.DEVELOPMENT_HOSTS

# In production cookies travel over TLS only, unless somebody says that there is none.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not (
    DEBUG or environment.flag(os.environ, "INSECURE_COOKIES", default=False)
)
SECURE_HSTS_SECONDS = environment.number(os.environ, "HSTS_SECONDS")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_rq",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "plugspace_queue",
    "project",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"
WSGI_APPLICATION = "project.wsgi.application"

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

VAR_DIR.mkdir(exist_ok=True)
DATABASES = {
    "default": environment.database(
        os.environ.get("DATABASE_URL") or f"sqlite:///{VAR_DIR / 'db.sqlite3'}"
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = os.environ.get("REDIS_URL") or None
SENTINELS = os.environ.get("SENTINELS") or None

PLUGSPACE_QUEUE = {
    "METRICS_TOKEN": os.environ.get("METRICS_TOKEN", ""),
    # Nothing else of this project is below /api/v1/.
    "CATCH_ALL": True,
}
RQ_QUEUES, RQ = rq_settings(url=REDIS_URL, sentinels=SENTINELS)
# A stock queue of RQ beside ours, on the same connection. JSON too: whoever can write to Redis
# would run code in whatever loads a pickle.
RQ_QUEUES["default"] = {
    **connection_config(url=REDIS_URL, sentinels=SENTINELS),
    "SERIALIZER": "rq.serializers.JSONSerializer",
}
CACHES = caching.caches(url=REDIS_URL, sentinels=SENTINELS)

LOGGING = logs.config(os.environ)

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "admin:login"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# Where DEPLOY tasks publish and /sites/ looks.
PLUGSPACE_SITES_ROOT = os.environ.get("PLUGSPACE_SITES_ROOT") or str(VAR_DIR / "sites")

REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
}
SPECTACULAR_SETTINGS = {
    "TITLE": "plugspace queue",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}
