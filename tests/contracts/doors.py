"""Every request that does a verb, by the API and by the admin."""

from typing import Any, NamedTuple

from django.urls import reverse
from django_rq.settings import get_queues_map


class Door(NamedTuple):
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
    """What the doors are for: rows of acme's."""

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


def all_doors(rows: Rows) -> list[Door]:
    """Every surface of every verb."""
    of_all = (looks, submits, cancels, retries, steers, policies, organizations, credentials)
    return [door for of_one in of_all for door in of_one(rows)]


def ours(name: str, *args: Any) -> str:
    """The path of a page of our admin."""
    return reverse(f"admin:plugspace_queue_{name}", args=args)


def rq(name: str, *args: Any) -> str:
    """The path of a page of RQ's."""
    return reverse(f"admin:django_rq_{name}", args=args)


def chosen(model: str, action: str, pk: Any) -> Door:
    """An action of a list of the admin, for one row."""
    body = {"action": action, "_selected_action": [str(pk)]}
    return Door(action.partition("_")[0], ours(f"{model}_changelist"), body)


def looks(rows: Rows) -> list[Door]:
    index = get_queues_map()["architect"]
    return [
        Door("view", "tasks/", method="GET"),
        Door("view", f"tasks/{rows.task.pk}/", method="GET"),
        Door("view", f"tasks/{rows.task.pk}/explain/", method="GET"),
        Door("view", f"workflows/{rows.flow}/", method="GET"),
        Door("view", "queues/", method="GET"),
        Door("view", "organizations/acme/", method="GET"),
        Door("view", "organizations/acme/usage/", method="GET"),
        Door("view_fleet", "organizations/acme/grants/", method="GET"),
        Door("view_fleet", "queues/code/overrides/", method="GET"),
        *(Door("view_fleet", ours(f"{model}_changelist"), method="GET") for model in LISTS),
        Door("view_fleet", ours("task_change", rows.task.pk), method="GET"),
        # RQ's overview is open to all staff: it shows them the queues that are not ours.
        Door("view_fleet", rq("jobs", index), method="GET"),
        Door("view_fleet", rq("queue_details", index), method="GET"),
        Door("view_fleet", ours("dashboard_slots"), method="GET"),
        Door("view_fleet", ours("organization_shares"), method="GET"),
        Door("view_fleet", "/metrics", method="GET"),
    ]


def submits(rows: Rows) -> list[Door]:
    return [
        Door("submit", "tasks/", NEW_TASK),
        Door("submit", "tasks/bulk/", {"tasks": [NEW_TASK]}),
        Door("submit", "workflows/", NEW_WORKFLOW),
    ]


def cancels(rows: Rows) -> list[Door]:
    return [
        Door("cancel", f"tasks/{rows.task.pk}/cancel/"),
        Door("cancel", f"workflows/{rows.flow}/cancel/"),
        Door("cancel", ours("task_cancel", rows.task.pk)),
        Door("cancel", ours("task_all", "cancel"), method="GET"),
        Door("cancel", f"{ours('worker_stop')}?task={rows.task.pk}", method="GET"),
        chosen("task", "cancel_chosen", rows.task.pk),
        chosen("workflow", "cancel_chosen", rows.flow),
    ]


def retries(rows: Rows) -> list[Door]:
    return [
        Door("retry", f"tasks/{rows.ended.pk}/retry/"),
        Door("retry", ours("task_retry", rows.ended.pk)),
        Door("retry", ours("task_all", "retry"), method="GET"),
        Door("retry", ours("failuregroup_retry", rows.group.pk), {"reason": "why", "asked_at": 0}),
        chosen("task", "retry_chosen", rows.ended.pk),
    ]


def steers(rows: Rows) -> list[Door]:
    index = get_queues_map()["architect"]
    return [
        Door("pause", "queues/code/pause/"),
        Door("pause", "queues/code/resume/"),
        Door("pause", ours("dashboard_pause", "code"), {"verb": "pause", "reason": "why"}),
        chosen("organization", "pause_chosen", "acme"),
        chosen("queuesettings", "pause_chosen", "CODE"),
        Door("limit", "queues/code/", {"globalConcurrency": 7}, "PATCH"),
        Door("limit", "queues/code/overrides/", {"concurrency": 9, "reason": "why"}),
        Door("limit", f"queues/code/overrides/{rows.limit.pk}/", method="DELETE"),
        Door("limit", ours("dashboard_limits", "code"), {"concurrency": 2, "reason": "why"}),
        Door("limit", ours("dashboard_end", "code", rows.limit.pk), {"reason": "why"}),
        Door("triage", ours("failuregroup_decide", rows.group.pk), {"verb": "mute", "note": "why"}),
        Door("press_rq", rq("stop_job", index, rows.task.pk)),
        Door("press_rq", rq("clear", index)),
    ]


def policies(rows: Rows) -> list[Door]:
    return [
        Door("set_policy", "queues/code/", {"policy": "weighted"}, "PATCH"),
        Door("set_policy", "queues/code/", {"limiter": None, "defaultPriority": 1}, "PATCH"),
        Door("set_policy", ours("queuesettings_change", "CODE"), {"policy": "weighted"}),
        Door("set_tiers", ours("tierpolicy_add"), TIER),
        Door("set_tiers", ours("tierpolicy_change", "free"), TIER),
    ]


def organizations(rows: Rows) -> list[Door]:
    return [
        Door("set_organization", "organizations/acme/", {"tier": "enterprise"}, "PATCH"),
        Door("set_organization", "organizations/acme/", {"isSuspended": True}, "PATCH"),
        Door("set_organization", ours("organization_change", "acme"), {"name": "A", **NO_MEMBERS}),
        Door("grant", "organizations/acme/grants/", {"type": "CODE", "amount": 1, "reason": "why"}),
        Door("grant", f"organizations/acme/grants/{rows.grant.pk}/", method="DELETE"),
        Door("grant", ours("organization_grant", "acme"), GRANT),
        Door("grant", ours("organization_end", "acme", rows.grant.pk), {"reason": "why"}),
        Door("set_organization", ours("organization_tier", "acme"), {"tier": "", "reason": "why"}),
        Door("set_organization", ours("organization_add"), {"id": "new", **NO_MEMBERS}),
    ]


def credentials(rows: Rows) -> list[Door]:
    membership = {"organization": "acme", "user": rows.member.user_id, "role": "viewer"}
    return [
        Door("set_members", ours("membership_change", rows.member.pk), membership),
        Door("set_members", ours("membership_delete", rows.member.pk), {"post": "yes"}),
        Door("set_keys", ours("apikey_add"), {"organization": "acme", "scopes": ["read"]}),
        Door("set_keys", ours("apikey_change", rows.key.pk), {"scopes": ["read", "submit"]}),
    ]
