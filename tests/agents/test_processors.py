"""The six processors hand over to each other in wire form, as the workflows run them."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from plugspace_queue import exports
from plugspace_queue.domain.task_types import TaskType
from plugspace_queue.errors import TaskCancelled, ValidationFailed
from project import processors, sites
from tests.agents.web import Web, running_web, text


class Bench:
    """A context as the worker gives it, without a worker."""

    def __init__(self, task_type: str, data: dict[str, Any], results: dict[str, Any]) -> None:
        self.input = TaskType(task_type).input.validate(data)
        self.results = results
        self.feedback: list[str] = []
        self.iteration = 0
        self.task_id = "t1"
        self.organization_id = "acme"
        self.project_id = "p1"
        self.attempt = 1
        self.idempotency_key = f"plugspace:{task_type}"
        self.should_stop = False
        self.progress: list[float] = []
        self.lines: list[str] = []
        self.tokens = 0

    def report_progress(self, percent: float, stage: str | None = None) -> None:
        self.progress.append(percent)

    def log(self, message: str) -> None:
        self.lines.append(message)

    def record_usage(self, tokens: int = 0, cost: Decimal | str = 0) -> None:  # type: ignore[assignment]
        self.tokens += tokens

    def check_cancelled(self) -> None:
        if self.should_stop:
            raise TaskCancelled


FUNCTIONS: dict[str, Any] = {
    "ARCHITECT": processors.plan_site,
    "DESIGN": processors.design_site,
    "CODE": processors.write_site,
    "ANALYZE": processors.analyze_site,
    "DEPLOY": processors.deploy_site,
    "EXPORT": processors.export_site,
}


def run(
    task_type: str, data: dict[str, Any], results: dict[str, Any], **more: Any
) -> dict[str, Any]:
    """The wire form of a processor's output; it must be valid, small and told of."""
    bench = Bench(task_type, data, results)
    for name, value in more.items():
        setattr(bench, name, value)
    wire: dict[str, Any] = json.loads(json.dumps(FUNCTIONS[task_type](bench).to_wire()))
    assert TaskType(task_type).output.type.from_wire(wire).to_wire() == wire
    assert len(json.dumps(wire)) < 300_000
    assert bench.progress == sorted(bench.progress)
    assert bench.progress
    assert bench.tokens > 0
    assert bench.lines == [wire["summary"]]
    return wire


@pytest.fixture(autouse=True)
def root(tmp_path: Path, settings: Any) -> None:
    settings.PLUGSPACE_SITES_ROOT = tmp_path


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("ANALYZE_ALLOW_PRIVATE", "1")
    with running_web() as running:
        running.pages["/"] = text("<title>Tulip</title><h1>Our restaurant</h1>")
        yield running


def make_files() -> dict[str, Any]:
    results: dict[str, Any] = {}
    results["ARCHITECT"] = run("ARCHITECT", {"prompt": "Create a SaaS dashboard"}, results)
    results["DESIGN"] = run("DESIGN", {}, results)
    return run("CODE", {"options": {"includeTests": True}}, results)


def test_create_runs_from_a_prompt_to_a_published_and_packed_site() -> None:
    code = make_files()
    deployed = run("DEPLOY", {}, {"CODE": code})
    exported = run("EXPORT", {}, {"CODE": code})

    assert code["tests"]["failed"] == 0
    assert deployed["url"] == "/sites/acme/p1/"
    assert (sites.sites_root() / deployed["path"] / "dashboard.html").is_file()
    kept = exports.get(exported["exportId"], "acme")
    assert kept is not None
    assert kept.data.startswith(b"PK")
    assert exports.get(exported["exportId"], "another") is None


def test_files_may_be_given_with_the_task_itself() -> None:
    code = make_files()

    assert run("DEPLOY", {"code": code, "name": "mine"}, {})["url"] == "/sites/acme/mine/"


def test_clone_builds_on_what_was_seen(web: Web) -> None:
    seen = run("ANALYZE", {"url": f"{web.url}/"}, {})
    plan = run("ARCHITECT", {"prompt": "Clone it"}, {"ANALYZE": seen})

    assert (plan["name"], plan["industry"]) == ("Tulip", "restaurant")


def test_refine_follows_the_feedback_through_plan_and_design() -> None:
    said = {"feedback": ["darker, and add a gallery page"], "iteration": 2}
    plan = run("ARCHITECT", {"prompt": "A shop"}, {}, **said)
    design = run("DESIGN", {}, {"ARCHITECT": plan}, **said)

    assert plan["iteration"] == 2
    assert "gallery" in [page["slug"] for page in plan["pages"]]
    assert design["scheme"] == "dark"


def test_code_alone_makes_up_what_is_missing() -> None:
    assert run("CODE", {}, {})["entry"] == "index.html"


@pytest.mark.parametrize("task_type", ["DEPLOY", "EXPORT"])
def test_without_files_there_is_nothing_to_deliver(task_type: str) -> None:
    with pytest.raises(ValidationFailed, match="no files"):
        run(task_type, {}, {})


@pytest.mark.parametrize("task_type", ["ARCHITECT", "DESIGN", "CODE"])
def test_a_cancelled_task_stops(task_type: str) -> None:
    data = {"prompt": "A shop"} if task_type == "ARCHITECT" else {}

    with pytest.raises(TaskCancelled):
        run(task_type, data, {}, should_stop=True)


def test_private_addresses_are_refused_unless_switched_on(web: Web, monkeypatch: Any) -> None:
    monkeypatch.delenv("ANALYZE_ALLOW_PRIVATE")

    with pytest.raises(ValidationFailed, match="public internet"):
        run("ANALYZE", {"url": f"{web.url}/"}, {})
