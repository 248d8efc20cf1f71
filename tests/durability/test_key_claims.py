"""SIGKILL while clients claim one-time keys: none of them is ever handed out twice."""

import random
import time

from tests.key_claims import CLAIMS, DEVICES, Claims, counts
from tests.processes import ServerProcess


async def test_no_key_is_handed_out_twice(process: ServerProcess) -> None:
    """Killed in the middle, and started again: what was handed out before is not handed out after."""
    seed = time.time_ns() % 1_000_000
    print(f"seed {seed}")
    chance = random.Random(seed)
    door = process.door()
    claims = Claims([await door.user(f"holder{number}") for number in range(DEVICES)])
    claimants = [await door.user(f"claimant{number}") for number in range(8)]
    await claims.upload()
    fatal = chance.randint(CLAIMS // 10, CLAIMS // 2)

    def kill(count: int) -> None:
        if count == fatal:
            claims.is_over = True
            assert process.process is not None
            process.process.kill()

    claims.on_answer = kill
    await claims.claim_all(claimants, chance)
    await process.kill()
    await process.start()
    claims.is_over, claims.on_answer = False, lambda count: None
    claims.holders = [process.client(holder) for holder in claims.holders]
    claims.check(await counts(claims.holders))
    await claims.claim_all([process.client(each) for each in claimants], chance)
    claims.check(await counts(claims.holders))
    assert [record for record in process.complaints if record["level"] == "error"] == []
