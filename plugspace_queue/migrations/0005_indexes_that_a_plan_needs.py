import django.db.models.deletion
from django.db import migrations, models

import plugspace_queue.models.indexes
from plugspace_queue.migrations.operations import (
    AddIndexOnline,
    RemoveForeignKeyIndexOnline,
    RemoveIndexOnline,
)


class Migration(migrations.Migration):
    # Indexes are changed concurrently: no transaction. Run it again if it was interrupted.
    atomic = False

    dependencies = [
        ("plugspace_queue", "0004_administer_queue"),
    ]

    operations = [
        # What is to come first: no query is without its index meanwhile.
        AddIndexOnline(
            model_name="task",
            index=plugspace_queue.models.indexes.PartialOnPostgres(
                condition=models.Q(("state", "complete"), _negated=True),
                fields=["state", "type", "-id"],
                name="psq_task_not_complete",
            ),
        ),
        RemoveIndexOnline(model_name="task", name="psq_task_state_type"),
        AddIndexOnline(
            model_name="task",
            index=models.Index(
                condition=models.Q(("workflow__isnull", False)),
                fields=["workflow"],
                name="psq_task_workflow",
            ),
        ),
        RemoveForeignKeyIndexOnline(
            model_name="task",
            name="workflow",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="tasks",
                to="plugspace_queue.workflow",
            ),
        ),
        # The unique constraints of both begin with these columns.
        RemoveForeignKeyIndexOnline(
            model_name="attempt",
            name="task",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="attempts",
                to="plugspace_queue.task",
            ),
        ),
        RemoveForeignKeyIndexOnline(
            model_name="dependency",
            name="parent",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="dependents",
                to="plugspace_queue.task",
            ),
        ),
    ]
