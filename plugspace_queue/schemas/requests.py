"""The requests of a submit: one model and one set of bounds for Python and REST.

Python gives names as they are here, REST gives them in camelCase.
"""

import hashlib
import json
import re
import unicodedata
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, LiteralString, Self

from django.db.models import Model
from django.utils import timezone
from django.utils.translation import gettext as _
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError, to_jsonable_python

from plugspace_queue.conf import get_settings, in_force
from plugspace_queue.domain.catalog import public_types
from plugspace_queue.domain.fields import sources_of
from plugspace_queue.domain.ids import parse_id
from plugspace_queue.domain.shapes import Shape
from plugspace_queue.domain.task_options import LONGEST_TTL, MOST_RETRIES
from plugspace_queue.domain.task_types import DECLARED
from plugspace_queue.domain.text import all_clean, find_unstorable
from plugspace_queue.domain.tiers import LOWEST_PRIORITY
from plugspace_queue.errors import PayloadTooLarge, ValidationRefused
from plugspace_queue.schemas.base import STORABLE, DeferredModel
from plugspace_queue.schemas.refusals import arguments_refused, entries, input_refused, refuse

LONGEST_ID = 128
LONGEST_KEY = 255
MOST_PARENTS = 100
FURTHEST_RUN = timedelta(days=5 * 366)
MOST_ITERATIONS = 1000
MOST_REMARKS = 100
LONGEST_REMARK = 4000

#: Compact and sorted, so that equal data is equal text.
canonical: Callable[[Any], str] = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode


_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")


def _refused(message: str, kind: LiteralString = "value_error") -> PydanticCustomError:
    return PydanticCustomError(kind, "{reason}", {"reason": message})


def _printable(text: str) -> str:
    if not text.isprintable() and any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise _refused(_("must not hold control characters or lone surrogates"))
    return text


def _known_type(name: Any) -> Any:
    if not isinstance(name, str) or name not in DECLARED:
        raise _refused(_("must be one of %(names)s") % {"names": ", ".join(public_types())})
    # Converts a TaskType to text.
    return str(name)


def _mapping(value: Any) -> Any:
    if isinstance(value, BaseModel) or is_dataclass(value):
        is_wire = getattr(value, "absent_is_null", False)
        return to_jsonable_python(value, by_alias=True, exclude_none=is_wire)
    return dict(value) if isinstance(value, Mapping) else value


def _task_id(value: Any) -> Any:
    task_id = value.pk if isinstance(value, Model) else parse_id(value)
    if task_id is None:
        raise _refused(_("%(value)r is no task id") % {"value": str(value)[:64]}, "uuid_parsing")
    return task_id


def _task_ids(values: Any) -> Any:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise _refused(_("must be a list of task ids"))
    return list(values)


def _is_time(value: Any) -> Any:
    # A number in text would be taken for seconds since 1970.
    if isinstance(value, datetime) or (isinstance(value, str) and _DATE.match(value)):
        return value
    raise _refused(_("must be a time with a zone (ISO 8601)"))


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise _refused(_("must be a time that there is in UTC")) from None


def _near(moment: datetime) -> datetime:
    if moment > timezone.now() + FURTHEST_RUN:
        raise _refused(_("must be within %(days)s days") % {"days": FURTHEST_RUN.days})
    return moment


def _remark(text: str) -> str:
    if not text.strip() or find_unstorable(text):
        raise _refused(_("must hold text that is not blank and can be stored"))
    return text


Name = Annotated[str, Field(min_length=1, max_length=LONGEST_ID), AfterValidator(_printable)]
Key = Annotated[str, Field(min_length=1, max_length=LONGEST_KEY), AfterValidator(_printable)]
TypeName = Annotated[str, BeforeValidator(_known_type)]
Data = Annotated[dict[str, Any], BeforeValidator(_mapping)]
TaskId = Annotated[uuid.UUID, BeforeValidator(_task_id)]
TaskIds = Annotated[
    list[TaskId],
    BeforeValidator(_task_ids),
    Field(max_length=MOST_PARENTS),
    AfterValidator(lambda ids: list(dict.fromkeys(ids))),
]
Moment = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_is_time), AfterValidator(_in_utc)
]
"""A time with a zone, in UTC."""

