"""Log lines, in a process of their own: logging is set up once per process."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import gc, logging, sys
import structlog
from twisted.internet import defer
from twisted.logger import Logger
from homeserver.runtime import logs

logs.configure(sys.argv[1], sys.argv[2])
{body}
"""


def lines(body: str, *, level: str = "INFO", log_format: str = "json") -> list[str]:
    """What a process that does `body` writes to stderr."""
    program = PROGRAM.format(body=body)
    done = subprocess.run(
        [sys.executable, "-c", program, level, log_format], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def records(body: str, *, level: str = "INFO") -> list[dict[str, object]]:
    found = [json.loads(line) for line in lines(body, level=level)]
    for record in found:
        assert str(record.pop("timestamp")).endswith("Z")
    return found


def test_a_line_holds_the_event_its_fields_and_what_is_bound_to_the_request() -> None:
    body = """
structlog.contextvars.bind_contextvars(request_id="r1")
structlog.get_logger("some.module").info("sent", count=3, kind=object)
"""
    assert records(body) == [
        {
            "level": "info",
            "event": "sent",
            "count": 3,
            "kind": "<class 'object'>",
            "request_id": "r1",
            "logger": "some.module",
        }
    ]


def test_the_level_holds_for_all_loggers() -> None:
    body = """
structlog.get_logger().info("ours")
logging.getLogger("library").info("a library's")
Logger("twisted").warn("Twisted's")
structlog.get_logger().error("e1")
logging.getLogger("library").error("e%d", 2)
Logger("twisted").error("e{n}", n=3)
"""
    assert [record["event"] for record in records(body, level="ERROR")] == ["e1", "e2", "e3"]


def test_what_twisted_says_of_itself_is_for_debugging() -> None:
    body = 'Logger("twisted.internet.tcp").info("Starting factory")'
    assert records(body) == []
    assert [record["level"] for record in records(body, level="DEBUG")][-1:] == ["debug"]


@pytest.mark.parametrize(
    "body",
    [
        "try: 1 / 0\nexcept ZeroDivisionError: structlog.get_logger().exception('e')",
        "try: 1 / 0\nexcept ZeroDivisionError: logging.getLogger('x').exception('e')",
        "try: 1 / 0\nexcept ZeroDivisionError: Logger('x').failure('e')",
        "d = defer.maybeDeferred(lambda: 1 / 0); del d; gc.collect()",
    ],
    ids=["structlog", "logging", "twisted", "unhandled in a Deferred"],
)
def test_a_traceback_is_a_field(body: str) -> None:
    last = records(body)[-1]
    assert last["level"] == "error"
    assert str(last["exception"]).startswith("Traceback")
    assert "ZeroDivisionError" in str(last["exception"])


def test_text_is_one_line_per_event_whatever_is_in_it() -> None:
    body = """
structlog.get_logger("m").warning("first\\nsecond \\x1b[31m", who="a b", empty="", forged="x\\n2026 INFO y")
"""
    [line] = lines(body, log_format="text")
    _, text = line.split(" ", 1)
    assert text == (r"WARNING  first\nsecond \x1b[31m who='a b' empty='' forged='x\n2026 INFO y' logger=m")


def test_a_traceback_in_text_cannot_pass_for_events() -> None:
    body = """
try: raise ValueError("x\\n2026-01-01 INFO forged")
except ValueError: structlog.get_logger().exception("bad")
"""
    first, *rest = lines(body, log_format="text")
    assert first.endswith("ERROR    bad")
    assert len(rest) > 2
    assert all(line.startswith("    ") for line in rest)


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    body = """
import os
os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
structlog.get_logger().info("lost")
print("went on")
"""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body), "INFO", "text"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "went on\n"
