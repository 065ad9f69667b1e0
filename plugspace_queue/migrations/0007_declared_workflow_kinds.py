from django.db import migrations, models


class Migration(migrations.Migration):
    # No statement reads or writes rows: constant defaults, a longer text, one constraint less.

    dependencies = [
        ("plugspace_queue", "0005_indexes_that_a_plan_needs"),
    ]

    operations = [
        migrations.RemoveConstraint(model_name="workflow", name="psq_workflow_kind_known"),
        migrations.AlterField(
            model_name="workflow", name="kind", field=models.CharField(max_length=32)
        ),
        migrations.AddField(
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
        migrations.AddField(
            model_name="task",
            name="step_name",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="In its kind.", max_length=32
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="may_fail",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Its workflow goes on when it fails or expires.",
            ),
        ),
        migrations.AddField(
            model_name="task",
            name="has_input_from",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Its kind's `input_from` makes its input.",
            ),
        ),
    ]
