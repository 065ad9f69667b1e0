from django.db import migrations, models

from plugspace_queue.migrations.operations import AddIndexOnline


class Migration(migrations.Migration):
    # The index is created concurrently: no transaction. Run it again if it was interrupted.
    atomic = False

    dependencies = [
        ("plugspace_queue", "0009_overrides"),
    ]

    operations = [
        AddIndexOnline(
            model_name="monthlyusage",
            index=models.Index(fields=["month", "organization"], name="psq_usage_month"),
        ),
    ]
