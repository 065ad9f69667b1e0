"""The documentation is held to the code: its examples run, its links and names exist."""

import ast
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from django.core.management import BaseCommand, get_commands, load_command_class
from django.test import Client
from django.utils.crypto import get_random_string

from plugspace_queue import errors, exports, queue_manager
from plugspace_queue.api import exceptions
from plugspace_queue.conf import fill_queues
from plugspace_queue.domain import catalog, kinds
from plugspace_queue.errors import QueueError
from plugspace_queue.models import ApiKey, Organization
from plugspace_queue.processing import registry
from scripts import docs
from tests.factories import arguments
from tests.support import child_environment
from tests.tooling import walkthrough
from tests.tooling.pages import PAGES, ROOT, Block, blocks, blocks_of, named, prose
from tests.tooling.walkthrough import PROGRAMS

MARKS = {"run", "by-hand", "picture", *walkthrough.MARKS}
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[\w-]*)?\)")
NAMED = re.compile(r"`([\w/]+\.(?:py|lua|md|toml|sh))(?::([\w.]+))?`")
OF_HOSTS = {"processors.py", "task_types.py"}
ADDRESS = "http://127.0.0.1:8000"


def test_pages_made_from_code_are_up_to_date():
    docs.main(["--check"])


def test_a_stale_page_is_reported_and_not_written(tmp_path: Path):
    with pytest.raises(SystemExit, match=r"Stale: settings\.md, redis\.md"):
        docs.main(["--check", "--into", str(tmp_path)])

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("section", "python", "lua"), [("1. Submit", 5, 4), ("2. One attempt", 8, 5)]
)
def test_the_life_of_a_task_names_few_files_for_each_way(section: str, python: int, lua: int):
    page = (ROOT / "docs/life-of-a-task.md").read_text(encoding="utf-8")
    text = page.partition(f"## {section}\n")[2].partition("\n## ")[0]

    found = {name for name, _ in NAMED.findall(text)}

    assert len([name for name in found if name.endswith(".py")]) == python, found
    assert len([name for name in found if name.endswith(".lua")]) == lua, found


def test_every_block_says_whether_it_is_run():
    unmarked = [str(block) for block in blocks("python", "sh") if block.mark not in MARKS]

    assert not unmarked


@pytest.mark.parametrize("block", blocks("python", mark="by-hand"), ids=str)
def test_python_that_is_only_shown_compiles(block: Block):
    compile(block.text, str(block.page), "exec")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("page", sorted({b.page for b in blocks("python", mark="run")}), ids=named)