NearMoment = Annotated[Moment, AfterValidator(_near)]
Remark = Annotated[str, Field(min_length=1, max_length=LONGEST_REMARK), AfterValidator(_remark)]

_ANY_OBJECT = {
    "title": "Context",
    "anyOf": [{"additionalProperties": True, "type": "object"}, {"type": "null"}],
}


class Request(DeferredModel):
    """Base of what callers send: nothing unknown, and no value is taken for another type."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    @classmethod
    def of(cls, arguments: object) -> Self:
        """The request in a mapping of arguments; raises ValidationRefused."""
        if not isinstance(arguments, Mapping):
            raise ValidationRefused(_("Each item must be a mapping of add_task's arguments."))
        try:
            return cls.model_validate(dict(arguments))
        except ValidationError as error:
            raise arguments_refused(error, cls) from error


class CallerContext(Request):
    """What a caller may say about the chain of a task; the rest is filled in by the queue."""

    user_feedback: Annotated[list[Remark], Field(max_length=MOST_REMARKS)] | None = None
    max_iterations: int | None = Field(None, ge=1, le=MOST_ITERATIONS)
    parent_task_id: TaskId | None = None

    @property
    def remarks(self) -> list[str]:
        """The feedback, none is an empty list."""
        return self.user_feedback or []

    @property
    def size(self) -> int:
        """Bytes of JSON of what the caller says; counted into MAX_INPUT."""
        return len(canonical(self.user_feedback).encode()) if self.user_feedback else 0

    def as_data(self) -> dict[str, Any]:
        """For the fingerprint of what was asked."""
        return {
            "feedback": self.remarks,
            "maximum": self.max_iterations,
            "parent": self.parent_task_id and str(self.parent_task_id),
        }


NO_CONTEXT = CallerContext.model_construct()
Context = Annotated[CallerContext | None, BeforeValidator(_mapping), WithJsonSchema(_ANY_OBJECT)]


class ForOrganization(Request):
    """Who submits, and what tasks and workflows have in common.

    The other base declares `context` and `ttl` with their bounds; here they are for the properties.
    """

    organization_id: str
    user_id: Name
    idempotency_key: Key | None = None
    context: Context = None
    ttl: int | None = None

    @property
    def chain(self) -> CallerContext:
        """The caller's context of the chain, empty by default."""
        return self.context or NO_CONTEXT

    def seconds_to_live(self, task_type: str) -> int:
        """Seconds to wait for the first start: as asked for, declared, or `DEFAULT_TTL`."""
        return int(in_force(task_type, "ttl", "default_ttl")) if self.ttl is None else self.ttl


class TaskFields(Request):
    """What REST and Python say of a task in the same words; None: as settings or tier say."""

    type: TypeName
    project_id: Name
    input: Data = Field(description="As the task type takes it.")
    priority: int | None = Field(
        None, ge=0, le=LOWEST_PRIORITY, description="Your tier's or a lower one (3)."
    )
    context: Context = Field(None, description="userFeedback, maxIterations, parentTaskId.")
    max_retries: int | None = Field(None, ge=0, le=MOST_RETRIES)
    ttl: int | None = Field(
        None, ge=1, le=LONGEST_TTL, description="Seconds to wait for the first start."
    )
    run_at: NearMoment | None = Field(None, description="Not before.")
    depends_on: TaskIds = Field(default_factory=list)


