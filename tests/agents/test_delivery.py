"""Files are published all at once, served safely, and packed the same every time."""

import hashlib
import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.test import RequestFactory
from pydantic import ValidationError

from plugspace_queue.errors import ValidationFailed
from plugspace_queue.schemas.delivery import CodeOutput, DeployOutput, GeneratedFile
from project import sites
from project.agents.delivery.archive import pack, zipped
from project.agents.delivery.publish import folder_name, publish
from tests.agents.making import make_code, make_plan

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def page(text: str, path: str = "index.html") -> GeneratedFile:
    data = text.encode()
    digest = hashlib.sha256(data).hexdigest()
    return GeneratedFile(
        path=path, content=text, media_type="text/html", bytes=len(data), sha256=digest
    )


def site(*files: GeneratedFile) -> CodeOutput:
    return CodeOutput(summary="s", name="Site", entry="index.html", files=list(files), bytes=1)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, settings: Any) -> Path:
    settings.PLUGSPACE_SITES_ROOT = tmp_path / "sites"
    return tmp_path / "sites"


def put(root: Path, code: CodeOutput, key: str = "k", **more: Any) -> DeployOutput:
    given: dict[str, Any] = {"organization_id": "acme", "site": "p1", "target": "production"}
    return publish(code, root=root, idempotency_key=key, **(given | more))


def get(path: str, **headers: str) -> Any:
    request = RequestFactory().get(f"/sites/{path}", headers=headers)
    return sites.serve(request, path)


def test_a_published_site_is_served_with_its_types(root: Path) -> None:
    output = put(root, make_code(make_plan()))

    home, sheet = get("acme/p1/"), get("acme/p1/styles.css")

    assert output.url == "/sites/acme/p1/"
    assert (root / output.path / "index.html").is_file()
    assert home["Content-Type"] == "text/html; charset=utf-8"
    assert sheet["Content-Type"] == "text/css; charset=utf-8"
    assert get("acme/p1/icon.svg")["Content-Type"].startswith("image/svg+xml")
    assert "sandbox" in home["Content-Security-Policy"]
    assert "allow-scripts" not in home["Content-Security-Policy"]
    assert "allow-same-origin" not in home["Content-Security-Policy"]
    assert home["X-Content-Type-Options"] == "nosniff"


def test_an_unchanged_page_is_not_sent_again(root: Path) -> None:
    put(root, site(page("one")))
    tag = get("acme/p1/")["ETag"]

    assert get("acme/p1/", if_none_match=tag).status_code == 304


def test_a_folder_without_its_slash_leads_to_the_one_with_it(root: Path) -> None:
    put(root, site(page("one")))

    assert get("acme/p1")["Location"] == "/sites/acme/p1/"


@pytest.mark.parametrize(
    "path",
    [
        "acme/p1/../../../secret.txt",
        "acme/p1/%2e%2e/secret.txt",
        "../secret.txt",
        "acme/../../secret.txt",
        "acme/p1/..\\secret.txt",
        "acme/p1/\0",
        "acme/p1/versions/",
        "acme/p1/done/",
        "acme/p1/leak/secret.txt",
        "acme/p1/gone.html",
        "acme/p1/" + "a" * 5_000,
        "acme/p1/" + "a/" * 3_000,
        "acme/p1/" + "é" * 180,
        "acme/p1/" + "/".join(["é" * 90] * 10),
        "acme/gone/",
        "acme",
        "",
    ],
)
def test_nothing_outside_the_published_version_is_served(root: Path, path: str) -> None:
    put(root, site(page("one")))
    (root.parent / "secret.txt").write_text("secret")
    (root / "acme" / "p1" / "current" / "leak").symlink_to(root.parent)

    with pytest.raises(sites.Http404):
        get(path)


def test_a_new_version_replaces_the_old_one(root: Path) -> None:
    first = put(root, site(page("one"), page("old", "old.html")), "a")
    second = put(root, site(page("two")), "b")

    assert first.version != second.version
    assert get("acme/p1/").content == b"two"
    with pytest.raises(sites.Http404):
        get("acme/p1/old.html")


