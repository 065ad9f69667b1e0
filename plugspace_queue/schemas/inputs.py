"""The inputs of the six task types; every text and list has a limit."""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from django.utils.translation import gettext_lazy
from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo
from pydantic_core import PydanticKnownError

from plugspace_queue.conf import get_settings
from plugspace_queue.domain.steps import From
from plugspace_queue.schemas.base import ACCEPTED, HexColor, Line, NotBlank, Slug, WireModel, Word
from plugspace_queue.schemas.outputs import ArchitectureOutput, CodeOutput, DesignOutput

MAX_DEPTH = 3
DAY = 86_400


def _web_address(url: str) -> str:
    """The url itself; ValueError unless it is an absolute http(s) address without credentials."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(gettext_lazy("must be an absolute http or https address"))
    if "@" in parts.netloc:
        raise ValueError(gettext_lazy("must not carry credentials"))
    _ = parts.port  # Raises ValueError when it is no number from 0 to 65535.
    return url


def _not_too_long(prompt: str, info: ValidationInfo) -> str:
    limit = get_settings().max_prompt
    if len(prompt) > limit and info.context is not ACCEPTED:
        raise PydanticKnownError("string_too_long", {"max_length": limit})
    return prompt


def _tell_limit(schema: dict[str, Any]) -> None:
    schema["maxLength"] = get_settings().max_prompt


Prompt = Annotated[
    str,
    StringConstraints(min_length=1),
    NotBlank,
    AfterValidator(_not_too_long),
    Field(json_schema_extra=_tell_limit),
]
WebAddress = Annotated[
    str, Field(pattern=r"^[^\s\x00-\x20\x7f]+$", max_length=2_048), AfterValidator(_web_address)
]


class ArchitectContext(WireModel):
    """What is known about the site beside the prompt."""

    industry: Word | None = None
    style: Line | None = None
    features: list[Line] | None = Field(default=None, max_length=50)
    target_audience: Line | None = None
    budget: Literal["low", "medium", "high"] | None = None
    timeline: Literal["urgent", "normal", "flexible"] | None = None


class ArchitectOptions(WireModel):
    """Switches of the plan."""

    include_tests: bool | None = None


class ArchitectInput(WireModel):
    """A description in words, to be turned into a plan."""

    prompt: Prompt
    context: ArchitectContext | None = None
    options: ArchitectOptions | None = None


class DesignContext(WireModel):
    """What the design should feel like."""

    industry: Word | None = None
    style: Line | None = None
    brand_colors: list[HexColor] | None = Field(default=None, max_length=12)
    reference_image: WebAddress | None = None
    mood: Line | None = None


class DesignInput(WireModel):
    """A plan to be given a design; without one the context alone decides."""

    architecture: Annotated[ArchitectureOutput | None, From("ARCHITECT")] = None
    context: DesignContext | None = None


class CodeOptions(WireModel):
    """What is delivered beside the pages."""

    include_tests: bool | None = None
    include_storybook: bool | None = None


class CodeInput(WireModel):
    """A plan and a design to be written as files; what is missing is made up sensibly."""

    architecture: Annotated[ArchitectureOutput | None, From("ARCHITECT")] = None
    design: Annotated[DesignOutput | None, From("DESIGN")] = None
    options: CodeOptions | None = None


class AnalyzeOptions(WireModel):
    """How far and at what the analysis looks; everything but screenshots is on by default."""

    depth: int | None = Field(default=None, ge=0, le=MAX_DEPTH)
    include_screenshots: bool | None = None
    analyze_tech: bool | None = None
    analyze_design: bool | None = None
    analyze_performance: bool | None = None


class AnalyzeInput(WireModel):
    """An address of the web to be looked at."""

    url: WebAddress
    options: AnalyzeOptions | None = None


class DeployInput(WireModel):
    """Files to be published; without `code` those of the parent CODE task are taken."""

    code: Annotated[CodeOutput | None, From("CODE")] = None
    name: Slug | None = None
    target: Literal["production", "preview"] = "production"


class ExportInput(WireModel):
    """Files to be packed for download; `ttl` is how long they stay, in seconds."""

    code: Annotated[CodeOutput | None, From("CODE")] = None
    format: Literal["zip"] = "zip"
    ttl: int = Field(default=DAY, ge=60, le=7 * DAY)
