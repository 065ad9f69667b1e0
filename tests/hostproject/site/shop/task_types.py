"""Three types and one kind of the shop: a scan is read by two hands and bound into a book."""

from typing import Annotated

from pydantic import BaseModel

from plugspace_queue import From, task_type, workflow_kind


class Sheet(BaseModel):
    title: str
    gate: str = ""


class Scan(BaseModel):
    pages: list[str]


class Share(BaseModel):
    scan: Annotated[Scan, From("SCAN")]


class Text(BaseModel):
    text: str


class Halves(BaseModel):
    left: Annotated[Text, From("left")]
    right: Annotated[Text, From("right")]


SCAN = task_type("SCAN", input=Sheet, output=Scan, quotas={"free": 2, "*": -1})
RECITE = task_type("RECITE", input=Share, output=Text, quotas={"*": -1})
BIND = task_type("BIND", input=Halves, output=dict[str, str], isolation="process", quotas={"*": -1})

BOOK = workflow_kind(
    "book",
    steps=[
        SCAN.step(),
        RECITE.step(name="left", after=[SCAN]),
        RECITE.step(name="right", after=[SCAN]),
        BIND.step(after=["left", "right"]),
    ],
)