class TaskRequest(TaskFields, ForOrganization):
    """One task to be submitted for an organization."""

    @property
    def follows(self) -> bool:
        """Whether it may name other tasks that it follows."""
        return bool(self.depends_on) or self.context is not None

    @property
    def retries(self) -> int:
        """Retries at most: as asked for, declared, or `MAX_RETRIES`."""
        asked = self.max_retries
        return int(in_force(self.type, "max_retries")) if asked is None else asked

    def wake_at(self, now: datetime) -> datetime | None:
        """When it may run, if that is ahead; a time that is past means now."""
        return self.run_at if self.run_at and self.run_at > now else None

    def validate_input(self) -> None:
        """Bring the input into its stored form; raises ValidationRefused, PayloadTooLarge."""
        beside = self.context.size if self.context else 0
        shape = DECLARED[self.type].input
        # Its parents may fill these.
        may_lack = [field.key for field in sources_of(shape.type)] if self.depends_on else ()
        self.input = stored_input(shape, self.input, beside, may_lack=may_lack)

    def fingerprint(self) -> str:
        """Equal for equal arguments, whatever the order of keys."""
        return fingerprint_of(
            "task",
            type=self.type,
            project=self.project_id,
            user=self.user_id,
            input=self.input,
            context=self.chain.as_data(),
            priority=self.priority,
            max_retries=self.max_retries,
            ttl=self.ttl,
            run_at=self.run_at.isoformat() if self.run_at else None,
            depends_on=[str(task_id) for task_id in self.depends_on],
        )


def fingerprint_of(subject: str, **arguments: Any) -> str:
    """The hash of the canonical JSON of all arguments."""
    return hashlib.sha256(canonical([subject, arguments]).encode()).hexdigest()


def stored_input(
    shape: Shape[Any],
    value: object,
    beside: int = 0,
    *,
    may_lack: Collection[str] | None = (),
) -> Any:
    """Data valid for the model of a type's inputs, in its stored form, as JSON data.

    The keys in `may_lack` (None: all) may be missing although the model needs them, as something
    fills them before the start; then the data is stored as it is. Raises ValidationRefused with
    what and where, PayloadTooLarge when it has, with the bytes `beside` it, more than MAX_INPUT.
    """
    # Checked before pydantic, so that data that is too large is not validated.
    _require_size(_encoded(value), beside)
    try:
        return shape.to_json(shape.validate(value, context=STORABLE))
    except ValidationError as error:
        faults = [entry for entry in entries(error) if not _is_lack(entry, may_lack)]
        if isinstance(value, dict) and not faults:
            return value
        raise input_refused(faults) from error


def stored_object(value: object, beside: int = 0) -> dict[str, Any]:
    """A JSON object without a model; raises as `stored_input`."""
    _require_size(_encoded(value), beside)
    if not isinstance(value, dict):
        refuse("input", "Input should be a valid dictionary")
    return value


def _is_lack(entry: Mapping[str, Any], keys: Collection[str] | None) -> bool:
    """Whether an entry of an error says that one of these keys is missing."""
    is_of_a_key = entry["type"] == "missing" and len(entry["loc"]) == 1
    return is_of_a_key and (keys is None or entry["loc"][0] in keys)


def _encoded(value: object) -> str:
    """The canonical JSON of a value; ValidationRefused when it is not strict, storable JSON."""
    try:
        text = canonical(value)
    except (TypeError, ValueError, RecursionError) as error:
        refuse("input", _("must be strict JSON: %(error)s") % {"error": error})
    # Only NUL is escaped; with ensure_ascii off all other characters appear unchanged.
    if ("\\u0000" in text or find_unstorable(text)) and not all_clean(value):
        refuse("input", _("text must not contain U+0000 or lone surrogates"))
    return text


def _require_size(text: str, beside: int) -> None:
    limit = get_settings().max_input
    if len(text) * 4 + beside > limit and (size := len(text.encode()) + beside) > limit:
        raise PayloadTooLarge(
            _("Input and context have %(size)s bytes of JSON; %(limit)s is the most.")
            % {"size": size, "limit": limit},
            size=size,
            limit=limit,
        )
