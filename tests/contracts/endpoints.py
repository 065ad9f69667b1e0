"""Every request that does a verb, by the API and by the admin."""

from typing import Any, NamedTuple

from django.urls import reverse
from django_rq.settings import get_queues_map


class Endpoint(NamedTuple):
    """One request that does a verb."""

    verb: str
    path: str
    body: dict[str, Any] | None = None
    method: str = "POST"

    @property
    def is_api(self) -> bool:
        return not self.path.startswith("/admin/")

    def __str__(self) -> str:
        return f"{self.verb} {self.method} {self.path}"


class Rows(NamedTuple):
    """What the endpoints are for: rows of acme's."""

    task: Any
    ended: Any
    flow: Any
    key: Any
    member: Any
    grant: Any
    limit: Any
    group: Any
    """Of failures."""


LISTS = (
    *("apikey", "attempt", "audit", "dashboard", "failuregroup", "idempotencykey"),
    *("membership", "monthlyusage", "organization", "queuesettings", "task", "tierpolicy"),
    *("usageentry", "worker", "workflow"),
)
NEW_TASK = {"type": "ARCHITECT", "projectId": "site", "input": {"prompt": "x"}}
NEW_WORKFLOW = {"projectId": "site", "input": {"prompt": "x"}}
GRANT = {"type": "CODE", "amount": 1, "reason": "why"}
NO_MEMBERS = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
TIER = {"slug": "odd", "priority": 3, "request_limit": 5, "request_window": 60} | dict.fromkeys(
    ("architect", "design", "code", "analyze", "deploy", "export"), 1
)


def all_endpoints(rows: Rows) -> list[Endpoint]:
    """Every surface of every verb."""
    of_all = (looks, submits, cancels, retries, steers, policies, organizations, credentials)
    return [endpoint for of_one in of_all for endpoint in of_one(rows)]


def ours(name: str, *args: Any) -> str:
    """The path of a page of our admin."""
    return reverse(f"admin:plugspace_queue_{name}", args=args)


def rq(name: str, *args: Any) -> str:
    """The path of a page of RQ's."""
    return reverse(f"admin:django_rq_{name}", args=args)


def chosen(model: str, action: str, pk: Any) -> Endpoint:
    """An action of a list of the admin, for one row."""
    body = {"action": action, "_selected_action": [str(pk)]}
    return Endpoint(action.partition("_")[0], ours(f"{model}_changelist"), body)


def looks(rows: Rows) -> list[Endpoint]:
    index = get_queues_map()["architect"]
    return [
        Endpoint("view", "tasks/", method="GET"),
        Endpoint("view", f"tasks/{rows.task.pk}/", method="GET"),
        Endpoint("view", f"tasks/{rows.task.pk}/explain/", method="GET"),
        Endpoint("view", f"workflows/{rows.flow}/", method="GET"),
        Endpoint("view", "queues/", method="GET"),
        Endpoint("view", "organizations/acme/", method="GET"),
        Endpoint("view", "organizations/acme/usage/", method="GET"),
        Endpoint("view_fleet", "organizations/acme/grants/", method="GET"),
        Endpoint("view_fleet", "queues/code/overrides/", method="GET"),
        *(Endpoint("view_fleet", ours(f"{model}_changelist"), method="GET") for model in LISTS),
        Endpoint("view_fleet", ours("task_change", rows.task.pk), method="GET"),
        # RQ's overview is open to all staff: it shows them the queues that are not ours.
        Endpoint("view_fleet", rq("jobs", index), method="GET"),
        Endpoint("view_fleet", rq("queue_details", index), method="GET"),
        Endpoint("view_fleet", ours("dashboard_slots"), method="GET"),
        Endpoint("view_fleet", ours("organization_shares"), method="GET"),
        Endpoint("view_fleet", "/metrics", method="GET"),
    ]


def submits(rows: Rows) -> list[Endpoint]:
    return [
        Endpoint("submit", "tasks/", NEW_TASK),
        Endpoint("submit", "tasks/bulk/", {"tasks": [NEW_TASK]}),
        Endpoint("submit", "workflows/", NEW_WORKFLOW),
    ]


