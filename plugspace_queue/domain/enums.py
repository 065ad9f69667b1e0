"""Enumerations of the product: states, public statuses, tiers, outcomes."""

from enum import StrEnum


class State(StrEnum):
    """What the row of a task says; the transitions are in `rules.lifecycle`."""

    BLOCKED = "blocked"
    SCHEDULED = "scheduled"
    WAITING = "waiting"
    PROCESSING = "processing"
    RETRYING = "retrying"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Status(StrEnum):
    """The five public statuses, a pure function of the state."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETE = "complete"
    FAILED = "failed"
    RETRYING = "retrying"


class Tier(StrEnum):
    """The slugs of the four tiers of a new database; more may be added as rows."""

    FREE = "free"
    STARTER = "starter"
    PROFESSIONAL = "professional"
    ENTERPRISE = "enterprise"


class Kind(StrEnum):
    """The recipes of workflows."""

    CREATE = "create"
    CLONE = "clone"
    REFINE = "refine"
    DESIGN_ONLY = "design-only"
    CODE_ONLY = "code-only"
    ANALYZE_ONLY = "analyze-only"


class Policy(StrEnum):
    """How the bands of a queue share it: highest first, or 8:4:2:1."""

    STRICT = "strict"
    WEIGHTED = "weighted"


class OverrideKey(StrEnum):
    """What an override sets: a limit of a queue, or the quota of an organization."""

    LIMITER = "limiter"
    CONCURRENCY = "concurrency"
    GLOBAL_CONCURRENCY = "global_concurrency"
    ORGANIZATION_CONCURRENCY = "organization_concurrency"
    QUOTA = "quota"
    """Takes the place of what the tier grants."""
    GRANT = "grant"
    """Adds to the quota; several are added up."""


class Role(StrEnum):
    """What a member may do for the organization over the API."""

    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"


class Scope(StrEnum):
    """What an API key may do; each scope stands alone."""

    READ = "read"
    SUBMIT = "submit"
    OPERATE = "operate"


class Outcome(StrEnum):
    """How one attempt ended."""

    COMPLETE = "complete"
    FAILED = "failed"
    RETRY = "retry"
    DEFERRED = "deferred"
    CANCELLED = "cancelled"
    HANDED_BACK = "handed_back"
    LOST = "lost"


class EventName(StrEnum):
    """Names of events on the wire and of the Django signals."""

    ADDED = "taskAdded"
    STARTED = "taskStarted"
    PROGRESS = "taskProgress"
    RETRYING = "taskRetrying"
    COMPLETED = "taskCompleted"
    FAILED = "taskFailed"
    CANCELLED = "taskCancelled"
    EXPIRED = "taskExpired"


class Reason(StrEnum):
    """Why a task is where it is; the first one that holds, in this order, is the answer."""

    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    RUNNING = "running"
    BLOCKED = "blocked"
    EXPIRING = "expiring"
    BACKOFF = "backoff"
    SCHEDULED = "scheduled"
    UNPUBLISHED = "unpublished"
    UNCONFIGURED = "unconfigured"
    QUEUE_PAUSED = "queue_paused"
    ORGANIZATION_PAUSED = "organization_paused"
    WORKERS_SUSPENDED = "workers_suspended"
    NO_PROCESSOR = "no_processor"
    NO_WORKER = "no_worker"
    QUEUE_CONCURRENCY = "queue_concurrency"
    QUEUE_LIMITER = "queue_limiter"
    ORGANIZATION_CONCURRENCY = "organization_concurrency"
    WAITING_ITS_TURN = "waiting_its_turn"
