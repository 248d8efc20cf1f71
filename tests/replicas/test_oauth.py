"""A login by OAuth 2.0 goes through all processes of a server, and outlives any of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest

from tests.api.client.oauth_harness import BASE, DEVICE_CODE, App, Browser, app_of, refused, who
from tests.openapi import Specification
from tests.processes import processes
from tests.replicas.conftest import RedisLink, Replicas
from tests.replicas.test_replicas import together


@pytest.fixture
async def replicas(
    database_url: str, redis: RedisLink, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[Replicas]:
    """Two processes that know where they are reached; alice has an account."""
    options = {"redis": redis.url, "public_base_url": BASE}
    async with processes(tmp_path, database_url, specification, "a", "b", **options) as (a, b):
        await a.door().user("alice")
        yield Replicas(a, b)


def browsers(replicas: Replicas) -> tuple[Browser, Browser]:
    """The same browser, as a load balancer leads it to either process."""
    a, b = replicas.a.door(), replicas.b.door()
    at_a = Browser(a.base_url, a.pool)
    return at_a, at_a.at(b.base_url, b.pool)


async def apps(replicas: Replicas) -> tuple[App, App]:
    """The same app, talking to either."""
    at_a = await app_of(replicas.a.door().anonymous())
    return at_a, attrs.evolve(at_a, client=replicas.b.door().anonymous())


async def test_each_step_at_another_process(replicas: Replicas) -> None:
    at_a, at_b = browsers(replicas)
    app_a, app_b = await apps(replicas)
    page = await at_a.open(app_b.link())
    page = await at_b.log_in(page)
    page = await at_a.submit(page.form)
    tokens = (await app_b.exchange(page.answer["code"])).ok()
    assert await who(app_a.with_token(tokens["access_token"])) == 200
    tokens = (await app_a.refresh(tokens["refresh_token"])).ok()
    assert (await app_b.revoke(tokens["refresh_token"])).status == 200
    for app in (app_a, app_b):
        assert await who(app.with_token(tokens["access_token"])) == 401


async def test_a_device_that_asks_everywhere(replicas: Replicas) -> None:
    at_a, at_b = browsers(replicas)
    app_a, app_b = await apps(replicas)
    begun = (
        await app_a.call("device_authorization", {"client_id": app_a.client_id, "scope": app_a.scope})
    ).ok()
    grant: dict[str, str | None] = {"grant_type": DEVICE_CODE, "device_code": begun["device_code"]}
    refused(await app_b.token(**grant), "authorization_pending")
    refused(await app_a.token(**grant), "slow_down")
    page = await at_b.log_in(await at_a.open(begun["verification_uri_complete"]))
    await at_a.submit(page.form)
    # However many ask at the same time, one gets in.
    answers = await together(*(app.token(**grant) for app in (app_a, app_b) * 5))
    let_in = [answer for answer in answers if answer.status == 200]
    assert len(let_in) == 1
    for answer in answers:
        if answer.status != 200:
            refused(answer, "invalid_grant")
    assert await who(app_b.with_token(let_in[0].json["access_token"])) == 200


async def test_a_code_that_comes_to_both(replicas: Replicas) -> None:
    at_a, _ = browsers(replicas)
    app_a, app_b = await apps(replicas)
    page = await at_a.log_in(await at_a.open(app_a.link()))
    code = (await at_a.submit(page.form)).answer["code"]
    answers = await together(*(app.exchange(code) for app in (app_a, app_b) * 3))
    given = [answer.json["access_token"] for answer in answers if answer.status == 200]
    assert len(given) == 1
    # One of those who have it should not, and nobody knows which: so nobody is logged in by it.
    assert await who(app_a.with_token(given[0])) == 401


async def test_kill(replicas: Replicas) -> None:
    """What was answered holds, whatever becomes of the process that has answered."""
    at_a, at_b = browsers(replicas)
    app_a, app_b = await apps(replicas)
    page = await at_a.log_in(await at_a.open(app_a.link()))
    page = await at_a.submit(page.form)
    await replicas.a.kill()
    tokens = (await app_b.exchange(page.answer["code"])).ok()
    await replicas.b.kill()
    await replicas.a.start()
    back = attrs.evolve(app_a, client=replicas.a.door().anonymous())
    tokens = (await back.refresh(tokens["refresh_token"])).ok()
    await replicas.a.kill()
    await replicas.b.start()
    back = attrs.evolve(app_b, client=replicas.b.door().anonymous())
    tokens = (await back.refresh(tokens["refresh_token"])).ok()
    assert await who(back.with_token(tokens["access_token"])) == 200
    # The browser is still logged in, too.
    door = replicas.b.door()
    page = await at_b.at(door.base_url, door.pool).open(back.link())
    assert "@alice:test.example" in page.text
