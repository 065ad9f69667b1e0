"""Whatever is submitted, granted, ended and moved in whatever order: the counters are exact."""

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

import pytest
from django.db.models import Sum
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugspace_queue import errors, queue_manager
from plugspace_queue.domain.task_types import TaskType, quota_of
from plugspace_queue.domain.tiers import TIERS, UNLIMITED
from plugspace_queue.limits import allowances, policies
from plugspace_queue.models import MonthlyUsage, Override, Task, UsageEntry
from tests.factories import arguments, make_organization

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

HOUR = timedelta(hours=1)
TYPE = "DEPLOY"
"""free grants 1 of it, starter 10."""

numbers = count()

SPANS = {"past": (-2, -1), "now": (-1, 1), "open": (-1, None), "later": (1, 2)}
"""From when to when, in hours; None is without an end."""

steps = st.one_of(
    st.tuples(st.just("submit"), st.integers(1, 4)),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("grant"), st.integers(1, 4), st.sampled_from(sorted(SPANS))),
    st.tuples(st.just("quota"), st.integers(-1, 6), st.sampled_from(sorted(SPANS))),
    st.tuples(st.just("begin"), st.integers(0, 9)),
    st.tuples(st.just("expire"), st.integers(0, 9)),
    st.tuples(st.just("end"), st.integers(0, 9)),
    st.tuples(st.just("tier"), st.sampled_from(["free", "starter", "enterprise"])),
)


@dataclass
class Row:
    """An override as the model knows it."""

    pk: int
    key: str
    value: int
    span: str

    @property
    def is_in_force(self) -> bool:
        return self.span in ("now", "open")


@dataclass
class Model:
    """An organization, what it used, and what it is granted."""

    organization_id: str
    tier: str = "free"
    waiting: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    @property
    def quota(self) -> int:
        base = quota_of(TaskType(TYPE), self.tier, {}, TIERS[self.tier].default_quota)
        for row in self.rows:
            if row.key == "quota" and row.is_in_force:
                base = row.value
        granted = sum(row.value for row in self.rows if row.key == "grant" and row.is_in_force)
        return UNLIMITED if base == UNLIMITED else base + granted

    def admits(self, units: int) -> bool:
        return self.quota == UNLIMITED or len(self.waiting) + units <= self.quota

    # The steps.

    def submit(self, units: int) -> None:
        item = arguments(type=TYPE, organization_id=self.organization_id)
        is_admitted = self.admits(units)
        try:
            if units == 1:
                made = [queue_manager.add_task(**item, limit_requests=False)]
            else:
                made = queue_manager.add_tasks([item] * units, limit_requests=False)
        except errors.QuotaExceeded as refused:
            assert not is_admitted
            told = refused.details
            assert (told["used"], told["limit"]) == (len(self.waiting), self.quota)
        else:
            assert is_admitted
            self.waiting += [str(task.pk) for task in made]

    def cancel(self, number: int) -> None:
        if self.waiting:
            queue_manager.cancel(self.waiting.pop(number % len(self.waiting)))

    def grant(self, amount: int, span: str) -> None:
        row = queue_manager.grant(self.organization_id, TYPE, amount, reason="a test")
        self.made(row, span)

    def override(self, quota: int, span: str) -> None:
        row = queue_manager.override_quota(self.organization_id, TYPE, quota, reason="a test")
        self.made(row, span)

    def made(self, row: Override, span: str) -> None:
        self.rows.append(Row(row.pk, row.key, row.value, span))
        self.move(self.rows[-1], span)

    def move(self, row: Row, span: str) -> None:
        """As if so much time had passed for it."""
        begin, end = SPANS[span]
        now = timezone.now()
        Override.objects.filter(pk=row.pk).update(
            starts_at=now + begin * HOUR, ends_at=None if end is None else now + end * HOUR
        )
        row.span = span

    def begin(self, number: int) -> None:
        later = [row for row in self.rows if row.span == "later"]
        if later:
            self.move(later[number % len(later)], "now")

    def expire(self, number: int) -> None:
        held = [row for row in self.rows if row.span == "now"]
        if held:
            self.move(held[number % len(held)], "past")

    def end(self, number: int) -> None:
        if self.rows:
            row = self.rows[number % len(self.rows)]
            try:
                queue_manager.end_override(row.pk)
            except errors.InvalidState:
                assert row.span == "past"
            row.span = "past"

    def move_to(self, tier: str) -> None:
        queue_manager.set_organization(self.organization_id, tier=tier)
        self.tier = tier

    # What always holds.

    def holds(self) -> None:
        usage = MonthlyUsage.objects.filter(organization=self.organization_id)
        assert sum(usage.values_list("used", flat=True)) == len(self.waiting)
        entries = UsageEntry.objects.filter(organization=self.organization_id)
        assert (entries.aggregate(total=Sum("units"))["total"] or 0) == len(self.waiting)
        open_tasks = Task.objects.filter(organization=self.organization_id).open()
        assert {str(pk) for pk in open_tasks.values_list("pk", flat=True)} == set(self.waiting)
        plan = policies.read_tenant(self.organization_id).plan
        shown = allowances.allowances(self.organization_id, plan, timezone.now())
        assert shown[TYPE].quota == self.quota


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(steps, min_size=4, max_size=14))
def test_what_is_accepted_never_exceeds_quota_and_grants_and_refunds_are_exact(
    taken: list[tuple[str, ...]],
):
    model = Model(make_organization(f"o{next(numbers)}", tier="free").pk)
    verbs = {
        "submit": model.submit,
        "cancel": model.cancel,
        "grant": model.grant,
        "quota": model.override,
        "begin": model.begin,
        "expire": model.expire,
        "end": model.end,
        "tier": model.move_to,
    }

    for verb, *values in taken:
        verbs[verb](*values)
        model.holds()
