"""Runs `async def` tests and fixtures on the reactor that the server runs on.

The reactor is Twisted's asyncio reactor on uvloop. It is started once, and turns only while something
asynchronous is awaited: a test, or the set-up or tear-down of an `async def` fixture (what follows its
`yield`). So nothing happens behind a test's back, and synchronous tests need no reactor. `@given` may stand
on an `async def` test. What Twisted logs as a failure during a test, such as an unawaited error, fails
the test.
"""

import asyncio
import functools
import inspect
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any, cast

import hypothesis
import pytest
import structlog
import uvloop
from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

pytest_plugins = ["tests.fixtures"]

LOOP = uvloop.new_event_loop()
asyncio.set_event_loop(LOOP)
asyncioreactor.install(LOOP)

from twisted.internet import reactor as installed_reactor  # noqa: E402 - must follow the installation

from homeserver.runtime import garbage  # noqa: E402 - as above
from tests.federation.certificates import Authority  # noqa: E402 - as above
from tests.openapi import Specification, spec_dir  # noqa: E402 - as above

# How long an example takes says more of the machine, and what else it does, than of the code.
hypothesis.settings.register_profile(
    "ours", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("ours")

# What structlog does by itself where rich is installed, as beside the tools, takes a second for a traceback.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.set_exc_info,
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=True),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

SPECIFICATION = pytest.StashKey[Specification]()

REACTOR = cast("asyncioreactor.AsyncioSelectorReactor", installed_reactor)

LONGEST_SECONDS = int(os.environ.get("HOMESERVER_TEST_PATIENCE", "60"))
"""A test that waits longer than this waits for ever, unless it does more than usual, by hand."""

SLOW_FOLDERS = ("durability", "replicas", "federation", "clients", "cli", "api")
"""What takes longest begins first: else one process would still be busy with it when the others have nothing left."""


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Turn the reactor until `coroutine` is done."""
    deferred = Deferred.fromCoroutine(coroutine).addTimeout(LONGEST_SECONDS, REACTOR)
    return LOOP.run_until_complete(deferred.asFuture(LOOP))


def synchronous(function: Callable[..., Any]) -> Callable[..., Any]:
    """An `async def` function, or a generator of that kind, as pytest can call it."""
    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        def generate(*args: Any, **kwargs: Any) -> Iterator[Any]:
            steps = function(*args, **kwargs)

            async def step() -> Any:
                # Not `anext` with a default: where that really has to wait, Python 3.11 stumbles.
                try:
                    return await anext(steps)
                except StopAsyncIteration:
                    return None

            yield run(step())
            run(step())

        return generate

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return run(function(*args, **kwargs))

    return call


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of slow folders first, a file of each in turn, and those of `unit`, the shortest, last.

    In turn, as those that start many processes would else stand in each other's way.
    """
    numbers: Counter[str] = Counter()
    places: dict[Path, tuple[int, int]] = {}
    for path in dict.fromkeys(item.path for item in items):
        folder = path.relative_to(Path(__file__).parent).parts[0]
        if folder in SLOW_FOLDERS:
            places[path] = (numbers[folder], SLOW_FOLDERS.index(folder))
            numbers[folder] += 1
        else:
            places[path] = (len(items), int(folder == "unit"))
    items.sort(key=lambda item: places[item.path])


def pytest_collection_finish() -> None:
    """What is there by now stays: the garbage collector need not look through it again and again."""
    garbage.settle()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any) -> Generator[None, object, object]:
    if inspect.isasyncgenfunction(fixturedef.func) or inspect.iscoroutinefunction(fixturedef.func):
        fixturedef.func = synchronous(fixturedef.func)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: Any) -> None:
    given = getattr(pyfuncitem.obj, "hypothesis", None)
    if given is not None and inspect.iscoroutinefunction(given.inner_test):
        given.inner_test = synchronous(given.inner_test)
    elif inspect.iscoroutinefunction(pyfuncitem.obj):
        pyfuncitem.obj = synchronous(pyfuncitem.obj)


@pytest.fixture(scope="session", autouse=True)
def _reactor() -> Iterator[None]:
    """Start the reactor (its threads come with it) before the first test, and stop it after the last."""
    REACTOR.startRunning(installSignalHandlers=False)
    yield
    stopped: Deferred[None] = Deferred()
    REACTOR.addSystemEventTrigger("after", "shutdown", stopped.callback, None)
    REACTOR.fireSystemEvent("shutdown")
    LOOP.run_until_complete(stopped.asFuture(LOOP))


@pytest.fixture(scope="session", autouse=True)
def _no_foreign_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whom the machine trusts is no part of a test, and each server would load all those certificates."""
    with pytest.MonkeyPatch.context() as patch:
        stranger = Authority.make(tmp_path_factory.mktemp("authority"), "An authority that certifies nobody")
        patch.setenv("SSL_CERT_FILE", str(stranger.file))
        patch.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("authorities")))
        yield


@pytest.fixture(autouse=True)
def _no_unseen_failures() -> Iterator[None]:
    """Nothing may fail without anybody knowing."""
    failures: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if "log_failure" in event:
            failures.append(event["log_failure"].getTraceback())

    globalLogPublisher.addObserver(observe)
    yield
    globalLogPublisher.removeObserver(observe)
    assert not failures, "\n".join(failures)


@pytest.fixture(scope="session")
def specification(request: pytest.FixtureRequest) -> Specification | None:
    """The specification that traffic is checked against, `None` where its files are not there."""
    root = spec_dir()
    if root is None:
        return None
    checked = Specification(root)
    request.config.stash[SPECIFICATION] = checked
    return checked


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process that runs a part of the tests tells what it has exercised."""
    output = getattr(session.config, "workeroutput", None)
    checked = session.config.stash.get(SPECIFICATION, None)
    if output is not None and checked is not None:
        output["exercised"] = [
            (each.api, each.operation_id, sorted(statuses)) for each, statuses in checked.exercised.items()
        ]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Put together what the processes have exercised."""
    del error
    root = spec_dir()
    exercised = getattr(node, "workeroutput", {}).get("exercised")
    if root is None or exercised is None:
        return
    whole = node.config.stash.setdefault(SPECIFICATION, Specification(root))
    operations = {(each.api, each.operation_id): each for each in whole.operations}
    for api, operation_id, statuses in exercised:
        whole.exercised.setdefault(operations[api, operation_id], set()).update(statuses)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many of the specification's endpoints were exercised."""
    checked = config.stash.get(SPECIFICATION, None)
    if checked is None:
        if spec_dir() is None:
            terminalreporter.write_line("traffic was not checked: no specification, see tests/openapi.py")
        return
    terminalreporter.section("specification")
    for api in checked.apis:
        _report(terminalreporter, checked, api, verbose=config.get_verbosity() > 0)


def _report(
    terminalreporter: pytest.TerminalReporter, checked: Specification, api: str, *, verbose: bool
) -> None:
    operations = [each for each in checked.operations if each.api == api]
    exercised = [
        each for each in operations if any(status < 400 for status in checked.exercised.get(each, ()))
    ]
    # 401 and 429 are tried out on all of them alike.
    with_errors = [
        each
        for each in exercised
        if any(status >= 400 and status not in {401, 429} for status in checked.exercised[each])
    ]
    terminalreporter.write_line(
        f"{len(exercised)} of {len(operations)} operations of the {api} API were exercised, all of their "
        f"traffic is valid; {len(with_errors)} of them with errors too"
    )
    if verbose:
        missing = sorted(f"{each.method} {each.path}" for each in operations if each not in exercised)
        terminalreporter.write_line("not exercised:\n  " + "\n  ".join(missing))
