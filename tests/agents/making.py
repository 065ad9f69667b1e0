"""Plans, designs and files for the tests of the agents."""

from typing import Any

from plugspace_queue.schemas.architecture import ArchitectureOutput
from plugspace_queue.schemas.delivery import CodeOutput
from plugspace_queue.schemas.design import DesignOutput
from plugspace_queue.schemas.inputs import ArchitectInput, CodeInput, DesignInput
from project.agents.architecture.architect import architect
from project.agents.code.coder import code
from project.agents.design.designer import design

SAAS = "Create a SaaS dashboard"


def make_plan(prompt: str = SAAS, *feedback: str, **context: Any) -> ArchitectureOutput:
    wish = ArchitectInput.from_wire({"prompt": prompt, "context": context})
    return architect(wish, feedback=list(feedback), iteration=len(feedback))


def make_design(plan: ArchitectureOutput | None = None, **context: Any) -> DesignOutput:
    return design(DesignInput.from_wire({"context": context}), architecture=plan)


def make_code(plan: ArchitectureOutput | None = None, **options: bool) -> CodeOutput:
    return code(CodeInput.from_wire({"options": options}), architecture=plan)


def texts(made: CodeOutput) -> dict[str, str]:
    return {file.path: file.content for file in made.files}
