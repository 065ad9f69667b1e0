"""Fingerprints: one for one cause, whatever it names; another for another one; in bounded time."""

import os
import traceback
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugspace_queue.domain.fingerprint import (
    COMPARED,
    FRAMES,
    HEADER,
    LONGEST_STACK,
    fingerprint,
    frames,
    normalized,
)
from tests.growth import is_linear, many

KEPT = [
    "KeyError: 'palette'",
    "'palette'",
    "object of type 'NoneType' has no len()",
    "503 of the model",
    "Client error '404 Not Found'",
    "it can't be that the user's file isn't there",
    "no s3 bucket, no utf8, no sha256",
]
SAME = [
    ("site 17 of acme", "site 4 of acme"),
    ("took 0.35 s", "took 12 s"),
    ("used 300 ms", "used 404 ms"),
    ("line 1 column 1 (char 0)", "line 33 column 7 (char 452103)"),
    ("item_17 is gone", "item_18 is gone"),
    ("no user4242", "no user1001"),
    ("cus_9s6XKzkNRiz8i3 unknown", "cus_J3kdjKKe82jdjP unknown"),
    ("job_k3jf92la unknown", "job_abcdefg1 unknown"),
    ("commit deadbeef1 is bad", "commit 0badcafe1f2e is bad"),
    ("<Site object at 0x7f3a2c>", "<Site object at 0x55d0>"),
    ("no /srv/app/a.txt", "no /var/lib/x/y/b.json"),
    ("no C:\\Users\\ann\\a.txt", "no D:/b"),
    ("no https://a.example/x?y=1", "no redis://:pw@host:6379/0"),
    ("ask ann@example.com", "ask bob.b+x@mail.example.org"),
    ("10.0.0.1:5432 refused", "172.16.3.4:6432 refused"),
    ("at 2026-12-01T10:00:00.123Z", "at 2026-12-01 10:00:00+02:00"),
    ("since 10:02:11", "since 9:59:01,312"),
    ("no 'Brand new bakery in Lisbon'", "no 'Some other headline of a site'"),
    ("a\n b", "a  b"),
]
APART = [
    ("KeyError: 'palette'", "KeyError: 'fonts'"),
    ("503 of the model", "401 of the model"),
    ("status 500", "status 502"),
    ("no such table", "no such column"),
]
STACK = """Traceback (most recent call last):
  File "/usr/lib/python3.11/asyncio/runners.py", line 190, in run
    return runner.run(main)
  File "/srv/releases/41/plugspace_queue/processing/execute.py", line 36, in run_sync
    returned = entry.function(context_of(execution))
  File "/srv/releases/41/sites/processors.py", line 12, in code
    return build(context.input)
           ^^^^^^^^^^^^^^^^^^^^
  File "/srv/releases/41/sites/build.py", line 7, in build
    return json.loads(text)["palette"]
  File "/usr/lib/python3.11/json/__init__.py", line 346, in loads
    return _default_decoder.decode(s)
json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)
"""


def of(message: str, stack: str = "") -> str:
    return fingerprint("CODE", "", message, stack)


@pytest.mark.parametrize("message", KEPT)
def test_what_says_what_happened_stays_whole(message: str):
    assert normalized(message) == message


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_differs_from_one_failure_to_the_next_does_not_count(one: str, other: str):
    assert normalized(one) == normalized(other)


@pytest.mark.parametrize(("one", "other"), APART)
def test_other_causes_stay_apart(one: str, other: str):
    assert of(one) != of(other)


VARYING: dict[str, Callable[[int], str]] = {
    "number": str,
    "id": lambda n: str(uuid.UUID(int=n << 60)),
    "hex": lambda n: f"{n:08d}ab",
    "time": lambda n: (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=n)).isoformat(),
    "path": lambda n: f"/srv/{n}/app/f{n}.py",
    "url": lambda n: f"https://host-{n}.example/{n}",
    "address": hex,
}
WORDS = st.lists(st.from_regex(r"\A[a-z]{1,9}\Z"), max_size=6).map(" ".join)


@given(WORDS, WORDS, st.sampled_from(sorted(VARYING)), st.integers(0, 10**7), st.integers(0, 10**7))
@pytest.mark.slow
def test_any_number_id_time_path_or_address_may_differ(
    before: str, after: str, kind: str, one: int, other: int
):
    # A lone number of this kind is an HTTP status.
    pair = [f"{before} {VARYING[kind](n)} {after}" for n in (one, other) if not 400 <= n < 600]

    assert len({of(text) for text in pair}) <= 1


@given(st.text(max_size=400))
def test_a_normalized_message_is_normal_and_bounded(text: str):
    once = normalized(text)

    assert normalized(once) == once
    assert len(once) <= COMPARED


