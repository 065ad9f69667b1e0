"""`mypy --strict` finds a wrong input, a wrong use of a result and a wrong processor."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

GOOD = """
from dataclasses import dataclass
from typing import Any
from pydantic import BaseModel
from plugspace_queue import Context, Limiter, TaskType, queue_manager, task_type

class Audio(BaseModel):
    url: str

@dataclass
class Transcript:
    text: str

TRANSCRIBE = task_type("TRANSCRIBE", input=Audio, output=Transcript, limiter=Limiter(5, per=60))
NOTE = task_type("NOTE")

@TRANSCRIBE.processor
def transcribe(context: Context[Audio]) -> Transcript:
    return Transcript(text=context.input.url)

@TRANSCRIBE.processor(timeout=30, replace=True)
async def listen(context: Context[Audio]) -> Transcript:
    return Transcript(text=context.input.url)

@NOTE.processor
def note(context: Context) -> dict[str, Any]:
    return {"seen": context.input}

def submit() -> str:
    handle = TRANSCRIBE.submit(Audio(url="u"), organization="acme", project="p", user="u")
    queue_manager.add_task(TaskType.ARCHITECT, project_id="p", user_id="u",
                           organization_id="acme", input={"prompt": "x"})
    queue_manager.add_task("TRANSCRIBE", project_id="p", user_id="u",
                           organization_id="acme", input=Audio(url="u"))
    return handle.wait(timeout=5).text
"""

BAD = """
from good import TRANSCRIBE, Audio, Transcript
from plugspace_queue import Context

def submit() -> None:
    handle = TRANSCRIBE.submit({"url": "u"}, organization="acme", project="p", user="u")
    print(handle.wait().words)

@TRANSCRIBE.processor
def transcribe(context: Context[Audio]) -> str:
    return context.input.url
"""


@pytest.mark.slow
@pytest.mark.one_row
@pytest.mark.timeout(600)
def test_mypy_passes_what_is_right_and_finds_three_mistakes(tmp_path: Path):
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text(BAD)
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\nfollow_imports = silent\n")

    told = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "good.py", "bad.py"],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    ).stdout

    found = [line for line in told.splitlines() if ": error:" in line]
    assert len(found) == 3, told
    assert all(line.startswith("bad.py") for line in found), told
    assert 'expected "Audio"' in found[0]
    assert '"Transcript" has no attribute "words"' in found[1]
    assert "bad.py:9" in found[2] or "bad.py:10" in found[2]
