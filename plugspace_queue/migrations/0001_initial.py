import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import plugspace_queue.domain.enums
import plugspace_queue.domain.ids
import plugspace_queue.models.organization
import plugspace_queue.models.tier


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Dependency",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "dependencies",
            },
        ),
        migrations.CreateModel(
            name="Organization",
            fields=[
                (
                    "id",
                    models.CharField(
                        max_length=64,
                        primary_key=True,
                        serialize=False,
                        validators=[django.core.validators.RegexValidator("^[A-Za-z0-9_-]{1,64}$")],
                    ),
                ),
                ("name", models.CharField(blank=True, max_length=200)),
                (
                    "is_suspended",
                    models.BooleanField(default=False, help_text="Can read, cannot submit."),
                ),
                (
                    "is_paused",
                    models.BooleanField(
                        default=False, help_text="Its waiting tasks stay where they are."
                    ),
                ),
                ("paused_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(blank=True, max_length=100)),
                ("prefix", models.CharField(editable=False, max_length=16)),
                ("digest", models.CharField(editable=False, max_length=64, unique=True)),
                (
                    "scopes",
                    models.JSONField(
                        default=list,
                        validators=[plugspace_queue.models.organization.validate_scopes],
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("last_used_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="api_keys",
                        to="plugspace_queue.organization",
                    ),
                ),
            ],
            options={
                "verbose_name": "API key",
                "ordering": ["organization_id", "-created_at"],
            },
        ),
        migrations.CreateModel(
            name="QueueSettings",
            fields=[
                (
                    "type",
                    models.CharField(
                        choices=[
                            ("ARCHITECT", "ARCHITECT"),
                            ("DESIGN", "DESIGN"),
                            ("CODE", "CODE"),
                            ("ANALYZE", "ANALYZE"),
                            ("DEPLOY", "DEPLOY"),
                            ("EXPORT", "EXPORT"),
                        ],
                        max_length=16,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "concurrency",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Slots of one worker process.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "global_concurrency",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Running tasks over all workers.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "organization_concurrency",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Running tasks per organization.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "limiter_max",
                    models.PositiveIntegerField(
                        blank=True,
                        help_text="Starts per window.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(1)],
                    ),
                ),
                (
                    "limiter_duration",
                    models.FloatField(
                        blank=True,
                        help_text="Window in seconds.",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0.1)],
                    ),
                ),
                (
                    "default_priority",
                    models.PositiveSmallIntegerField(
                        blank=True, help_text="For organizations without a tier: 0 to 3.", null=True
                    ),
                ),
                (
                    "policy",
                    models.CharField(
                        choices=[("strict", "strict"), ("weighted", "weighted")],
                        default=plugspace_queue.domain.enums.Policy["STRICT"],
                        max_length=16,
                    ),
                ),
                ("is_paused", models.BooleanField(default=False)),
                ("paused_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("completed", models.BigIntegerField(default=0, editable=False)),
                ("failed", models.BigIntegerField(default=0, editable=False)),
                ("version", models.BigIntegerField(default=0, editable=False)),
            ],
            options={
                "verbose_name": "queue",
                "verbose_name_plural": "queues",
                "ordering": ["type"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            (
                                "type__in",
                                ["ARCHITECT", "DESIGN", "CODE", "ANALYZE", "DEPLOY", "EXPORT"],
                            )
                        ),
                        name="psq_queue_type_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("policy__in", ["strict", "weighted"])),
                        name="psq_queue_policy_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("default_priority__isnull", True),
                            ("default_priority__lte", 3),
                            _connector="OR",
                        ),
                        name="psq_queue_priority_known",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Task",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=plugspace_queue.domain.ids.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "type",
                    models.CharField(
                        choices=[
                            ("ARCHITECT", "ARCHITECT"),
                            ("DESIGN", "DESIGN"),
                            ("CODE", "CODE"),
                            ("ANALYZE", "ANALYZE"),
                            ("DEPLOY", "DEPLOY"),
                            ("EXPORT", "EXPORT"),
                        ],
                        max_length=16,
                    ),
                ),
                ("project_id", models.CharField(max_length=128)),
                ("user_id", models.CharField(max_length=128)),
                ("priority", models.PositiveSmallIntegerField()),
                ("input", models.JSONField(default=dict)),
                ("context", models.JSONField(default=dict)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("blocked", "blocked"),
                            ("scheduled", "scheduled"),
                            ("waiting", "waiting"),
                            ("processing", "processing"),
                            ("retrying", "retrying"),
                            ("complete", "complete"),
                            ("failed", "failed"),
                            ("cancelled", "cancelled"),
                            ("expired", "expired"),
                        ],
                        default=plugspace_queue.domain.enums.State["WAITING"],
                        max_length=12,
                    ),
                ),
                ("result", models.JSONField(blank=True, null=True)),
                ("error", models.JSONField(blank=True, null=True)),
                ("progress", models.JSONField(blank=True, null=True)),
                ("queued_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "started_at",
                    models.DateTimeField(
                        blank=True, help_text="Start of the last attempt.", null=True
                    ),
                ),
                ("completed_at", models.DateTimeField(blank=True, null=True)),
                (
                    "duration",
                    models.BigIntegerField(
                        blank=True, help_text="ms of the last attempt", null=True
                    ),
                ),
                ("tokens_used", models.BigIntegerField(default=0)),
                ("cost", models.DecimalField(decimal_places=8, default=0, max_digits=18)),
                ("retry_count", models.PositiveIntegerField(default=0)),
                ("max_retries", models.PositiveIntegerField(default=3)),
                ("recovery_count", models.PositiveIntegerField(default=0)),
                ("deferral_count", models.PositiveIntegerField(default=0)),
                ("attempt_count", models.PositiveIntegerField(default=0)),
                (
                    "ttl",
                    models.PositiveIntegerField(
                        default=3600, help_text="seconds to wait for the first start"
                    ),
                ),
                (
                    "fence",
                    models.BigIntegerField(default=0, help_text="Token of the newest attempt."),
                ),
                ("worker_name", models.CharField(blank=True, max_length=128)),
                ("wake_at", models.DateTimeField(blank=True, help_text="Not before.", null=True)),
                (
                    "deadline",
                    models.DateTimeField(blank=True, help_text="First start not after.", null=True),
                ),
                ("cancel_requested_at", models.DateTimeField(blank=True, null=True)),
                ("open_deps", models.PositiveIntegerField(default=0)),
                ("step", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("charged_month", models.CharField(blank=True, max_length=7)),
                ("refunded_at", models.DateTimeField(blank=True, null=True)),
                (
                    "organization",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="tasks",
                        to="plugspace_queue.organization",
                    ),
                ),
                (
                    "parents",
                    models.ManyToManyField(
                        related_name="children",
                        through="plugspace_queue.Dependency",
                        to="plugspace_queue.task",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "permissions": [
                    ("operate_queue", "Can retry and cancel tasks, pause and resume queues")
                ],
            },
        ),
        migrations.AddField(
            model_name="dependency",
            name="parent",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="dependents",
                to="plugspace_queue.task",
            ),
        ),
        migrations.AddField(
            model_name="dependency",
            name="task",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="dependencies",
                to="plugspace_queue.task",
            ),
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.PositiveIntegerField()),
                ("fence", models.BigIntegerField()),
                ("worker_name", models.CharField(blank=True, max_length=128)),
                ("started_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField()),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("complete", "complete"),
                            ("failed", "failed"),
                            ("retry", "retry"),
                            ("deferred", "deferred"),
                            ("cancelled", "cancelled"),
                            ("handed_back", "handed_back"),
                            ("lost", "lost"),
                        ],
                        max_length=12,
                    ),
                ),
                ("error", models.JSONField(blank=True, null=True)),
                ("tokens_used", models.BigIntegerField(default=0)),
                ("cost", models.DecimalField(decimal_places=8, default=0, max_digits=18)),
                ("log", models.JSONField(blank=True, default=list)),
                (
                    "task",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="attempts",
                        to="plugspace_queue.task",
                    ),
                ),
            ],
            options={
                "ordering": ["task_id", "number", "fence"],
            },
        ),
        migrations.CreateModel(
            name="TierPolicy",
            fields=[
                (
                    "slug",
                    models.CharField(
                        max_length=32,
                        primary_key=True,
                        serialize=False,
                        validators=[
                            django.core.validators.RegexValidator("^[a-z][a-z0-9-]{0,31}$")
                        ],
                    ),
                ),
                (
                    "priority",
                    models.PositiveSmallIntegerField(
                        help_text="0 is served first, 3 last.",
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(3),
                        ],
                    ),
                ),
                (
                    "quotas",
                    models.JSONField(
                        help_text="Tasks per month and type; -1 is no limit.",
                        validators=[plugspace_queue.models.tier.validate_quotas],
                    ),
                ),
                (
                    "request_limit",
                    models.PositiveIntegerField(default=100, help_text="Requests per window."),
                ),
                (
                    "request_window",
                    models.FloatField(
                        default=60.0,
                        help_text="Seconds.",
                        validators=[django.core.validators.MinValueValidator(0.1)],
                    ),
                ),
            ],
            options={
                "verbose_name": "tier",
                "verbose_name_plural": "tiers",
                "ordering": ["priority", "slug"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("priority__lte", 3)), name="psq_tier_priority_known"
                    )
                ],
            },
        ),
        migrations.AddField(
            model_name="organization",
            name="tier",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="organizations",
                to="plugspace_queue.tierpolicy",
            ),
        ),
        migrations.CreateModel(
            name="UsageEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "type",
                    models.CharField(
                        choices=[
                            ("ARCHITECT", "ARCHITECT"),
                            ("DESIGN", "DESIGN"),
                            ("CODE", "CODE"),
                            ("ANALYZE", "ANALYZE"),
                            ("DEPLOY", "DEPLOY"),
                            ("EXPORT", "EXPORT"),
                        ],
                        max_length=16,
                    ),
                ),
                ("month", models.CharField(max_length=7)),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("reserve", "Reserve"),
                            ("refund", "Refund"),
                            ("settle", "Settle"),
                        ],
                        max_length=8,
                    ),
                ),
                (
                    "units",
                    models.IntegerField(
                        default=0, help_text="Positive reserved, negative refunded."
                    ),
                ),
                ("tokens", models.BigIntegerField(default=0)),
                ("cost", models.DecimalField(decimal_places=8, default=0, max_digits=18)),
                ("note", models.CharField(blank=True, max_length=200)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="plugspace_queue.organization",
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="usage_entries",
                        to="plugspace_queue.task",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "usage entries",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Workflow",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=plugspace_queue.domain.ids.new_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("create", "create"),
                            ("clone", "clone"),
                            ("refine", "refine"),
                            ("design-only", "design-only"),
                            ("code-only", "code-only"),
                            ("analyze-only", "analyze-only"),
                        ],
                        max_length=16,
                    ),
                ),
                ("project_id", models.CharField(max_length=128)),
                ("user_id", models.CharField(max_length=128)),
                ("input", models.JSONField(default=dict)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="workflows",
                        to="plugspace_queue.organization",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
            },
        ),
        migrations.AddField(
            model_name="task",
            name="workflow",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="tasks",
                to="plugspace_queue.workflow",
            ),
        ),
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.CharField(max_length=255)),
                ("fingerprint", models.CharField(max_length=64)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="plugspace_queue.organization",
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="plugspace_queue.task",
                    ),
                ),
                (
                    "workflow",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="plugspace_queue.workflow",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="MonthlyUsage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "type",
                    models.CharField(
                        choices=[
                            ("ARCHITECT", "ARCHITECT"),
                            ("DESIGN", "DESIGN"),
                            ("CODE", "CODE"),
                            ("ANALYZE", "ANALYZE"),
                            ("DEPLOY", "DEPLOY"),
                            ("EXPORT", "EXPORT"),
                        ],
                        max_length=16,
                    ),
                ),
                ("month", models.CharField(help_text="YYYY-MM in UTC", max_length=7)),
                ("used", models.BigIntegerField(default=0)),
                (
                    "version",
                    models.BigIntegerField(default=0, help_text="Rises with every change."),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="usage",
                        to="plugspace_queue.organization",
                    ),
                ),
            ],
            options={
                "verbose_name": "usage",
                "verbose_name_plural": "usage",
                "ordering": ["-month", "organization_id", "type"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "type", "month"), name="psq_usage_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("used__gte", 0)), name="psq_usage_not_negative"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Membership",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "role",
                    models.CharField(
                        choices=[("viewer", "viewer"), ("member", "member"), ("admin", "admin")],
                        default=plugspace_queue.domain.enums.Role["MEMBER"],
                        max_length=16,
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="queue_memberships",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="memberships",
                        to="plugspace_queue.organization",
                    ),
                ),
            ],
            options={
                "ordering": ["organization_id", "user_id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "user"), name="psq_membership_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("role__in", ["viewer", "member", "admin"])),
                        name="psq_membership_role_known",
                    ),
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="dependency",
            constraint=models.UniqueConstraint(
                fields=("parent", "task"), name="psq_dependency_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="attempt",
            constraint=models.UniqueConstraint(fields=("task", "fence"), name="psq_attempt_once"),
        ),
        migrations.AddIndex(
            model_name="usageentry",
            index=models.Index(fields=["organization", "type", "month"], name="psq_entry_month"),
        ),
        migrations.AddConstraint(
            model_name="usageentry",
            constraint=models.CheckConstraint(
                condition=models.Q(("reason__in", ["reserve", "refund", "settle"])),
                name="psq_entry_reason_known",
            ),
        ),
        migrations.AddIndex(
            model_name="workflow",
            index=models.Index(fields=["organization", "-id"], name="psq_workflow_org"),
        ),
        migrations.AddIndex(
            model_name="workflow",
            index=models.Index(fields=["project_id", "-id"], name="psq_workflow_project"),
        ),
        migrations.AddConstraint(
            model_name="workflow",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "kind__in",
                        ["create", "clone", "refine", "design-only", "code-only", "analyze-only"],
                    )
                ),
                name="psq_workflow_kind_known",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(fields=["organization", "-id"], name="psq_task_org"),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(fields=["organization", "state", "-id"], name="psq_task_org_state"),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(fields=["project_id", "-id"], name="psq_task_project"),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(fields=["state", "type", "-id"], name="psq_task_state_type"),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("deadline__isnull", False)),
                fields=["deadline"],
                name="psq_task_deadline",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(
                    ("cancel_requested_at__isnull", False),
                    ("state__in", ["blocked", "processing", "retrying", "scheduled", "waiting"]),
                ),
                fields=["cancel_requested_at"],
                name="psq_task_cancelling",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("completed_at__isnull", False)),
                fields=["state", "completed_at"],
                name="psq_task_ended",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        [
                            "blocked",
                            "scheduled",
                            "waiting",
                            "processing",
                            "retrying",
                            "complete",
                            "failed",
                            "cancelled",
                            "expired",
                        ],
                    )
                ),
                name="psq_task_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(("priority__lte", 3)), name="psq_task_priority_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("completed_at__isnull", False),
                        ("state__in", ["cancelled", "complete", "expired", "failed"]),
                    ),
                    models.Q(
                        ("completed_at__isnull", True),
                        (
                            "state__in",
                            ["blocked", "processing", "retrying", "scheduled", "waiting"],
                        ),
                    ),
                    _connector="OR",
                ),
                name="psq_task_ended_when_final",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("state", plugspace_queue.domain.enums.State["BLOCKED"]), _negated=True
                    ),
                    ("open_deps__gt", 0),
                    _connector="OR",
                ),
                name="psq_task_blocked_by",
            ),
        ),
        migrations.AddConstraint(
            model_name="idempotencykey",
            constraint=models.UniqueConstraint(
                fields=("organization", "key"), name="psq_idempotency_once"
            ),
        ),
    ]
