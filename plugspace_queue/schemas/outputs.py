"""The outputs of the six task types; each can be an input of the next step."""

from plugspace_queue.schemas.analysis import AnalysisOutput
from plugspace_queue.schemas.architecture import ArchitectureOutput
from plugspace_queue.schemas.delivery import CodeOutput, DeployOutput, ExportOutput
from plugspace_queue.schemas.design import DesignOutput

__all__ = [
    "AnalysisOutput",
    "ArchitectureOutput",
    "CodeOutput",
    "DeployOutput",
    "DesignOutput",
    "ExportOutput",
]
