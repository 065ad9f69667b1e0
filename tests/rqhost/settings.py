"""Settings of a project with a queue, a job, a worker class and a pickling queue of its own."""

from tests.processes.settings import *  # noqa: F403
from tests.processes.settings import RQ, RQ_QUEUES

RQ_QUEUES = {
    **RQ_QUEUES,
    "mail": {key: value for key, value in RQ_QUEUES["default"].items() if key != "SERIALIZER"},
}
RQ = {
    **RQ,
    "STOCK_QUEUE_CLASS": "tests.rqhost.classes.HostQueue",
    "STOCK_JOB_CLASS": "tests.rqhost.classes.HostJob",
    "STOCK_WORKER_CLASS": "tests.rqhost.classes.HostWorker",
}
