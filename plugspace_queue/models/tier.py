"""Plans as editable rows: priority, monthly quotas per type, request limit."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from plugspace_queue.domain.task_types import NAME, TaskType, quota_of
from plugspace_queue.domain.tiers import LARGEST_QUOTA, LOWEST_PRIORITY, UNLIMITED


def validate_quotas(quotas: Any) -> None:
    """Quotas by task type: whole numbers, -1 for no limit; a type left out has what it declares."""
    if not isinstance(quotas, dict) or not all(NAME.match(name) for name in quotas):
        raise ValidationError(
            _("Give quotas by task type: %(names)s.") % {"names": ", ".join(TaskType)}
        )
    wrong = [
        t for t, n in quotas.items() if type(n) is not int or not UNLIMITED <= n <= LARGEST_QUOTA
    ]
    if wrong:
        raise ValidationError(
            _("Quotas are whole numbers up to %(largest_quota)s, -1 for no limit: %(names)s.")
            % {"largest_quota": LARGEST_QUOTA, "names": ", ".join(wrong)}
        )


class TierPolicy(models.Model):
    """What organizations of one plan get."""

    slug = models.CharField(
        primary_key=True, max_length=32, validators=[RegexValidator(r"^[a-z][a-z0-9-]{0,31}$")]
    )
    priority = models.PositiveSmallIntegerField(
        validators=[MinValueValidator(0), MaxValueValidator(LOWEST_PRIORITY)],
        help_text=gettext_lazy("0 is served first, 3 last."),
    )
    quotas = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_quotas],
        help_text=gettext_lazy(
            "Tasks per month and type, where they differ from what the type declares; -1 is"
            " no limit."
        ),
    )
    default_quota = models.BigIntegerField(
        default=UNLIMITED,
        db_default=UNLIMITED,
        validators=[MinValueValidator(UNLIMITED)],
        help_text=gettext_lazy(
            "Tasks per month of each type that says nothing of this tier; -1 is no limit."
        ),
    )
    request_limit = models.PositiveIntegerField(
        default=100, help_text=gettext_lazy("Requests per window.")
    )
    request_window = models.FloatField(
        default=60.0, validators=[MinValueValidator(0.1)], help_text=gettext_lazy("Seconds.")
    )

    class Meta:
        verbose_name = gettext_lazy("tier")
        verbose_name_plural = gettext_lazy("tiers")
        ordering = ["priority", "slug"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(priority__lte=LOWEST_PRIORITY), name="psq_tier_priority_known"
            )
        ]

    def __str__(self) -> str:
        return self.slug

    def quota(self, task_type: str) -> int:
        """Tasks of this type per month; UNLIMITED is -1."""
        return quota_of(task_type, self.slug, self.quotas, self.default_quota)
