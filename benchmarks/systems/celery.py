"""Celery with its pool of threads, broker and results in Redis."""

from benchmarks.systems.peer import python_peer

CELERY = python_peer(
    "Celery, threads",
    "celery",
    ("celery[redis]>=5.7,<5.8", "hiredis>=3"),
    app="celery_app",
    # A worker alone has nobody to gossip with; the prefetch of 4 x 50 is the default.
    starts=(
        *("-m", "celery", "--app", "benchmarks.peers.celery_app", "worker"),
        *("--pool", "threads", "--concurrency", "50", "--loglevel", "WARNING"),
        *("--without-gossip", "--without-mingle"),
    ),
    loads="celery.bin.celery, celery.apps.worker, celery.concurrency.thread",
)
