from homeserver.core.identifiers import DeviceID, UserID
from homeserver.storage import devices
from homeserver.storage.devices import Device
from tests.storage.store import Store

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")
A, B = DeviceID("A"), DeviceID("B")


def device(device_id: DeviceID, name: str | None, ts: int | None = None, ip: str | None = None) -> Device:
    agent = None if ip is None else "test"
    return Device(
        device_id=device_id,
        display_name=name,
        last_seen_ts=ts,
        last_seen_ip=ip,
        last_seen_user_agent=agent,
    )


def test_devices_are_added_named_and_removed(store: Store) -> None:
    assert store.write(devices.add, ALICE, B, display_name=None, now_ts=1)
    assert store.write(devices.add, ALICE, A, display_name="Phone", now_ts=2)
    assert store.write(devices.add, BOB, A, display_name="Bob's", now_ts=2)
    assert not store.write(devices.add, ALICE, A, display_name="Other", now_ts=3)
    assert store.read(devices.of_user, ALICE) == [device(A, "Phone"), device(B, None)]
    assert store.read(devices.ids_of_user, ALICE) == [A, B]
    assert store.write(devices.rename, ALICE, B, "Laptop")
    assert not store.write(devices.rename, ALICE, DeviceID("C"), "Laptop")
    assert store.read(devices.find, ALICE, B) == device(B, "Laptop")
    store.write(devices.remove, ALICE, [A, DeviceID("C")])
    assert store.read(devices.ids_of_user, ALICE) == [B]
    assert store.read(devices.find, ALICE, A) is None
    assert store.read(devices.ids_of_user, BOB) == [A]


def test_when_a_device_was_seen_is_noted_now_and_then(store: Store) -> None:
    store.write(devices.add, ALICE, A, display_name=None, now_ts=1)

    def seen(now_ts: int, ip: str) -> bool:
        return store.write(
            devices.seen, ALICE, A, now_ts=now_ts, before_ts=now_ts - 100, ip=ip, user_agent="test"
        )

    assert seen(1000, "192.0.2.1")
    assert not seen(1099, "192.0.2.2")
    assert store.read(devices.find, ALICE, A) == device(A, None, 1000, "192.0.2.1")
    assert seen(1100, "192.0.2.3")
    assert store.read(devices.find, ALICE, A) == device(A, None, 1100, "192.0.2.3")
