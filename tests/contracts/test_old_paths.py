"""Paths that settings of earlier versions name."""

import pytest
from django.utils.module_loading import import_string

from plugspace_queue.conf import rq_settings


@pytest.mark.parametrize(
    ("old", "setting"),
    [
        ("plugspace_queue.worker.worker.Worker", "WORKER_CLASS"),
        ("plugspace_queue.engine.job.Job", "JOB_CLASS"),
        ("plugspace_queue.engine.queue.Queue", "QUEUE_CLASS"),
    ],
)
def test_the_old_path_of_each_class_of_rq_names_todays_class(old: str, setting: str):
    assert import_string(old) is import_string(rq_settings()[1][setting])
