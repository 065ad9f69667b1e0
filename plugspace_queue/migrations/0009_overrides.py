import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("plugspace_queue", "0008_failures"),
    ]

    operations = [
        migrations.CreateModel(
            name="Override",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("type", models.CharField(help_text="Task type.", max_length=32)),
                (
                    "key",
                    models.CharField(
                        choices=[
                            ("limiter", "limiter"),
                            ("concurrency", "concurrency"),
                            ("global_concurrency", "global concurrency"),
                            ("organization_concurrency", "organization concurrency"),
                            ("quota", "quota"),
                            ("grant", "grant"),
                        ],
                        max_length=32,
                    ),
                ),
                (
                    "value",
                    models.BigIntegerField(
                        help_text="Starts, slots, tasks per month; -1 is no limit."
                    ),
                ),
                (
                    "duration",
                    models.FloatField(
                        blank=True, help_text="Window of a limiter, seconds.", null=True
                    ),
                ),
                ("starts_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "ends_at",
                    models.DateTimeField(
                        blank=True, help_text="Empty: until it is ended.", null=True
                    ),
                ),
                ("reason", models.CharField(max_length=200)),
                ("author", models.CharField(blank=True, max_length=150)),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, editable=False),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        help_text="Whose quota; empty for the limits of a queue.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="overrides",
                        to="plugspace_queue.organization",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "indexes": [
                    models.Index(
                        fields=["organization", "type", "key", "-id"], name="psq_override_org"
                    ),
                    models.Index(
                        condition=models.Q(("organization__isnull", True)),
                        fields=["type", "ends_at"],
                        name="psq_override_queue",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                (
                                    "key__in",
                                    [
                                        "limiter",
                                        "concurrency",
                                        "global_concurrency",
                                        "organization_concurrency",
                                    ],
                                ),
                                ("organization__isnull", True),
                            ),
                            models.Q(
                                ("key__in", ["quota", "grant"]), ("organization__isnull", False)
                            ),
                            _connector="OR",
                        ),
                        name="psq_override_key_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("value__gte", 1),
                            models.Q(("key", "quota"), ("value__gte", -1)),
                            _connector="OR",
                        ),
                        name="psq_override_value_possible",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("duration__gt", 0),
                                ("duration__isnull", False),
                                ("key", "limiter"),
                            ),
                            models.Q(
                                models.Q(("key", "limiter"), _negated=True),
                                ("duration__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="psq_override_window",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("ends_at__isnull", True),
                            ("ends_at__gte", models.F("starts_at")),
                            _connector="OR",
                        ),
                        name="psq_override_ends_later",
                    ),
                ],
            },
        ),
    ]