def cancels(rows: Rows) -> list[Endpoint]:
    return [
        Endpoint("cancel", f"tasks/{rows.task.pk}/cancel/"),
        Endpoint("cancel", f"workflows/{rows.flow}/cancel/"),
        Endpoint("cancel", ours("task_cancel", rows.task.pk)),
        Endpoint("cancel", ours("task_all", "cancel"), method="GET"),
        Endpoint("cancel", f"{ours('worker_stop')}?task={rows.task.pk}", method="GET"),
        chosen("task", "cancel_chosen", rows.task.pk),
        chosen("workflow", "cancel_chosen", rows.flow),
    ]


def retries(rows: Rows) -> list[Endpoint]:
    return [
        Endpoint("retry", f"tasks/{rows.ended.pk}/retry/"),
        Endpoint("retry", ours("task_retry", rows.ended.pk)),
        Endpoint("retry", ours("task_all", "retry"), method="GET"),
        Endpoint(
            "retry", ours("failuregroup_retry", rows.group.pk), {"reason": "why", "asked_at": 0}
        ),
        chosen("task", "retry_chosen", rows.ended.pk),
    ]


def steers(rows: Rows) -> list[Endpoint]:
    index = get_queues_map()["architect"]
    return [
        Endpoint("pause", "queues/code/pause/"),
        Endpoint("pause", "queues/code/resume/"),
        Endpoint("pause", ours("dashboard_pause", "code"), {"verb": "pause", "reason": "why"}),
        chosen("organization", "pause_chosen", "acme"),
        chosen("queuesettings", "pause_chosen", "CODE"),
        Endpoint("limit", "queues/code/", {"globalConcurrency": 7}, "PATCH"),
        Endpoint("limit", "queues/code/overrides/", {"concurrency": 9, "reason": "why"}),
        Endpoint("limit", f"queues/code/overrides/{rows.limit.pk}/", method="DELETE"),
        Endpoint("limit", ours("dashboard_limits", "code"), {"concurrency": 2, "reason": "why"}),
        Endpoint("limit", ours("dashboard_end", "code", rows.limit.pk), {"reason": "why"}),
        Endpoint(
            "triage", ours("failuregroup_decide", rows.group.pk), {"verb": "mute", "note": "why"}
        ),
        Endpoint("press_rq", rq("stop_job", index, rows.task.pk)),
        Endpoint("press_rq", rq("clear", index)),
    ]


def policies(rows: Rows) -> list[Endpoint]:
    return [
        Endpoint("set_policy", "queues/code/", {"policy": "weighted"}, "PATCH"),
        Endpoint("set_policy", "queues/code/", {"limiter": None, "defaultPriority": 1}, "PATCH"),
        Endpoint("set_policy", ours("queuesettings_change", "CODE"), {"policy": "weighted"}),
        Endpoint("set_tiers", ours("tierpolicy_add"), TIER),
        Endpoint("set_tiers", ours("tierpolicy_change", "free"), TIER),
    ]


def organizations(rows: Rows) -> list[Endpoint]:
    return [
        Endpoint("set_organization", "organizations/acme/", {"tier": "enterprise"}, "PATCH"),
        Endpoint("set_organization", "organizations/acme/", {"isSuspended": True}, "PATCH"),
        Endpoint(
            "set_organization", ours("organization_change", "acme"), {"name": "A", **NO_MEMBERS}
        ),
        Endpoint(
            "grant", "organizations/acme/grants/", {"type": "CODE", "amount": 1, "reason": "why"}
        ),
        Endpoint("grant", f"organizations/acme/grants/{rows.grant.pk}/", method="DELETE"),
        Endpoint("grant", ours("organization_grant", "acme"), GRANT),
        Endpoint("grant", ours("organization_end", "acme", rows.grant.pk), {"reason": "why"}),
        Endpoint(
            "set_organization", ours("organization_tier", "acme"), {"tier": "", "reason": "why"}
        ),
        Endpoint("set_organization", ours("organization_add"), {"id": "new", **NO_MEMBERS}),
    ]


def credentials(rows: Rows) -> list[Endpoint]:
    membership = {"organization": "acme", "user": rows.member.user_id, "role": "viewer"}
    return [
        Endpoint("set_members", ours("membership_change", rows.member.pk), membership),
        Endpoint("set_members", ours("membership_delete", rows.member.pk), {"post": "yes"}),
        Endpoint("set_keys", ours("apikey_add"), {"organization": "acme", "scopes": ["read"]}),
        Endpoint("set_keys", ours("apikey_change", rows.key.pk), {"scopes": ["read", "submit"]}),
    ]
