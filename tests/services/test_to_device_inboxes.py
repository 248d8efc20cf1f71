"""What nobody fetches is dropped, and the log says so once."""

import pytest
from structlog.testing import capture_logs

from homeserver.core.identifiers import DeviceID, ServerName, UserID
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.services import to_device_inboxes
from homeserver.services.to_device_inboxes import DAY_MS, LOGGED_MS, ToDeviceInboxes
from homeserver.storage import devices, outbound_to_device, to_device, users
from homeserver.storage.to_device import Letter
from tests.services.conftest import MovableClock

ALICE = UserID("@alice:test")
OLD, NEW = DeviceID("OLD"), DeviceID("NEW")
REMOTE = ServerName("remote.example")


def fill(tx: WriteTransaction, now_ts: int) -> None:
    users.create(tx, ALICE, password_hash=None, display_name="", now_ts=now_ts)
    for device_id in (OLD, NEW):
        devices.add(tx, ALICE, device_id, display_name=None, now_ts=now_ts)
        for number in range(50):
            to_device.put(tx, ALICE, [Letter(ALICE, device_id, ALICE, str(number).encode())])
    outbound_to_device.put(tx, ALICE, {REMOTE: [b"{}"] * 3}, now_ts=now_ts)


def see(tx: WriteTransaction, now_ts: int) -> None:
    devices.seen(tx, ALICE, NEW, now_ts=now_ts, before_ts=now_ts, ip="::1", user_agent=None)


def waiting(tx: ReadTransaction, device_id: DeviceID) -> list[str]:
    found, _ = to_device.waiting(tx, ALICE, device_id, after=0, upto=2**62, most=1_000, most_bytes=2**62)
    return [each.message.decode() for each in found]


async def test_what_nobody_fetches_is_dropped(
    database: Database, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that has not been seen for 90 days keeps the newest messages, a server that does not answer nothing."""
    monkeypatch.setattr(to_device_inboxes, "MOST_UNSEEN", 12)
    monkeypatch.setattr(to_device_inboxes, "AT_ONCE", 7)
    inboxes = ToDeviceInboxes(database, clock)
    await database.write(fill, clock.ts)
    clock.advance(90 * DAY_MS)
    await inboxes.prune()
    assert len(await database.read(waiting, OLD)) == 50
    assert (await database.read(outbound_to_device.backlogs, ALICE)).keys() == {REMOTE}
    clock.advance(1)
    await database.write(see, clock.ts)
    with capture_logs() as logs:
        await inboxes.prune()
    assert await database.read(waiting, OLD) == [str(number) for number in range(38, 50)]
    assert len(await database.read(waiting, NEW)) == 50
    assert await database.read(outbound_to_device.backlogs, ALICE) == {}
    assert [(each["source"], each["number"]) for each in logs] == [(REMOTE, 3)]


async def test_the_log_says_it_once_an_hour(database: Database, clock: MovableClock) -> None:
    inboxes = ToDeviceInboxes(database, clock)
    with capture_logs() as logs:
        for source, number in ((ALICE, 0), (ALICE, 1), (ALICE, 5), (REMOTE, 2)):
            inboxes.note_dropped(source, number)
        clock.advance(LOGGED_MS)
        inboxes.note_dropped(ALICE, 3)
    assert [(each["source"], each["number"]) for each in logs] == [(ALICE, 1), (REMOTE, 2), (ALICE, 3)]
