import attrs
import pytest

from homeserver.core.errors import InvalidParam, NotFound, TooLarge
from homeserver.core.identifiers import DeviceID, UserID
from tests.services.accounts.conftest import Stack
from tests.services.conftest import requester

D, E = DeviceID("D"), DeviceID("E")


async def test_devices_are_named_and_removed(stack: Stack, alice: UserID) -> None:
    sessions = [await stack.login("alice", device=device) for device in (D, E)]
    assert not await stack.devices.update(requester(alice, D), E, "Phone")
    assert not await stack.devices.update(requester(alice, D), E, None)
    assert (await stack.devices.find(alice, E)).display_name == "Phone"
    assert [device.device_id for device in await stack.devices.of_user(alice)] == [D, E]
    await stack.devices.remove(alice, [E, DeviceID("unknown")])
    assert [device.device_id for device in await stack.devices.of_user(alice)] == [D]
    assert [await stack.is_known(session.access_token) for session in sessions] == [True, False]
    with pytest.raises(NotFound):
        await stack.devices.find(alice, E)


async def test_users_do_not_make_devices(stack: Stack, alice: UserID) -> None:
    for name in ("Phone", None):
        with pytest.raises(NotFound):
            await stack.devices.update(requester(alice), E, name)


async def test_application_services_make_devices(stack: Stack, alice: UserID) -> None:
    bridge = attrs.evolve(requester(alice, None), appservice_id="bridge")
    assert await stack.devices.update(bridge, E, "Bridge")
    assert not await stack.devices.update(bridge, E, "The bridge")
    assert (await stack.devices.find(alice, E)).display_name == "The bridge"
    with pytest.raises(InvalidParam):
        await stack.devices.update(bridge, DeviceID("x" * 256), None)


async def test_others_devices_are_out_of_reach(stack: Stack, alice: UserID) -> None:
    session = await stack.login("alice", device=D)
    bob = await stack.accounts.create("bob", "password")
    with pytest.raises(NotFound):
        await stack.devices.update(requester(bob), D, "Mine")
    with pytest.raises(NotFound):
        await stack.devices.find(bob, D)
    await stack.devices.remove(bob, [D])
    assert await stack.is_known(session.access_token)


async def test_names_are_bounded(stack: Stack, alice: UserID) -> None:
    await stack.login("alice", device=D)
    with pytest.raises(TooLarge):
        await stack.devices.update(requester(alice, D), D, "x" * 257)
