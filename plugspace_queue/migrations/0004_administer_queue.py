from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("plugspace_queue", "0003_indexes_of_rare_rows"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="task",
            options={
                "ordering": ["-id"],
                "permissions": (
                    ("operate_queue", "Can retry and cancel tasks, pause, resume and limit queues"),
                    (
                        "administer_queue",
                        "Can change tiers, organizations, members, API keys and policies",
                    ),
                ),
            },
        ),
    ]
