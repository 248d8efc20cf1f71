from homeserver.core.identifiers import DeviceID, UserID
from homeserver.storage import dehydrated_devices
from homeserver.storage.dehydrated_devices import DehydratedDevice
from tests.storage.store import Store

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")
ONE = DehydratedDevice(DeviceID("one"), b'{"algorithm":"a"}')
TWO = DehydratedDevice(DeviceID("two"), b'{"algorithm":"b"}')


def test_there_is_one_at_most(store: Store) -> None:
    assert store.read(dehydrated_devices.of, ALICE) is None
    for device in (ONE, TWO):
        store.write(dehydrated_devices.put, ALICE, device)
        assert store.read(dehydrated_devices.of, ALICE) == device
    assert store.read(dehydrated_devices.of, BOB) is None


def test_it_is_forgotten_with_its_device(store: Store) -> None:
    for user_id in (ALICE, BOB):
        store.write(dehydrated_devices.put, user_id, ONE)
    store.write(dehydrated_devices.remove_of_devices, ALICE, [DeviceID("two")])
    assert store.read(dehydrated_devices.of, ALICE) == ONE
    store.write(dehydrated_devices.remove_of_devices, ALICE, [DeviceID("two"), DeviceID("one")])
    assert store.read(dehydrated_devices.of, ALICE) is None
    assert store.read(dehydrated_devices.of, BOB) == ONE