def test_the_python_of_a_page_runs_from_top_to_bottom(page: Path, monkeypatch, settings):
    # What a page registers ends with it.
    monkeypatch.setattr(registry, "_processors", dict(registry._processors))
    names: dict[str, object] = {"__name__": "docs"}
    settings.RQ_QUEUES = dict(settings.RQ_QUEUES)
    with catalog.open_for_declarations(), kinds.open_for_declarations():
        for block in blocks_of(page):
            if (block.language, block.mark) == ("python", "run"):
                exec(compile(block.text, str(page), "exec"), names)
                # As when Django starts.
                fill_queues(catalog.queue_names())


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed here")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("block", blocks("sh", mark="run"), ids=str)
def test_a_command_of_the_documentation_succeeds(block: Block, live_server, admin_client):
    acme = Organization.objects.create(id="acme")
    _, key = ApiKey.issue(acme, _scopes(block.page))

    done = subprocess.run(
        ["sh", "-eu", "-c", block.text.replace(ADDRESS, live_server.url)],
        cwd=ROOT,
        env=child_environment(
            KEY=key, PATH=PROGRAMS, no_proxy="*", **_named_by_pages(admin_client)
        ),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def _scopes(page: Path) -> list[str]:
    """Those of the key that the page tells to issue; a page that tells nothing only reads."""
    return re.findall(r"--scope (\w+)", page.read_text(encoding="utf-8")) or ["read"]


def _named_by_pages(staff: Client) -> dict[str, str]:
    """One of each thing that pages name by a variable."""
    export = "export-of-acme"
    exports.put(export, b"zip", filename="site.zip", organization_id="acme")
    workflow = queue_manager.add_workflow("site", "ann", "acme", {"prompt": "A bakery"})
    return {
        "TASK": str(queue_manager.add_task(**arguments(organization_id="acme")).pk),
        "WORKFLOW": str(workflow.workflow_id),
        "EXPORT": export,
        "SESSION": staff.cookies["sessionid"].value,
        "CSRF": get_random_string(32),
    }


def test_the_page_of_the_api_tells_every_code_of_a_problem_and_no_other():
    page = (ROOT / "docs" / "howto" / "rest-api.md").read_text(encoding="utf-8")
    table = [line.split("|")[2] for line in page.splitlines() if re.match(r"\| [45]\d\d", line)]
    told = re.findall(r"`([A-Z_]+)`", " ".join(table))
    of_python = {errors.InvalidTransition, errors.ProcessorConflict, errors.InvalidProcessor}
    of_python |= {errors.InvalidTaskType, errors.TaskTypeConflict, errors.CatalogFrozen}
    of_python |= {errors.InvalidKind, errors.KindConflict}
    of_python |= {errors.TaskFailed, errors.WaitTimeout}

    # Those of HTTP alone stand in a module of their own.
    assert issubclass(exceptions.LengthRequired, QueueError)
    known = {error.code for error in set(QueueError.__subclasses__()) - of_python}
    assert sorted(told) == sorted(known)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files_that_exist(page: Path):
    broken = [link for link in LINK.findall(prose(page)) if not (page.parent / link).exists()]

    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_and_names_that_are_mentioned_exist(page: Path):
    wrong = [
        f"{path}:{name}" for path, name in NAMED.findall(prose(page)) if not _is_there(path, name)
    ]

    assert not wrong


def _is_there(path: str, name: str) -> bool:
    file = next(
        (
            base / path
            for base in (ROOT, ROOT / "plugspace_queue", ROOT / "docs")
            if (base / path).is_file()
        ),
        None,
    )
    if file is None:
        return path in OF_HOSTS
    return not name or name in _defined(ast.parse(file.read_text(encoding="utf-8")))


def _defined(tree: ast.Module | ast.ClassDef, prefix: str = "") -> set[str]:
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            names |= _defined(node, f"{prefix}{node.name}.")
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {prefix + target.id for target in targets if isinstance(target, ast.Name)}
    return names


def test_every_make_target_and_command_that_is_mentioned_exists():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M))

    assert set(re.findall(r"`?make ([a-z-]+)`", text)) <= targets
    assert set(re.findall(r"manage\.py ([a-z_-]+)", text)) <= set(get_commands())


@pytest.mark.parametrize("name", ["guarantees.md", "original-description.md"])
def test_every_row_of_a_promise_names_a_test_that_proves_it(name: str):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| .* \| .* \|$", line)]
    promises = [line for line in rows if not line.endswith("| proof |")]

    unproved = [line for line in promises if not re.search(r"`tests/[\w/]+\.py:test_\w+`", line)]

    assert len(promises) > 30
    assert not unproved


def test_every_cell_about_another_queue_names_its_source():
    page = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    compared, _, _ = page.partition("## When to take another")
    rows = [line for line in compared.splitlines() if line.startswith("| ")]
    others = [line for line in rows if not line.startswith(("| | |", "| plugspace_queue |"))]

    assert len(others) > 30
    assert not [line for line in others if "](https://" not in line]


def shown_commands() -> list[str]:
    """Lines `python manage.py …` of blocks that are only shown."""
    lines = "\n".join(block.text for block in blocks("sh", mark="by-hand")).splitlines()
    return sorted({line for line in lines if line.startswith("python manage.py")})


@pytest.mark.parametrize("line", shown_commands())
def test_a_command_that_is_only_shown_takes_its_options(line: str):
    _, program, name, *words = shlex.split(line, comments=True)
    app = get_commands()[name]
    command = app if isinstance(app, BaseCommand) else load_command_class(app, name)

    command.create_parser(program, name).parse_args(words)
