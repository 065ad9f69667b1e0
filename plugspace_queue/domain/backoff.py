"""How long a failed attempt waits before the next one."""

LONGEST = 900.0
"""Seconds."""


def delay_for(retry: int, *, base: float = 2.0, jitter: float = 0.0, chance: float = 0.0) -> float:
    """Seconds before retry number `retry` (from 1): base · 2^(retry-1), plus a part of it.

    `jitter` is the largest share added, `chance` in 0..1 picks from it.

    >>> [delay_for(n) for n in (1, 2, 3)]
    [2.0, 4.0, 8.0]
    >>> delay_for(1, jitter=0.5, chance=1.0)
    3.0
    """
    return base * float(2 ** (retry - 1)) * (1 + jitter * chance)


def provider_wait(retry_after: float | None, fallback: float) -> float:
    """Seconds to wait after a provider's 429: Retry-After within 0.1..900, else the backoff.

    >>> provider_wait(0, 2.0), provider_wait(3600, 2.0), provider_wait(None, 2.0)
    (0.1, 900.0, 2.0)
    """
    if retry_after is None:
        return fallback
    return float(min(max(retry_after, 0.1), LONGEST))
