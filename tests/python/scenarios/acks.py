"""Acknowledgments: statuses, batches, refusals, retries."""

import uuid

from capability import BATCH_ANSWERS, BATCH_REFUSALS, needs
from verbs import ack, data, pop, push

UNKNOWN_LEASE = str(uuid.uuid4())


async def every_status_is_understood(queen):
    await push(queen, "ack.status", ["completed", "success", "failed", "retry", "dlq"])
    seen = []
    while messages := await pop(queen.queue("ack.status")):
        message = messages[0]
        seen.append(message["data"])
        again = seen.count(message["data"]) > 1
        await ack(queen, message, "completed" if again else message["data"])
    assert seen == ["completed", "success", "failed", "failed", "retry", "retry", "dlq"], seen


async def retry_is_not_counted_and_failed_is(queen):
    await queen.queue("ack.count").config({"retry_limit": 1}).create()
    await push(queen, "ack.count", ["m", "next"])
    counts = []
    for status in ("retry", "retry", "failed", "retry", "failed"):
        message = (await pop(queen.queue("ack.count")))[0]
        assert message["data"] == "m", counts
        counts.append((message["retryCount"], message["deliveryAttempt"]))
        answer = await ack(queen, message, status)
        assert answer["leaseReleased"] is True, answer
        assert answer["dlq"] is (len(counts) == 5), answer
    assert counts == [(0, 1), (0, 1), (0, 1), (1, 2), (1, 2)], counts
    assert data(await pop(queen.queue("ack.count"))) == ["next"]


async def an_ack_answers_what_happened(queen):
    await push(queen, "ack.answer", range(2), "p")
    first, second = await pop(queen.queue("ack.answer"), batch=2)
    answer = await ack(queen, first)
    assert (answer["queueName"], answer["partitionName"]) == ("ack.answer", "p"), answer
    assert answer["transactionId"] == first["transactionId"], answer
    assert (answer["leaseReleased"], answer["dlq"]) == (False, False), answer
    assert (await ack(queen, second))["leaseReleased"] is True


async def a_batch_is_acknowledged_whole(queen):
    for group in (None, "readers"):
        context = {"group": group} if group else {}
        queue = f"ack.whole.{group}"
        await push(queen, queue, range(10))
        await ack(queen, await pop(queen.queue(queue), 10, group), True, **context)
        assert await pop(queen.queue(queue), 10, group) == []


async def a_mixed_batch_loses_nothing(queen):
    await queen.queue("ack.mixed").config({"retry_limit": 1}).create()
    await push(queen, "ack.mixed", range(6))
    messages = await pop(queen.queue("ack.mixed"), batch=6)
    for message, status in zip(messages, (True, "retry", True, False, "dlq", True)):
        message["_status"] = status
    await ack(queen, messages)
    # What was completed behind a failure stays completed; only the failures come back.
    again = await pop(queen.queue("ack.mixed"), batch=6)
    assert data(again) == [1, 3], again
    assert [message["retryCount"] for message in again] == [0, 1]
    await ack(queen, again)
    assert await pop(queen.queue("ack.mixed")) == []


async def the_order_of_a_mixed_batch_does_not_matter(queen):
    await push(queen, "ack.backwards", range(4))
    messages = await pop(queen.queue("ack.backwards"), batch=4)
    for message in messages:
        message["_status"] = message["data"] != 1
    await ack(queen, messages[::-1])
    assert data(await pop(queen.queue("ack.backwards"), batch=4)) == [1]


async def a_part_of_a_batch_can_be_acknowledged(queen):
    await push(queen, "ack.part", range(4))
    messages = await pop(queen.queue("ack.part"), batch=4)
    await ack(queen, messages[1:3])
    assert await pop(queen.queue("ack.part")) == []
    await ack(queen, messages[0])
    await ack(queen, messages[3])
    await push(queen, "ack.part", ["more"])
    assert data(await pop(queen.queue("ack.part"), batch=4)) == ["more"]


async def acks_without_a_lease_id_follow_the_live_lease(queen):
    await push(queen, "ack.bare", ["m"])
    message = (await pop(queen.queue("ack.bare")))[0]
    bare = {key: message[key] for key in ("transactionId", "partitionId")}
    await ack(queen, bare)
    assert await pop(queen.queue("ack.bare")) == []


async def an_ack_can_be_repeated(queen):
    await push(queen, "ack.repeat", range(2))
    messages = await pop(queen.queue("ack.repeat"), batch=2)
    for _ in range(2):
        await ack(queen, messages[0])
    for _ in range(2):
        await ack(queen, messages)
    assert await pop(queen.queue("ack.repeat")) == []


async def a_refused_ack_is_seen(queen):
    await push(queen, "ack.refused", ["m"])
    message = (await pop(queen.queue("ack.refused")))[0]
    for wrong, word in (
        ({**message, "leaseId": UNKNOWN_LEASE}, "lease"),
        ({**message, "transactionId": "no such message"}, "not found"),
        ({**message, "partitionId": UNKNOWN_LEASE}, "not found"),
    ):
        answer = await queen.ack(wrong, True)
        assert answer["success"] is False and word in answer["error"].lower(), answer
    answer = await queen.ack(message, True, {"group": "strangers"})
    assert answer["success"] is False, answer
    answer = await queen.ack(message, "eaten")
    assert answer["success"] is False and "status" in answer["error"], answer
    # None of it did anything.
    await ack(queen, message)


async def what_lacks_its_address_is_refused_by_the_client(queen):
    answer = await queen.ack("only-an-id", True)
    assert answer["success"] is False and "partitionId" in answer["error"], answer
    assert (await queen.ack([], True))["results"] == []


async def an_ack_after_a_nack_is_refused(queen):
    await push(queen, "ack.late", ["m"])
    old = (await pop(queen.queue("ack.late")))[0]
    await ack(queen, old, False)
    answer = await queen.ack(old, True)
    assert answer["success"] is False, answer
    message = (await pop(queen.queue("ack.late")))[0]
    assert message["leaseId"] != old["leaseId"], message
    assert (await queen.ack(old, True))["success"] is False
    await ack(queen, message)


@needs(BATCH_ANSWERS)
async def a_batch_with_a_bad_entry_does_the_rest(queen):
    await push(queen, "ack.bad-entry", range(2))
    messages = await pop(queen.queue("ack.bad-entry"), batch=2)
    stranger = {**messages[0], "transactionId": "no such message"}
    answer = await queen.ack([messages[0], stranger, messages[1]], True)
    done = [element["success"] for element in answer["results"]]
    assert done == [True, False, True], answer
    assert answer["results"][1]["error"], answer
    assert await pop(queen.queue("ack.bad-entry")) == []


@needs(BATCH_REFUSALS)
async def a_refusal_in_a_batch_fails_the_call(queen):
    await push(queen, "ack.seen", range(3))
    messages = await pop(queen.queue("ack.seen"), batch=3)
    wrong = [{**message, "leaseId": UNKNOWN_LEASE} for message in messages[:2]]
    answer = await queen.ack([*wrong, messages[2]], True)
    assert answer["success"] is False and answer["error"].startswith("2 of 3"), answer
    assert data(await pop(queen.queue("ack.seen"))) == []
    await ack(queen, messages)


async def groups_fail_for_themselves(queen):
    await queen.queue("ack.groups").config({"retry_limit": 0}).create()
    await push(queen, "ack.groups", ["m", "next"])
    for group in ("fails", "works"):
        message = (await pop(queen.queue("ack.groups"), group=group))[0]
        assert message["data"] == "m", group
        answer = await ack(queen, message, group == "works", group=group)
        assert answer["dlq"] is (group == "fails"), answer
        assert data(await pop(queen.queue("ack.groups"), group=group)) == ["next"]
