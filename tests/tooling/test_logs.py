"""How the demo project logs: by LOG_FORMAT and LOG_LEVEL, refused with a sentence when wrong."""

import json
import logging

import pytest
from django.core.exceptions import ImproperlyConfigured

from project import logs


def record(message: str, **extra: object) -> logging.LogRecord:
    try:
        raise ValueError("as asked")
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
    made = logging.LogRecord("x", logging.ERROR, __file__, 1, message, (), info)
    vars(made).update(extra)
    return made


def test_json_is_one_object_per_line_with_the_fields_of_the_record():
    line = logs.JsonFormatter().format(record("two\nlines", taskId="t1", strange={1, 2}))

    assert "\n" not in line
    told = json.loads(line)
    assert (told["level"], told["logger"], told["message"]) == ("ERROR", "x", "two\nlines")
    assert told["taskId"] == "t1"
    assert "ValueError: as asked" in told["traceback"]
    assert not {"args", "msg", "levelno", "exc_info"} & set(told)


def test_a_terminal_gets_text_unless_something_else_is_asked_for():
    assert logs.config({})["handlers"]["console"]["formatter"] == "text"
    assert logs.config({"LOG_FORMAT": "JSON"})["handlers"]["console"]["formatter"] == "json"
    assert logs.config({"LOG_LEVEL": "debug"})["loggers"]["plugspace_queue"]["level"] == "DEBUG"


@pytest.mark.parametrize("name", ["LOG_FORMAT", "LOG_LEVEL"])
def test_what_is_neither_is_refused_with_the_words_there_are(name):
    with pytest.raises(ImproperlyConfigured, match=f"{name}='loud' is none of"):
        logs.config({name: "loud"})
