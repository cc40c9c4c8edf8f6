"""Leases: how they end, and how they are renewed. The slowest scenarios stand first."""

import asyncio
import datetime
import time

from capability import ADMIN, PARTITIONS, RENEWAL_REFUSALS, needs
from verbs import ack, data, fixed, pop, push, wait_pop


async def a_handler_can_outlast_its_lease(queen):
    await queen.queue("lease.auto").config({"lease_time": 2}).create()
    await push(queen, "lease.auto", ["long work"])
    seen = []

    async def handle(message):
        seen.append(message["data"])
        await asyncio.sleep(2.5)

    queue = queen.queue("lease.auto").renew_lease(True, 400).batch(1).limit(1).each()
    await queue.consume(handle)
    assert seen == ["long work"]
    # Renewed and acknowledged: nobody else got it, and nobody will.
    assert await pop(queen.queue("lease.auto")) == []


async def a_renewed_lease_goes_on(queen):
    await queen.queue("lease.renew").config({"lease_time": 2}).create()
    await push(queen, "lease.renew", range(2))
    messages = await pop(queen.queue("lease.renew"), batch=2)
    popped_at = time.monotonic()
    renewed = await queen.renew(messages[0])
    assert renewed["success"] is True and renewed["leaseId"] == messages[0]["leaseId"], renewed
    expires = datetime.datetime.fromisoformat(renewed["newExpiresAt"].replace("Z", "+00:00"))
    left = (expires - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    assert 30 < left <= 61, renewed
    await asyncio.sleep(max(0, popped_at + 2.2 - time.monotonic()))
    assert await pop(queen.queue("lease.renew"), batch=2) == []
    await ack(queen, messages)
    assert await pop(queen.queue("lease.renew")) == []


@needs(PARTITIONS)
async def a_shared_lease_is_renewed_whole(queen):
    await queen.queue("lease.shared").config({"lease_time": 2}).create()
    for partition in ("a", "b", "c"):
        await push(queen, "lease.shared", [partition], partition)
    messages = await queen.queue("lease.shared").batch(10).partitions(3).wait(False).pop()
    popped_at = time.monotonic()
    assert sorted(data(messages)) == ["a", "b", "c"], messages
    results = await queen.renew(messages)
    # One lease, so one call.
    assert [result["success"] for result in results] == [True], results
    if RENEWAL_REFUSALS.present:
        assert results[0]["renewed"] == 3, results
    await asyncio.sleep(max(0, popped_at + 2.2 - time.monotonic()))
    for partition in ("a", "b", "c"):
        assert await pop(queen.queue("lease.shared").partition(partition)) == [], partition
    await ack(queen, messages)


async def an_expired_lease_delivers_again(queen):
    await queen.queue("lease.expires").config({"lease_time": 1}).create()
    await push(queen, "lease.expires", ["a", "b"])
    began = time.monotonic()
    lost = await pop(queen.queue("lease.expires"), batch=2)
    assert data(lost) == ["a", "b"]
    again = await wait_pop(queen.queue("lease.expires"), batch=2)
    assert time.monotonic() - began >= 0.95
    assert data(again) == ["a", "b"] and again[0]["leaseId"] != lost[0]["leaseId"]
    assert (again[0]["deliveryAttempt"], again[1]["deliveryAttempt"]) == (2, 1), again
    answer = await queen.ack(lost[0], True)
    assert answer["success"] is False, answer


async def what_was_completed_is_not_delivered_after_an_expiry(queen):
    await queen.queue("lease.part").config({"lease_time": 2}).create()
    await push(queen, "lease.part", range(4))
    messages = await pop(queen.queue("lease.part"), batch=4)
    await ack(queen, [messages[0], messages[2]])
    assert data(await wait_pop(queen.queue("lease.part"), batch=4)) == [1, 3]


async def a_lease_can_be_renewed_by_its_id_and_by_messages(queen):
    await push(queen, "lease.forms", range(2))
    messages = await pop(queen.queue("lease.forms"), batch=2)
    lease = messages[0]["leaseId"]
    for result in (await queen.renew(lease), await queen.renew(messages[0])):
        assert (result["success"], result["leaseId"]) == (True, lease), result
        assert result["newExpiresAt"], result
    results = await queen.renew([lease, *messages])
    assert results and all(result["success"] for result in results), results
    assert {result["leaseId"] for result in results} == {lease}


async def what_has_no_lease_is_not_renewed(queen):
    assert (await queen.renew({"transactionId": "t"}))["success"] is False


@needs(RENEWAL_REFUSALS)
async def a_lease_that_ended_is_not_renewed(queen):
    await push(queen, "lease.ended", ["m", "n"])
    completed = (await pop(queen.queue("lease.ended")))[0]
    await ack(queen, completed)
    failed = (await pop(queen.queue("lease.ended")))[0]
    await ack(queen, failed, False)
    unknown = "5d1b9a52-3e1c-4a7e-8f3a-0b6f3c2d1e00"
    for lease in (completed["leaseId"], failed["leaseId"], unknown, "not-a-lease"):
        result = await queen.renew(lease)
        assert result["success"] is False and result["error"], (lease, result)
    assert data(await pop(queen.queue("lease.ended"))) == ["n"]


@needs(ADMIN)
async def the_transport_can_ask_for_seconds(queen):
    await push(queen, "lease.seconds", ["m"])
    message = (await pop(fixed(queen.queue("lease.seconds"))))[0]
    path = f"/api/v1/lease/{message['leaseId']}/extend"
    answer = await queen._http_client.post(path, {"seconds": 1000})
    assert answer["success"] is True and answer["leaseId"] == message["leaseId"], answer
    later = await queen._http_client.post(path, {"seconds": 5})
    # Never shortened.
    assert later["newExpiresAt"] >= answer["newExpiresAt"], (answer, later)
    for name in ("expiresAt", "lease_expires_at"):
        assert answer[name] == answer["newExpiresAt"], answer
