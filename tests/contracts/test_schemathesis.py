"""The running API against its own document: no 5xx, and nothing that the document does not say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.test import override_settings

from plugspace_queue import queue_manager
from plugspace_queue.domain.enums import Scope
from plugspace_queue.models import ApiKey
from tests.factories import arguments, make_organization

pytest.importorskip("schemathesis", reason="`make setup` installs it")

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

# "examples,coverage,fuzzing" looks at every boundary of the document too, and takes minutes.
PHASES = os.environ.get("PSQ_SCHEMATHESIS_PHASES", "examples,fuzzing")
EXAMPLES = os.environ.get("PSQ_SCHEMATHESIS_EXAMPLES", "10")
# Valid by its schema is not enough: quotas, states and the rules of a type refuse too.
TOO_STRICT = "positive_data_acceptance"


@pytest.mark.slow
@override_settings(PLUGSPACE_QUEUE={**settings.PLUGSPACE_QUEUE, "WAIT_THREADS": 0})
def test_whatever_is_sent_the_answer_is_one_of_the_document(live_server, tmp_path: Path):
    _, key = ApiKey.issue(make_organization("acme"), [scope.value for scope in Scope])
    for _ in range(3):
        queue_manager.add_task(**arguments())
    words = [sys.executable, "-m", "schemathesis.cli", "run", f"{live_server.url}/api/v1/schema/"]
    options = ["--checks", "all", "--exclude-checks", TOO_STRICT, "--phases"]
    options += [PHASES, "--max-examples", EXAMPLES, "--seed", "1"]
    options += ["--generation-deterministic", "--continue-on-failure", "--no-color"]

    done = subprocess.run(
        [*words, *options, "--header", f"Authorization: Bearer {key}"],
        cwd=tmp_path,
        env=os.environ | {"no_proxy": "*"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr
