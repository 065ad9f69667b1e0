"""The outputs of the six task types; each can be an input of the next step."""

from collections.abc import Mapping

from plugspace_queue.schemas.analysis import AnalysisOutput
from plugspace_queue.schemas.architecture import ArchitectureOutput
from plugspace_queue.schemas.base import WireModel
from plugspace_queue.schemas.delivery import CodeOutput, DeployOutput, ExportOutput
from plugspace_queue.schemas.design import DesignOutput

__all__ = [
    "OUTPUTS",
    "AnalysisOutput",
    "ArchitectureOutput",
    "CodeOutput",
    "DeployOutput",
    "DesignOutput",
    "ExportOutput",
]

OUTPUTS: Mapping[str, type[WireModel]] = {
    "ARCHITECT": ArchitectureOutput,
    "DESIGN": DesignOutput,
    "CODE": CodeOutput,
    "ANALYZE": AnalysisOutput,
    "DEPLOY": DeployOutput,
    "EXPORT": ExportOutput,
}
