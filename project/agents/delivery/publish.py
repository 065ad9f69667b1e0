"""The DEPLOY agent: puts files into a folder that is served, all at once or not at all."""

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from plugspace_queue.errors import ValidationFailed
from plugspace_queue.schemas.delivery import CodeOutput, DeployOutput, GeneratedFile

LINKS = {"production": "current", "preview": "preview"}
PREVIEW = "~preview"
KEPT_VERSIONS = 10
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def publish(
    code: CodeOutput,
    *,
    root: Path,
    organization_id: str,
    site: str,
    target: Literal["production", "preview"],
    idempotency_key: str,
) -> DeployOutput:
    """Write the files below `root` and switch the site to them.

    The same key is published once: a late second attempt does not turn the site back. Raises
    ValidationFailed for paths that leave their folder.
    """
    folder = root / folder_name(organization_id) / folder_name(site)
    version = version_of(code.files)
    done = folder / "done" / hashlib.sha256(idempotency_key.encode()).hexdigest()
    if not done.exists():
        _write(folder, version, code.files)
        _switch(folder, LINKS[target], version)
        _mark(done, version)
        _forget_old(folder)
    return _output(code, folder.relative_to(root), target, version)


def folder_name(name: str) -> str:
    """The name itself when it is plain, else a plain one with a hash: no name leaves its place."""
    if PLAIN.fullmatch(name):
        return name
    start = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40] or "site"
    return f"{start}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def version_of(files: Sequence[GeneratedFile]) -> str:
    """A name for exactly these files."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.path):
        digest.update(f"{file.path}\0{file.content}\0".encode())
    return digest.hexdigest()[:16]


def _write(folder: Path, version: str, files: Sequence[GeneratedFile]) -> None:
    final = folder / "versions" / version
    if final.exists():
        os.utime(final)
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".new-", dir=final.parent))
    try:
        for file in files:
            _write_file(draft, file)
        draft.chmod(0o755)
        with contextlib.suppress(OSError):
            # Somebody else may have written the same version meanwhile: then theirs stays.
            draft.rename(final)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    if not final.exists():
        raise OSError(f"the version {version} could not be put in place")


def _write_file(draft: Path, file: GeneratedFile) -> None:
    path = (draft / file.path).resolve()
    if not path.is_relative_to(draft.resolve()) or path == draft.resolve():
        raise ValidationFailed(f"The path {file.path!r} leaves its folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(file.content, encoding="utf-8", newline="")


def _switch(folder: Path, name: str, version: str) -> None:
    """Point the link to the version: one rename, so that no visitor sees half a site."""
    with tempfile.TemporaryDirectory(prefix=".link-", dir=folder) as place:
        link = Path(place) / name
        link.symlink_to(Path("versions") / version)
        link.replace(folder / name)


def _mark(done: Path, version: str) -> None:
    done.parent.mkdir(exist_ok=True)
    done.write_text(version, encoding="utf-8")


def _forget_old(folder: Path) -> None:
    used = {
        os.readlink(folder / name).rsplit("/", 1)[-1]
        for name in LINKS.values()
        if (folder / name).is_symlink()
    }
    versions = [path for path in (folder / "versions").iterdir() if not path.name.startswith(".")]
    versions.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in versions[KEPT_VERSIONS:]:
        if path.name not in used:
            shutil.rmtree(path, ignore_errors=True)


def _output(
    code: CodeOutput, place: Path, target: Literal["production", "preview"], version: str
) -> DeployOutput:
    url = f"/sites/{place.as_posix()}/"
    url += f"{PREVIEW}/" if target == "preview" else ""
    size = sum(len(file.content.encode()) for file in code.files)
    return DeployOutput(
        summary=f"{code.name} is at {url} ({len(code.files)} files, version {version}).",
        url=url,
        target=target,
        path=f"{place.as_posix()}/versions/{version}",
        files=len(code.files),
        bytes=size,
        version=version,
    )
