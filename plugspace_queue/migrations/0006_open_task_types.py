import django.core.validators
from django.db import migrations, models

import plugspace_queue.models.tier
from plugspace_queue.migrations.operations import LengthenTextOnline, RemoveConstraintOnline


class Migration(migrations.Migration):
    # Each table is locked for a moment, and the wait for it is tried again: no transaction. Run it
    # again if it was interrupted.
    atomic = False

    dependencies = [
        ("plugspace_queue", "0005_indexes_that_a_plan_needs"),
    ]

    operations = [
        RemoveConstraintOnline(model_name="queuesettings", name="psq_queue_type_known"),
        LengthenTextOnline(
            model_name="queuesettings",
            name="type",
            field=models.CharField(max_length=32, primary_key=True, serialize=False),
        ),
        LengthenTextOnline(model_name="task", name="type", field=models.CharField(max_length=32)),
        LengthenTextOnline(
            model_name="monthlyusage", name="type", field=models.CharField(max_length=32)
        ),
        LengthenTextOnline(
            model_name="usageentry", name="type", field=models.CharField(max_length=32)
        ),
        LengthenTextOnline(
            model_name="queueminute", name="type", field=models.CharField(max_length=32)
        ),
        migrations.AddField(
            model_name="queuesettings",
            name="registered_concurrency",
            field=models.PositiveIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="queuesettings",
            name="registered_limiter_max",
            field=models.PositiveIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="queuesettings",
            name="registered_limiter_duration",
            field=models.FloatField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="tierpolicy",
            name="default_quota",
            field=models.BigIntegerField(
                db_default=-1,
                default=-1,
                help_text="Tasks per month of each type that says nothing of this tier; -1 is no"
                " limit.",
                validators=[django.core.validators.MinValueValidator(-1)],
            ),
        ),
        migrations.AlterField(
            model_name="tierpolicy",
            name="quotas",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="Tasks per month and type, where they differ from what the type declares;"
                " -1 is no limit.",
                validators=[plugspace_queue.models.tier.validate_quotas],
            ),
        ),
    ]
