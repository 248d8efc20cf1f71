"""Clients at two processes claim the same devices' one-time keys."""

import random
import time

from tests.key_claims import CLAIMS, DEVICES, Claims, counts
from tests.replicas.conftest import Replicas


async def test_no_key_is_handed_out_twice_and_none_is_lost(replicas: Replicas) -> None:
    """As many claims as keys: everybody gets one."""
    seed = time.time_ns() % 1_000_000
    print(f"seed {seed}")
    here, there = replicas.a.door(), replicas.b.door()
    claims = Claims([await here.user(f"holder{number}") for number in range(DEVICES)])
    claimants = [await here.user(f"claimant{number}") for number in range(4)]
    claimants += [await there.user(f"other{number}") for number in range(4)]
    await claims.upload()
    await claims.claim_all(claimants, random.Random(seed))
    claims.check(await counts(claims.holders))
    assert len(claims.handed_out) == claims.answered == CLAIMS // DEVICES * DEVICES
