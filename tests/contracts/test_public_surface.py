"""What a host project may import, and nothing less."""

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import plugspace_queue
from plugspace_queue import TaskType, conf, errors, processor, queue_manager, testing, urls

VERBS = [
    "add_task",
    "add_tasks",
    "add_workflow",
    "get_task",
    "get_workflow",
    "get_queue_stats",
    "get_organization_tasks",
    "explain",
    "cancel",
    "retry",
    "pause",
    "resume",
    "set_priority",
    "sync_organizations",
    "create_key",
    "revoke_key",
    "revoke_keys",
    "set_member",
    "remove_member",
    "set_organization",
    "change_organization",
    "set_queue",
    "cancel_workflow",
    "retry_workflow",
    "wait_workflow",
    "register_worker",
    "on",
    "close",
]


PUBLIC = ("catalogs", "conf", "errors", "exports", "schemas", "signals", "testing", "urls")
"""Modules and packages that a host project may import, beside the names of the package itself."""


def test_the_package_exports_its_names_and_no_more():
    assert sorted(plugspace_queue.__all__) == [
        "Context",
        "From",
        "Limiter",
        "TaskType",
        "errors",
        "processor",
        "queue_manager",
        "task_type",
        "workflow_kind",
    ]
    assert all(hasattr(plugspace_queue, name) for name in plugspace_queue.__all__)
    assert callable(processor)
    assert [kind.value for kind in TaskType][:2] == ["ARCHITECT", "DESIGN"]


def test_the_manager_has_every_documented_verb_and_its_awaitable_twin():
    for verb in VERBS:
        assert inspect.getdoc(getattr(queue_manager, verb)), verb
        if verb not in ("register_worker", "on"):
            assert inspect.iscoroutinefunction(getattr(queue_manager, f"a{verb}")), verb
    # `await` is a keyword.
    assert inspect.getdoc(queue_manager.wait)
    assert inspect.iscoroutinefunction(queue_manager.await_result)


def test_codes_of_errors_are_stable():
    refusals = [c for c in vars(errors).values() if inspect.isclass(c)]
    codes = {c.code: c.http_status for c in refusals if issubclass(c, errors.QueueError)}

    assert codes == {
        "QUEUE_ERROR": 500,
        "VALIDATION_ERROR": 400,
        "AUTHENTICATION_ERROR": 401,
        "PERMISSION_DENIED": 403,
        "ORGANIZATION_SUSPENDED": 403,
        "TENANT_CALLABLE_FAILED": 500,
        "NOT_FOUND": 404,
        "ORGANIZATION_UNKNOWN": 404,
        "QUOTA_EXCEEDED": 402,
        "INVALID_STATE": 409,
        "IDEMPOTENCY_CONFLICT": 409,
        "PAYLOAD_TOO_LARGE": 413,
        "REQUEST_RATE_LIMITED": 429,
        "UNAVAILABLE": 503,
        "TASK_FAILED": 500,
        "WAIT_TIMEOUT": 500,
        "INVALID_TRANSITION": 500,
        "PROCESSOR_CONFLICT": 500,
        "INVALID_PROCESSOR": 500,
        "INVALID_TASK_TYPE": 500,
        "TASK_TYPE_RESERVED": 500,
        "TASK_TYPE_CONFLICT": 500,
        "CATALOG_FROZEN": 500,
        "INVALID_KIND": 500,
        "KIND_CONFLICT": 500,
    }


def test_a_host_project_includes_our_urls_and_takes_rq_settings_from_us():
    queues, rq = conf.rq_settings(url="redis://localhost/0")

    assert urls.app_name == "plugspace_queue"
    assert set(queues) == {kind.queue_name for kind in TaskType}
    assert set(rq) == {"WORKER_CLASS", "JOB_CLASS", "QUEUE_CLASS"}


@pytest.mark.parametrize("page", sorted(Path("project").rglob("*.py")), ids=str)
def test_the_demo_project_imports_only_what_a_host_project_may(page: Path):
    tree = ast.parse(page.read_text(encoding="utf-8"))
    used = [name for node in ast.walk(tree) for name in _imported(node)]

    assert [name for name in used if not _is_public(*name)] == []


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Modules of the package and the names that are taken from them; "" for the module itself."""
    if isinstance(node, ast.Import):
        yield from ((one.name, "") for one in node.names if one.name.startswith("plugspace_queue"))
    elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("plugspace_queue"):
        yield from ((str(node.module), one.name) for one in node.names)


def _is_public(module: str, name: str) -> bool:
    _, _, inner = module.partition(".")
    if not inner:
        return name in (*plugspace_queue.__all__, *PUBLIC)
    if inner.split(".")[0] not in PUBLIC:
        return False
    listed = getattr(import_module(module), "__all__", None)
    return not name.startswith("_") and (listed is None or name in listed)


def test_a_host_project_has_tools_for_its_tests():
    assert testing.__all__ == [
        "assert_no_tasks",
        "assert_state",
        "assert_submitted",
        "declarations",
        "eager",
        "processors",
        "run_pending",
    ]
    assert all(inspect.getdoc(getattr(testing, name)) for name in testing.__all__)