def test_a_late_repetition_of_a_deploy_does_not_turn_the_site_back(root: Path) -> None:
    first = put(root, site(page("one")), "a")
    put(root, site(page("two")), "b")

    assert put(root, site(page("one")), "a") == first
    assert get("acme/p1/").content == b"two"


def test_an_older_version_can_be_deployed_again(root: Path) -> None:
    put(root, site(page("one")), "a")
    put(root, site(page("two")), "b")
    put(root, site(page("one")), "c")

    assert get("acme/p1/").content == b"one"


def test_a_preview_leaves_the_site_alone(root: Path) -> None:
    put(root, site(page("one")), "a")
    preview = put(root, site(page("two")), "b", target="preview")

    assert preview.url == "/sites/acme/p1/~preview/"
    assert get("acme/p1/").content == b"one"
    assert get("acme/p1/~preview/").content == b"two"


def test_old_versions_are_forgotten_but_never_one_that_is_shown(root: Path) -> None:
    put(root, site(page("shown")), "p", target="preview")
    for number in range(15):
        put(root, site(page(str(number))), f"k{number}")

    assert len(list((root / "acme" / "p1" / "versions").iterdir())) <= 11
    assert get("acme/p1/").content == b"14"
    assert get("acme/p1/~preview/").content == b"shown"


def test_eight_deploys_at_once_leave_one_whole_site(root: Path) -> None:
    files = [[page(f"{n}"), page(f"{n}", "b.html")] for n in (1, 2)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: put(root, site(*files[n % 2]), f"k{n}"), range(8)))

    assert get("acme/p1/").content == get("acme/p1/b.html").content
    versions = (root / "acme" / "p1" / "versions").iterdir()
    assert not [path for path in versions if path.name.startswith(".")]


@pytest.mark.parametrize(
    "name", ["../up", "a/b", "..", ".", "", "Ä", "a b", "x" * 128, "-a", "a\\b"]
)
def test_a_project_of_any_name_stays_in_its_place(root: Path, name: str) -> None:
    folder = folder_name(name)
    output = put(root, site(page("one")), site=name)

    assert "/" not in folder
    assert not folder.startswith(".")
    assert (root / output.path).resolve().is_relative_to(root.resolve())
    assert get(f"acme/{folder}/").content == b"one"


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", "a/../../x", "a//b", ".hidden", "a\\b", "", "~preview/x"]
)
def test_a_path_that_leaves_its_folder_is_refused(root: Path, path: str) -> None:
    with pytest.raises(ValidationError):
        page("x", path)
    sly = page("x").model_copy(update={"path": path})
    if ".." in path or path in ("/etc/x", ""):
        with pytest.raises((ValidationFailed, OSError)):
            put(root, site(page("x")).model_copy(update={"files": [sly]}))
    assert not (root.parent / "x").exists()


def test_an_archive_is_the_same_every_time() -> None:
    code = make_code(make_plan())
    first = zipped(code.files)

    assert first == zipped(list(reversed(code.files)))
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == sorted(file.path for file in code.files)
        assert archive.read("index.html").decode() == next(
            file.content for file in code.files if file.path == "index.html"
        )


def test_an_export_has_an_id_of_its_task_and_organization() -> None:
    given: dict[str, Any] = {"ttl": 3600, "now": NOW}
    code = site(page("x"))
    one = pack(code, organization_id="acme", idempotency_key="a", **given)
    again = pack(code, organization_id="acme", idempotency_key="a", **given)
    other = pack(code, organization_id="else", idempotency_key="a", **given)

    assert one == again
    assert one.output.export_id != other.output.export_id
    assert one.output.sha256 == hashlib.sha256(one.data).hexdigest()
    assert one.output.expires_at == datetime(2026, 1, 2, 1, tzinfo=UTC)
