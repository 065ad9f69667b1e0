"""The six task types of the seed: work about websites, with its queues, limits and quotas.

Its workflow kinds, chains of these types, are in `plugspace_kinds`.
"""

from plugspace_queue.catalogs import plugspace_kinds
from plugspace_queue.domain.catalog import task_type
from plugspace_queue.domain.enums import Tier
from plugspace_queue.domain.task_types import Limiter
from plugspace_queue.domain.tiers import UNLIMITED
from plugspace_queue.schemas.inputs import (
    AnalyzeInput,
    ArchitectInput,
    CodeInput,
    DeployInput,
    DesignInput,
    ExportInput,
)
from plugspace_queue.schemas.outputs import (
    AnalysisOutput,
    ArchitectureOutput,
    CodeOutput,
    DeployOutput,
    DesignOutput,
    ExportOutput,
)

KINDS = plugspace_kinds.KINDS
"""The six workflow kinds."""


def _quotas(free: int, starter: int, professional: int) -> dict[str, int]:
    return {
        Tier.FREE.value: free,
        Tier.STARTER.value: starter,
        Tier.PROFESSIONAL.value: professional,
        Tier.ENTERPRISE.value: UNLIMITED,
    }


ARCHITECT = task_type(
    "ARCHITECT",
    input=ArchitectInput,
    output=ArchitectureOutput,
    concurrency=5,
    default_priority=2,
    limiter=Limiter(100, per=60),
    quotas=_quotas(10, 100, 500),
)
DESIGN = task_type(
    "DESIGN",
    input=DesignInput,
    output=DesignOutput,
    concurrency=5,
    default_priority=2,
    limiter=Limiter(100, per=60),
    quotas=_quotas(10, 100, 500),
)
CODE = task_type(
    "CODE",
    input=CodeInput,
    output=CodeOutput,
    concurrency=3,
    default_priority=2,
    limiter=Limiter(50, per=60),
    quotas=_quotas(5, 50, 250),
)
ANALYZE = task_type(
    "ANALYZE",
    input=AnalyzeInput,
    output=AnalysisOutput,
    concurrency=3,
    default_priority=2,
    limiter=Limiter(30, per=60),
    quotas=_quotas(5, 50, 250),
)
DEPLOY = task_type(
    "DEPLOY",
    input=DeployInput,
    output=DeployOutput,
    concurrency=2,
    default_priority=1,
    limiter=Limiter(10, per=60),
    quotas=_quotas(1, 10, 50),
)
EXPORT = task_type(
    "EXPORT",
    input=ExportInput,
    output=ExportOutput,
    concurrency=5,
    default_priority=3,
    limiter=Limiter(100, per=60),
    quotas=_quotas(5, 50, 250),
)
