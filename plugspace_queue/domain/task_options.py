"""Checks of the options of task types and processors, when they are declared.

A check calls `refuse` with the option and the reason, which raises the error of the declaration.
"""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol

from plugspace_queue.domain.tiers import LARGEST_QUOTA, LOWEST_PRIORITY, UNLIMITED
from plugspace_queue.errors import translated as _

MOST = 1_000_000
"""The largest count of slots, attempts or starts."""

SHORTEST_WINDOW = 0.1
LONGEST_WINDOW = 31 * 86_400.0
"""Seconds of a limiter's window."""

LONGEST_TIMEOUT = LONGEST_WINDOW
LONGEST_TTL = 366 * 86_400
MOST_RETRIES = 100
LONGEST_LABEL = 100
ISOLATIONS = (None, "thread", "process")


class Refuse(Protocol):
    """Raises the error of a declaration for one option."""

    def __call__(self, option: str, reason: str) -> NoReturn: ...


def require_valid(options: Mapping[str, Any], refuse: Refuse) -> None:
    """Refuse the first invalid option; None stands for an option that was left out."""
    for option, value in options.items():
        if value is not None and (check := _CHECKS.get(option)):
            check(option, value, refuse)


def require_limiter(option: str, starts: Any, window: Any, refuse: Refuse) -> None:
    """Refuse a limiter unless both numbers are within bounds."""
    require_whole(option, _("limiter's max"), starts, 1, MOST, refuse)
    if not (_is_number(window) and SHORTEST_WINDOW <= window <= LONGEST_WINDOW):
        refuse(
            option,
            _(
                "limiter's duration is a number of seconds from %(shortest_window)g to"
                " %(longest_window)g, not %(window)r."
            )
            % {
                "shortest_window": SHORTEST_WINDOW,
                "longest_window": LONGEST_WINDOW,
                "window": window,
            },
        )


def require_whole(option: str, name: str, value: Any, low: int, high: int, refuse: Refuse) -> None:
    """Refuse what is no whole number (no bool) within bounds."""
    if type(value) is not int or not low <= value <= high:
        refuse(
            option,
            _("%(name)s is a whole number from %(low)s to %(high)s, not %(value)r.")
            % {"name": name, "low": low, "high": high, "value": value},
        )


def _require_slots(option: str, value: Any, refuse: Refuse) -> None:
    require_whole(option, option, value, 1, MOST, refuse)


def _require_timeout(option: str, value: Any, refuse: Refuse) -> None:
    if not (_is_number(value) and 0 < value <= LONGEST_TIMEOUT):
        refuse(
            option,
            _("timeout is a number of seconds above 0, at most %(longest_timeout)g, not %(value)r.")
            % {"longest_timeout": LONGEST_TIMEOUT, "value": value},
        )


def _require_isolation(option: str, value: Any, refuse: Refuse) -> None:
    if value not in ISOLATIONS:
        refuse(
            option, _('isolation is "process", "thread" or None, not %(value)r.') % {"value": value}
        )


def _require_retry_on(option: str, value: Any, refuse: Refuse) -> None:
    is_valid = isinstance(value, tuple) and all(_is_exception(entry) for entry in value)
    if not is_valid:
        refuse(
            option, _("retry_on is a tuple of exception classes, not %(value)r.") % {"value": value}
        )


def _require_priority(option: str, value: Any, refuse: Refuse) -> None:
    require_whole(option, option, value, 0, LOWEST_PRIORITY, refuse)


def _require_ttl(option: str, value: Any, refuse: Refuse) -> None:
    if not (_is_number(value) and value == int(value) and 1 <= value <= LONGEST_TTL):
        refuse(
            option,
            _("ttl is a number of whole seconds from 1 to %(longest_ttl)s, not %(value)r.")
            % {"longest_ttl": LONGEST_TTL, "value": value},
        )


def _require_retries(option: str, value: Any, refuse: Refuse) -> None:
    require_whole(option, option, value, 0, MOST_RETRIES, refuse)


def _require_delay(option: str, value: Any, refuse: Refuse) -> None:
    if not (_is_number(value) and 0 <= value <= LONGEST_TIMEOUT):
        refuse(
            option,
            _("%(option)s is a number of seconds from 0 to %(longest_timeout)g, not %(value)r.")
            % {"option": option, "longest_timeout": LONGEST_TIMEOUT, "value": value},
        )


def _require_share(option: str, value: Any, refuse: Refuse) -> None:
    if not (_is_number(value) and 0 <= value <= 1):
        refuse(
            option,
            _("%(option)s is a share from 0 to 1, not %(value)r.")
            % {"option": option, "value": value},
        )


def _require_quotas(option: str, value: Any, refuse: Refuse) -> None:
    if not isinstance(value, Mapping):
        refuse(
            option,
            _('quotas maps tiers (or "*") to tasks per month, not %(value)r.') % {"value": value},
        )
    for tier, quota in value.items():
        if not isinstance(tier, str):
            refuse(option, _("quotas are by the slug of a tier, not %(tier)r.") % {"tier": tier})
        require_whole(
            option,
            _("the quota of %(tier)s") % {"tier": tier},
            quota,
            UNLIMITED,
            LARGEST_QUOTA,
            refuse,
        )


def _require_text(option: str, value: Any, refuse: Refuse) -> None:
    if not isinstance(value, str) or len(value) > LONGEST_LABEL:
        refuse(
            option,
            _("%(option)s is text of at most %(longest_label)s characters, not %(value)r.")
            % {"option": option, "longest_label": LONGEST_LABEL, "value": value},
        )


def _require_truth(option: str, value: Any, refuse: Refuse) -> None:
    if not isinstance(value, bool):
        refuse(
            option,
            _("%(option)s is True or False, not %(value)r.") % {"option": option, "value": value},
        )


def _require_callable(option: str, value: Any, refuse: Refuse) -> None:
    if not callable(value):
        refuse(
            option,
            _("%(option)s is called with the stored input, and %(value)r cannot be called.")
            % {"option": option, "value": value},
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_exception(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


_CHECKS: Mapping[str, Callable[[str, Any, Refuse], None]] = {
    "concurrency": _require_slots,
    "timeout": _require_timeout,
    "isolation": _require_isolation,
    "retry_on": _require_retry_on,
    "default_priority": _require_priority,
    "ttl": _require_ttl,
    "max_retries": _require_retries,
    "backoff_delay": _require_delay,
    "backoff_jitter": _require_share,
    "quotas": _require_quotas,
    "label": _require_text,
    "internal": _require_truth,
    "upgrade": _require_callable,
}