@given(st.text(max_size=50), st.text(max_size=200), st.text(max_size=400))
def test_every_text_has_a_fingerprint_of_one_form(exception: str, message: str, stack: str):
    version, colon, digest = fingerprint("CODE", exception, message, HEADER + stack).partition(":")

    assert (version, colon, len(digest)) == ("1", ":", 16)
    assert set(digest) <= set("0123456789abcdef")


def test_type_class_message_and_place_count():
    plain = ("CODE", "KeyError", "'palette'", STACK)
    others = [
        ("DESIGN", *plain[1:]),
        ("CODE", "ValueError", *plain[2:]),
        (*plain[:2], "'fonts'", STACK),
        (*plain[:3], STACK.replace("in build", "in rebuild")),
        (*plain[:3], ""),
    ]

    assert len({fingerprint(*one) for one in (plain, *others)}) == 6


def test_the_rules_of_version_1_do_not_change_unnoticed():
    """Whoever changes a rule raises VERSION: else new failures join groups of other rules."""
    assert fingerprint("CODE", "JSONDecodeError", "Expecting value: line 1", STACK) == (
        "1:2f2c74942144ff0a"
    )


def test_only_the_hosts_own_frames_count_by_file_and_function():
    assert frames(STACK) == ("processors.py:code", "build.py:build")


def test_neither_line_numbers_nor_directories_count():
    moved = STACK.replace("/srv/releases/41", "C:\\releases\\42").replace("line 7", "line 9")

    assert of("x", moved) == of("x", STACK)


def test_of_a_stack_of_libraries_alone_the_innermost_frames_count():
    libraries = STACK.replace("/srv/releases/41/sites", "/venv/lib/python3.11/site-packages/sites")

    assert frames(libraries) == ("processors.py:code", "build.py:build", "__init__.py:loads")


def test_a_stack_that_no_exception_made_has_no_frames():
    """Where the interruption of a timeout meets the code is by chance."""
    assert frames(STACK.removeprefix(HEADER)) == ()
    assert of("x", STACK.removeprefix(HEADER)) == of("x")


def raised(work: Callable[[], object]) -> str:
    try:
        work()
    except BaseException as error:
        return "".join(traceback.format_exception(error))
    raise AssertionError


def test_of_a_chain_the_last_exception_counts():
    def chained() -> None:
        try:
            os.stat("/nowhere")
        except OSError as error:
            raise ValueError("no site") from error

    def alone() -> None:
        raise ValueError("no site")

    assert [one.rpartition(":")[2] for one in frames(raised(chained))] == ["raised", "chained"]
    assert [one.rpartition(":")[2] for one in frames(raised(alone))] == ["raised", "alone"]


def test_a_group_of_exceptions_has_frames():
    def group() -> None:
        raise ExceptionGroup("several", [ValueError("a")])

    text = raised(group)
    assert "Exception Group Traceback" in text
    assert [one.rpartition(":")[2] for one in frames(text)] == ["raised", "group"]


@pytest.mark.parametrize("depth", [40, 400])
def test_a_recursion_counts_once_however_deep_it_went(depth: int):
    def down(n: int) -> None:
        if n:
            down(n - 1)
        raise ValueError

    assert [one.rpartition(":")[2] for one in frames(raised(lambda: down(depth)))][-1] == "down"
    assert frames(raised(lambda: down(depth))) == frames(raised(lambda: down(3)))


def test_the_innermost_frames_count_and_no_more():
    lines = [f'  File "/srv/a.py", line 1, in f{n}\n    x\n' for n in range(20)]

    assert frames(HEADER + "\n" + "".join(lines)) == tuple(f"a.py:f{n}" for n in range(15, 20))
    assert FRAMES == 5


HOSTILE = [
    many("a"),
    many("1"),
    many("a-"),
    many("'"),
    many("'a "),
    many('"a'),
    many("/"),
    many("a@"),
    many("http://"),
    many("0x"),
    many("abcdabcd-"),
    many('  File "/a.py", line 1, in f\n'),
    many("Traceback (most recent call last):\n"),
    many('File "'),
]


@pytest.mark.slow
@pytest.mark.parametrize("make", HOSTILE)
def test_no_message_and_no_stack_takes_more_time_than_its_length(make: Callable[[int], str]):
    assert is_linear(normalized, make)
    assert is_linear(lambda text: frames(f"{HEADER}\n{text}"), make)


@pytest.mark.parametrize("make", HOSTILE)
def test_a_message_of_60_kb_is_no_more_work_than_its_beginning(make: Callable[[int], str]):
    text = make(60_000)

    assert normalized(text) == normalized(text[:1_000])
    assert frames(HEADER + text) == frames(HEADER + text[: LONGEST_STACK - 100])
