"""The package as users install it: what the wheel holds, needs and says of itself."""

import re
import subprocess
import sys
import tomllib
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

import plugspace_queue

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "plugspace_queue"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {"all", "cache", "docs", "embedded", "postgres", "server"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.iterdir()
    return ZipFile(made)


@pytest.fixture(scope="module")
def metadata(wheel: ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel: ZipFile):
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"}

    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}

    assert packed == {path.relative_to(ROOT).as_posix() for path in files}
    assert "plugspace_queue/py.typed" in packed
    kinds = {Path(name).suffix for name in packed}
    assert {".py", ".lua", ".html", ".css", ".js"} <= kinds
    assert any(name.startswith("plugspace_queue/migrations/0001") for name in packed)


def test_the_wheel_names_the_version_of_the_code_and_its_licences(
    wheel: ZipFile, metadata: Message
):
    assert metadata["Version"] == plugspace_queue.__version__
    assert Path(wheel.filename or "").name == (
        f"plugspace_queue-{plugspace_queue.__version__}-py3-none-any.whl"
    )
    assert metadata["License-Expression"] == "MIT"
    kept = {name.rpartition("/")[2] for name in wheel.namelist() if "/licenses/" in name}
    assert kept == {"LICENSE", "htmx.LICENSE.txt", "uplot.LICENSE.txt"}


def test_a_bare_install_brings_no_server_no_driver_and_no_files_of_pages(metadata: Message):
    needs = metadata.get_all("Requires-Dist") or []

    bare = {re.split(r"[\[<>=!~;]", need)[0] for need in needs if "extra ==" not in need}

    assert set(metadata.get_all("Provides-Extra") or []) == EXTRAS
    assert bare == {
        *{"django", "rq", "django-rq", "djangorestframework", "redis", "pydantic"},
        "prometheus-client",
    }


def test_the_extra_all_has_what_every_other_extra_has():
    extras = PROJECT["optional-dependencies"]
    (of_all,) = extras["all"]

    assert set(extras) == EXTRAS
    assert set(of_all.partition("[")[2].rstrip("]").split(",")) == EXTRAS - {"all"}


def test_the_description_links_to_no_file_that_is_not_there(metadata: Message):
    text = str(metadata.get_payload())
    links = re.findall(r"\]\(([^)]+)\)", text)

    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "# plugspace_queue" in text
    assert "![" not in text
    assert "<!--" not in text
    assert all(link.startswith(("https://", "#")) for link in links), links
