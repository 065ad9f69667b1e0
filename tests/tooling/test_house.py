"""The rules of the layout: names, sizes and importers of modules.

Each list of exceptions may only become shorter: a new exception fails, and so does an entry that is
no exception any more.
"""

import tomllib
from collections.abc import Collection
from pathlib import Path

import pytest

from tests.tooling import sources
from tests.tooling.sources import Module, modules

ROOT = Path(__file__).parents[2]

MOST_LINES = 350
LONG = {"manager"}
"""All verbs are one class, each with a docstring for those who call it."""

FEW_LINES = 60
"""A module with one importer and fewer lines belongs into that importer."""

ROOT_MODULES = {
    # Django looks for these names.
    *{"apps", "urls", "signals", "checks"},
    # What hosts and all packages share.
    *{
        "conf",
        "errors",
        "manager",
        "exports",
        "metrics",
        "audit_log",
        "csp",
        "embedded_redis",
        "task_log",
    },
}
"""Modules that stand beside the packages. A new one needs a page in docs/decisions."""

FOUND_BY_NAME = {"apps", "urls", "signals", "checks", "exports"}
"""Modules that Django or a host imports, so that one importer in the package says nothing."""

COMMANDS = "management.commands."

SMALL_MODULES = {
    "api.health",
    # What the package's own file would do when it is imported, and a check.
    "admin.sites",
    # What a typed submit returns: users read it alone.
    "domain.handles",
    *{"broker.counters", "broker.exports", "broker.fair_order", "broker.result_notes"},
    *{"models.idempotency", "models.pages", "worker.lifeline"},
    # A migration imports it too.
    "models.indexes",
}
"""Modules with one importer and fewer lines than FEW_LINES."""

OLD_WORDS = {
    *{"aside", "announcing", "auditing", "closing", "crew", "crews", "crossing", "desk", "due"},
    *{"elsewhere", "ended", "ending", "feeds", "follower", "following", "guarding", "judge"},
    *{"leftovers", "line", "lookout", "measuring", "mending", "mirrors", "moments", "patrol"},
    *{"pump", "recorder", "recovering", "retired", "sampling", "steering", "sweeping", "tidying"},
    *{"told", "troubles", "turns", "upkeep", "waker", "whys"},
}
"""Names of modules that a reader of other queues does not know; the glossary has better ones."""

NOUNS = {"findings", "routing", "settings"}

ODD_MODULES = {
    *{"rq.reading"},
    *{"testing.pending", "testing.running"},
    *{
        "worker.starting",
    },
}
"""Modules that are named by an old word or by what they do (`…ing`) instead of a noun."""

REDIS_HOUSES = {"broker", "rq", "worker"}


def assert_only(found: Collection[str], allowed: Collection[str], advice: str) -> None:
    """Fail with the names that are new, or with those that are to be taken off the list."""
    new, mended = sorted(set(found) - set(allowed)), sorted(set(allowed) - set(found))
    assert not new, f"{advice} {new}"
    assert not mended, f"Take them off the list of exceptions, they are mended: {mended}"


def test_no_two_classes_have_the_same_name():
    # Django finds the commands by that name.
    several = {n: where for n, where in sources.classes().items() if len(where) > 1}
    several.pop("Command")

    assert not several, "Give the class a name that no other one has."


def test_a_small_module_has_more_than_one_importer():
    small = {
        name
        for name, who in sources.importers().items()
        if len(who) == 1 and is_small(modules()[name])
    }

    assert_only(small, SMALL_MODULES, "Merge the module into the only one that imports it.")


def is_small(module: Module) -> bool:
    is_known = module.name in FOUND_BY_NAME or module.name.startswith(COMMANDS)
    return module.lines < FEW_LINES and not module.is_package and not is_known


def test_the_root_has_only_the_modules_that_are_listed():
    root = {name for name, module in modules().items() if "." not in name}
    loose = {name for name in root if not modules()[name].is_package}

    assert_only(
        loose,
        ROOT_MODULES,
        "A new module belongs into a package; beside them only with a page in docs/decisions.",
    )


def test_modules_are_named_by_nouns_that_others_use():
    odd = {name for name, module in modules().items() if is_odd(module)}

    assert_only(odd, ODD_MODULES, "Name the module by a noun that other queues use for the thing.")


def is_odd(module: Module) -> bool:
    # Packages are named for an area of work: processing, publishing, testing.
    last = module.word.rpartition("_")[2]
    is_verb = last.endswith(("ing", "ings")) and not module.is_package
    return (is_verb or module.word in OLD_WORDS) and last not in NOUNS


def test_no_module_is_longer_than_one_can_read_at_a_time():
    long = {name: module.lines for name, module in modules().items() if module.lines > MOST_LINES}

    assert long.keys() == LONG, long


@pytest.mark.parametrize("name", ["redis", "layers", "rest", "project"])
def test_the_contract_of_imports_is_there(name: str):
    contracts = _contracts()

    assert name in contracts


def test_only_the_broker_rqs_classes_and_the_worker_may_import_redis_or_rq():
    contract = _contracts()["redis"]
    excepted = {line.split(" -> ")[0].split(".")[1] for line in contract["ignore_imports"]}

    assert excepted == REDIS_HOUSES
    assert set(contract["forbidden_modules"]) == {"rq", "django_rq", "redis", "django_redis"}


def test_every_package_and_root_module_has_a_layer():
    layers = _contracts()["layers"]

    assert layers["exhaustive"]
    assert layers["exhaustive_ignores"] == ["migrations"]


def _contracts() -> dict[str, dict[str, list[str]]]:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {entry["id"]: entry for entry in told["tool"]["importlinter"]["contracts"]}
