"""Files and what becomes of them: written by CODE, published by DEPLOY, packed by EXPORT."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from plugspace_queue.schemas.base import Count, Line, Slug, Text, WireModel, Word

#: A relative path without empty, hidden or upward parts.
FilePath = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*$", max_length=200
    ),
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class GeneratedFile(WireModel):
    """One text file; `bytes` and `sha256` are those of its UTF-8 form."""

    path: FilePath
    content: str
    media_type: Word
    bytes: Count
    sha256: Sha256


class Check(WireModel):
    """One thing that was looked at in the finished files."""

    name: Line
    passed: bool
    detail: Text = ""


class CheckReport(WireModel):
    """Checks that were really run over the files before they were given out."""

    ran: Count
    passed: Count
    failed: Count
    checks: list[Check]


class PageRef(WireModel):
    """A page and the file it is in."""

    slug: Slug
    title: Line
    path: FilePath


class CodeOutput(WireModel):
    """The site as files; DEPLOY and EXPORT take it as `code`."""

    summary: Text
    name: Word
    entry: FilePath
    files: list[GeneratedFile] = Field(min_length=1, max_length=1_000)
    pages: list[PageRef] = Field(default_factory=list)
    bytes: Count
    tests: CheckReport | None = None


class DeployOutput(WireModel):
    """A published site; `url` is a path below the host that serves it."""

    summary: Text
    url: Line
    target: Literal["production", "preview"]
    path: Line
    files: Count
    bytes: Count
    version: Word


class ExportOutput(WireModel):
    """An archive that waits for its download until `expiresAt`."""

    summary: Text
    export_id: Word
    format: Literal["zip"]
    filename: Line
    bytes: Count
    files: Count
    sha256: Sha256
    expires_at: datetime = Field(strict=False)
