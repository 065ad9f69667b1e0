"""The EXPORT agent: packs files into an archive that is the same, byte for byte, every time."""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from plugspace_queue.schemas.delivery import CodeOutput, ExportOutput, GeneratedFile

EPOCH = (1980, 1, 1, 0, 0, 0)
MODE = 0o100644 << 16


@dataclass(frozen=True)
class Archive:
    """A packed site: its bytes, and what the task tells about it."""

    data: bytes
    output: ExportOutput


def pack(
    code: CodeOutput,
    *,
    ttl: int,
    now: datetime,
    organization_id: str,
    idempotency_key: str,
) -> Archive:
    """The archive of the files; the same key gives the same id, so that a retry replaces it."""
    data = zipped(code.files)
    name = f"{_plain(code.name)}.zip"
    output = ExportOutput(
        summary=(
            f"{name}: {len(code.files)} files, {len(data) / 1024:.0f} KiB, kept for {_span(ttl)}."
        ),
        export_id=_id(organization_id, idempotency_key),
        format="zip",
        filename=name,
        bytes=len(data),
        files=len(code.files),
        sha256=hashlib.sha256(data).hexdigest(),
        expires_at=now + timedelta(seconds=ttl),
    )
    return Archive(data, output)


def zipped(files: Sequence[GeneratedFile]) -> bytes:
    """A zip of the files in order of their paths, with one fixed time and mode."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted(files, key=lambda file: file.path):
            entry = zipfile.ZipInfo(file.path, EPOCH)
            entry.external_attr = MODE
            entry.create_system = 3
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.content.encode())
    return target.getvalue()


def _id(organization_id: str, key: str) -> str:
    return hashlib.sha256(f"export\0{organization_id}\0{key}".encode()).hexdigest()[:32]


def _plain(name: str) -> str:
    words = "".join(char if char.isascii() and char.isalnum() else " " for char in name.lower())
    return "-".join(words.split())[:60] or "site"


def _span(seconds: int) -> str:
    hours = round(seconds / 3600)
    return f"{hours} h" if hours else f"{round(seconds / 60)} min"
