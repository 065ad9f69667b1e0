"""Types and kinds as a team of its own would declare them."""

from typing import Annotated, Any

from pydantic import BaseModel

from plugspace_queue import From


class Audio(BaseModel):
    url: str
    language: str = "en"


class Transcript(BaseModel):
    text: str


class Digest(BaseModel):
    transcript: Annotated[Transcript, From("TRANSCRIBE")]
    words: int = 100


class Summary(BaseModel):
    text: str


class Chapters(BaseModel):
    titles: list[str]


class Page(BaseModel):
    summary: Annotated[Summary | None, From("SUMMARIZE")] = None
    chapters: Annotated[Chapters | None, From("CHAPTERS")] = None
    title: str


def declare_types(declare: Any) -> dict[str, Any]:
    """TRANSCRIBE, SUMMARIZE, CHAPTERS and PUBLISH, by name."""
    return {
        "TRANSCRIBE": declare("TRANSCRIBE", input=Audio, output=Transcript),
        "SUMMARIZE": declare("SUMMARIZE", input=Digest, output=Summary),
        "CHAPTERS": declare("CHAPTERS", input=Digest, output=Chapters),
        "PUBLISH": declare("PUBLISH", input=Page, output=dict),
    }


def transcribe(context: Any) -> Any:
    return Transcript(text=f"heard {context.input.url}")


def summarize(context: Any) -> Any:
    return {"text": f"{context.input.words} of {context.input.transcript.text}"}


def chapters(context: Any) -> Any:
    return Chapters(titles=[context.input.transcript.text])


def publish(context: Any) -> Any:
    summary, found = context.input.summary, context.input.chapters
    return {
        "title": context.input.title,
        "summary": summary and summary.text,
        "chapters": found and found.titles,
        "results": sorted(context.results),
    }


DOERS = {
    "TRANSCRIBE": transcribe,
    "SUMMARIZE": summarize,
    "CHAPTERS": chapters,
    "PUBLISH": publish,
}
