from django.db import migrations, models

from plugspace_queue.migrations.operations import (
    AddColumnOnline,
    LengthenTextOnline,
    RemoveConstraintOnline,
)


class Migration(migrations.Migration):
    # Each table is locked for a moment, and the wait for it is tried again: no transaction. Run it
    # again if it was interrupted.
    atomic = False

    dependencies = [
        ("plugspace_queue", "0006_open_task_types"),
    ]

    operations = [
        RemoveConstraintOnline(model_name="workflow", name="psq_workflow_kind_known"),
        LengthenTextOnline(
            model_name="workflow", name="kind", field=models.CharField(max_length=32)
        ),
        AddColumnOnline(
            model_name="workflow",
            name="kind_version",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="A digest of its graph.",
                max_length=16,
            ),
        ),
        AddColumnOnline(
            model_name="task",
            name="step_name",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="In its kind.", max_length=32
            ),
        ),
        AddColumnOnline(
            model_name="task",
            name="may_fail",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Its workflow goes on when it fails or expires.",
            ),
        ),
        AddColumnOnline(
            model_name="task",
            name="has_input_from",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Its kind's `input_from` makes its input.",
            ),
        ),
    ]
