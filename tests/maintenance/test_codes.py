"""What scripts read in the answer of queue_reconcile: its codes, their scopes, and its fields."""

import json
from pathlib import Path

from plugspace_queue.broker import task_store
from plugspace_queue.maintenance.reconcile.findings import KIND_OF
from tests import contracts
from tests.maintenance.scene import reconcile

CODES = Path(contracts.__file__).with_name("reconcile_codes.json")


def test_the_codes_of_findings_and_their_scopes_do_not_change():
    codes = {
        code: {"scope": kind.scope.value, "at_once": kind.at_once} for code, kind in KIND_OF.items()
    }

    assert codes == json.loads(CODES.read_text())


def test_a_finding_is_printed_with_its_code_scope_queue_key_detail_and_repair(scene):
    scene.line.run(task_store.withdraw("code", [scene.id(0)]))
    scene.redis.hset("plugspace:code:meta", "limiter", 9999)

    _, answer = reconcile("--check")

    assert answer.keys() == {"places", "findings", "repaired", "kinds"}
    assert answer["kinds"] == {"unpublished": 1, "gates_differ": 1}
    found = {one["kind"]: one for one in answer["findings"]}
    repairs = [one.pop("repair") for one in found.values()]
    assert all(repairs)
    limit = found["gates_differ"].pop("detail")
    assert limit.startswith("limiter 9999 instead of ")
    assert found == {
        "unpublished": {
            "kind": "unpublished",
            "scope": "task",
            "queue": "CODE",
            "key": scene.id(0),
            "detail": "",
        },
        "gates_differ": {
            "kind": "gates_differ",
            "scope": "queue",
            "queue": "CODE",
            "key": "code",
        },
    }
