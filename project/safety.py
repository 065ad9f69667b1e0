"""Refuses to run in production on values that are only fit for development."""

from collections.abc import Mapping

from django.core.exceptions import ImproperlyConfigured

from project.environment import words

DEVELOPMENT_KEY = "only-for-development-and-tests-production-sets-SECRET_KEY"
SHORTEST_KEY = 32
FEWEST_CHARACTERS = 5
"""Different ones in a key, as Django's own check (security.W009) asks."""
DEVELOPMENT_HOSTS = ["localhost", "127.0.0.1", "[::1]", "testserver"]


def refuse_unsafe(environ: Mapping[str, str], *, debug: bool) -> None:
    """Raise ImproperlyConfigured when DEBUG is off and a value of production is missing.

    Also when other hosts are served and nobody said whether DEBUG is on: then it was forgotten.
    """
    if debug and "DEBUG" not in environ and _serves_others(environ):
        raise ImproperlyConfigured(
            "ALLOWED_HOSTS names other hosts than this one, so: set DEBUG=0 (or DEBUG=1 if you "
            "mean to show tracebacks to them)."
        )
    missing = [] if debug else list(_missing(environ))
    if missing:
        raise ImproperlyConfigured("DEBUG is off, so: " + " ".join(missing))


def _serves_others(environ: Mapping[str, str]) -> bool:
    return bool(set(words(environ, "ALLOWED_HOSTS")) - set(DEVELOPMENT_HOSTS))


def _missing(environ: Mapping[str, str]) -> list[str]:
    checks = [
        (
            _is_secret(environ.get("SECRET_KEY", "")),
            f"Set SECRET_KEY to a random text of at least {SHORTEST_KEY} characters.",
        ),
        (
            bool(environ.get("ALLOWED_HOSTS", "").strip(", ")),
            "Set ALLOWED_HOSTS to the host names that are served, separated by commas.",
        ),
        (
            _has_server(environ),
            "Set REDIS_URL (or SENTINELS): the embedded server is for development only; "
            "PLUGSPACE_EMBEDDED=force allows it all the same.",
        ),
    ]
    return [sentence for is_there, sentence in checks if not is_there]


def _is_secret(key: str) -> bool:
    # Sessions and password resets are signed with it: who can guess it is anybody.
    is_long = len(key.strip()) >= SHORTEST_KEY
    return is_long and len(set(key)) >= FEWEST_CHARACTERS and key != DEVELOPMENT_KEY


def _has_server(environ: Mapping[str, str]) -> bool:
    is_forced = environ.get("PLUGSPACE_EMBEDDED", "").lower() == "force"
    return is_forced or bool(environ.get("REDIS_URL") or environ.get("SENTINELS"))
