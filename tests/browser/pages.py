"""The addresses of our pages in a busy scene."""

from tests.browser.scene import Scene

BASE = "/admin/plugspace_queue/"


def addresses(scene: Scene) -> dict[str, str]:
    """By the names of their pictures."""
    return {
        "dashboard": f"{BASE}dashboard/",
        "queue": f"{BASE}dashboard/code/",
        "workers": f"{BASE}worker/",
        "audit": f"{BASE}audit/",
        "task-waiting": f"{BASE}task/{scene.waiting.pk}/change/",
        "task": f"{BASE}task/{scene.finished.pk}/change/",
        "task-failed": f"{BASE}task/{scene.broken.pk}/change/",
        "workflow": f"{BASE}workflow/{scene.workflow.pk}/change/",
        "organization": f"{BASE}organization/northwind/change/",
        "tasks": f"{BASE}task/",
        "tasks-all": f"{BASE}task/all/retry/?state__exact=failed",
        "failures": f"{BASE}failuregroup/",
        "failures-not-valid": f"{BASE}failuregroup/?state=ended",
        "failures-none": f"{BASE}failuregroup/?organization=nobody",
        "failure": f"{BASE}failuregroup/{scene.group.pk}/change/?last=1h",
        "slots": f"{BASE}dashboard/slots/",
        "shares": f"{BASE}organization/shares/",
        "organizations": f"{BASE}organization/",
        "stop": f"{BASE}worker/stop/?worker=worker-a.7f3",
        "api-key": f"{BASE}apikey/add/",
    }
