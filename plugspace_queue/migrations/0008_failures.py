import django.db.models.deletion
from django.db import migrations, models

from plugspace_queue.migrations.operations import (
    AddColumnOnline,
    AddIndexOnline,
    CreateModelOnce,
)


class Migration(migrations.Migration):
    # The table of tasks is changed while others write: no transaction. Run it again if it was
    # interrupted.
    atomic = False

    dependencies = [
        ("plugspace_queue", "0007_declared_workflow_kinds"),
    ]

    operations = [
        AddColumnOnline(
            model_name="task",
            name="tier",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Slug, at acceptance.",
                max_length=32,
            ),
        ),
        AddColumnOnline(
            model_name="task",
            name="error_code",
            field=models.CharField(blank=True, db_default="", default="", max_length=64),
        ),
        AddColumnOnline(
            model_name="task",
            name="fingerprint",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Of its failure group.",
                max_length=24,
            ),
        ),
        AddIndexOnline(
            model_name="task",
            index=models.Index(
                condition=models.Q(("state", "failed")),
                fields=["type", "error_code", "-id"],
                name="psq_task_failed",
            ),
        ),
        CreateModelOnce(
            name="FailureGroup",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("type", models.CharField(max_length=32)),
                ("code", models.CharField(max_length=64)),
                (
                    "fingerprint",
                    models.CharField(
                        blank=True,
                        help_text="Empty: causes too many to be kept apart.",
                        max_length=24,
                    ),
                ),
                ("first_seen", models.DateTimeField()),
                ("last_seen", models.DateTimeField()),
                ("total", models.BigIntegerField(default=0)),
                ("class_name", models.CharField(blank=True, max_length=64)),
                ("message", models.CharField(blank=True, max_length=500)),
                ("stack", models.TextField(blank=True)),
                (
                    "task_id",
                    models.UUIDField(
                        blank=True, help_text="The newest; it may be gone.", null=True
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("open", "Open"), ("muted", "Muted"), ("resolved", "Resolved")],
                        default="open",
                        max_length=8,
                    ),
                ),
                (
                    "muted_until",
                    models.DateTimeField(blank=True, help_text="Empty: without an end.", null=True),
                ),
                ("note", models.CharField(blank=True, max_length=200)),
                (
                    "changed_by",
                    models.CharField(blank=True, help_text="A user name.", max_length=150),
                ),
                ("changed_at", models.DateTimeField(blank=True, null=True)),
                ("reopened_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "failure group",
                "verbose_name_plural": "failures",
                "ordering": ["-last_seen"],
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("type", "code", "fingerprint"), name="psq_failure_group_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("state__in", ["open", "muted", "resolved"])),
                        name="psq_failure_group_state_known",
                    ),
                ],
            },
        ),
        CreateModelOnce(
            name="FailureMinute",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("minute", models.DateTimeField()),
                ("n", models.PositiveIntegerField()),
                (
                    "group",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="minutes",
                        to="plugspace_queue.failuregroup",
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="plugspace_queue.organization",
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "indexes": [models.Index(fields=["minute"], name="psq_failure_minute")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("group", "minute", "organization"), name="psq_failure_minute_once"
                    )
                ],
            },
        ),
    ]
