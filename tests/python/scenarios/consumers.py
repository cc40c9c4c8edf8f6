"""Consumers: the client's loop of polls, handlers and acks."""

import asyncio

from capability import (
    COMMIT_ON_DELIVERY,
    EACH_GOES_ON,
    EACH_STOPS,
    PARTITIONS,
    SUPERVISION,
    needs,
)
from verbs import ack, consume_until, data, failure, fixed, listed, pop, push


async def a_message_is_handled_and_acknowledged(queen):
    await push(queen, "consume.one", ["work"])
    seen = []

    async def handle(message):
        seen.append(message["data"])

    await queen.queue("consume.one").batch(1).limit(1).each().consume(handle)
    assert seen == ["work"]
    assert await pop(queen.queue("consume.one")) == []


async def each_handles_one_by_one(queen):
    await push(queen, "consume.each", range(100))
    seen = []

    async def handle(message):
        seen.append(message["data"])

    await queen.queue("consume.each").batch(30).limit(100).each().consume(handle)
    assert seen == list(range(100)), seen
    assert await pop(queen.queue("consume.each")) == []


async def a_batch_of_one_is_one_message(queen):
    for n in range(20):
        await push(queen, "consume.single", [n])
    seen = []

    async def handle(message):
        seen.append(message["data"])

    await fixed(queen.queue("consume.single")).batch(1).limit(20).consume(handle)
    assert seen == list(range(20)), seen


async def a_part_of_a_batch_is_handled_at_once(queen):
    await push(queen, "consume.part", range(3))
    batches = []

    async def handle(messages):
        batches.append(data(messages))

    await queen.queue("consume.part").batch(10).limit(3).consume(handle)
    assert batches == [[0, 1, 2]], batches


async def named_partitions_are_consumed_whole(queen):
    for partition in ("one", "two"):
        await push(queen, "consume.named", range(100), partition)
    for partition in ("one", "two"):
        batches = []

        async def handle(messages):
            batches.append(data(messages))

        queue = queen.queue("consume.named").partition(partition).batch(100)
        await queue.limit(100).consume(handle)
        assert batches == [list(range(100))], batches


async def ten_thousand_messages_come_in_order(queen):
    await push(queen, "consume.many", range(10_000))
    seen = []

    async def handle(messages):
        seen.extend(data(messages))

    await queen.queue("consume.many").batch(1000).limit(10_000).consume(handle)
    assert seen == list(range(10_000))
    assert await pop(queen.queue("consume.many")) == []


async def concurrent_workers_keep_the_order(queen):
    for n in range(100):
        await push(queen, "consume.order", [n])
    seen, done = [], asyncio.Event()

    async def handle(message):
        seen.append(message["data"])
        if len(seen) == 100:
            done.set()

    queue = fixed(queen.queue("consume.order")).concurrency(10).batch(1)
    await consume_until(queue, handle, done)
    assert seen == list(range(100)), seen
    assert await pop(queen.queue("consume.order")) == []


async def concurrent_workers_keep_the_order_of_a_buffer(queen):
    # One flush: the older versions send several at once, and which comes first is chance.
    options = {"message_count": 100, "time_millis": 600_000}
    for n in range(100):
        await queen.queue("consume.buffer").buffer(options).push([{"data": n}])
    seen, done = [], asyncio.Event()

    async def handle(messages):
        seen.extend(data(listed(messages)))
        if len(seen) == 100:
            done.set()

    queue = queen.queue("consume.buffer").concurrency(10).batch(10)
    await consume_until(queue, handle, done)
    assert seen == list(range(100)), seen


async def groups_are_consumed_side_by_side(queen):
    await push(queen, "consume.groups", range(100), "p")
    seen = {"one": [], "two": []}

    async def consume(group):
        async def handle(messages):
            seen[group].extend(data(messages))

        queue = queen.queue("consume.groups").partition("p").group(group)
        queue = queue.subscription_mode("from_beginning").batch(30).limit(100)
        await queue.consume(handle)

    await asyncio.gather(consume("one"), consume("two"))
    assert seen == {"one": list(range(100)), "two": list(range(100))}, seen
    for group in seen:
        assert await pop(queen.queue("consume.groups"), group=group) == []


async def without_auto_ack_the_handler_acknowledges(queen):
    await push(queen, "consume.manual", range(1000))
    seen = []

    async def handle(messages):
        seen.extend(data(messages))
        await ack(queen, messages, True, group="g")

    queue = queen.queue("consume.manual").group("g").auto_ack(False).batch(100)
    await queue.limit(1000).consume(handle)
    assert seen == list(range(1000))
    assert await pop(queen.queue("consume.manual"), group="g") == []


async def a_failed_batch_comes_back_whole(queen):
    await queen.queue("consume.retry").config({"retry_limit": 3}).create()
    await push(queen, "consume.retry", range(100))
    attempts, done = [], asyncio.Event()

    async def handle(messages):
        attempts.append(data(messages))
        if len(attempts) < 3:
            raise RuntimeError("not yet")
        done.set()

    await consume_until(queen.queue("consume.retry").batch(100), handle, done)
    assert attempts == [list(range(100))] * 3, attempts
    assert await pop(queen.queue("consume.retry")) == []


async def a_failed_batch_comes_back_to_its_group_only(queen):
    await queen.queue("consume.regroup").config({"retry_limit": 3}).create()
    await push(queen, "consume.regroup", range(100))
    attempts = {"fails": [], "works": []}

    async def consume(group, fails):
        done = asyncio.Event()

        async def handle(messages):
            attempts[group].append(data(messages))
            if len(attempts[group]) <= fails:
                raise RuntimeError("not yet")
            done.set()

        await consume_until(queen.queue("consume.regroup").group(group).batch(100), handle, done)

    await consume("fails", 2)
    await consume("works", 0)
    whole = list(range(100))
    assert attempts == {"fails": [whole] * 3, "works": [whole]}, attempts


async def a_handler_that_always_fails_is_given_up(queen):
    await queen.queue("consume.hopeless").config({"retry_limit": 2}).create()
    await push(queen, "consume.hopeless", ["bad", "good"])
    seen, done = [], asyncio.Event()

    async def handle(message):
        seen.append(message["data"])
        if message["data"] == "bad":
            raise RuntimeError("never")
        done.set()

    await consume_until(fixed(queen.queue("consume.hopeless")).batch(1), handle, done)
    assert seen == ["bad", "bad", "bad", "good"], seen
    assert await pop(queen.queue("consume.hopeless")) == []


async def each_comes_back_to_the_message_that_failed(queen):
    await push(queen, "consume.each-fails", range(5))
    seen, done = [], asyncio.Event()

    async def handle(message):
        seen.append(message["data"])
        if message["data"] == 2 and seen.count(2) == 1:
            raise RuntimeError("not yet")
        if set(seen) == set(range(5)) and seen.count(2) == 2:
            done.set()

    await consume_until(queen.queue("consume.each-fails").batch(5).each(), handle, done)
    assert seen[:3] == [0, 1, 2] and seen.count(2) == 2, seen
    # What was completed before the failure is not delivered again.
    assert seen.count(0) == seen.count(1) == 1, seen


@needs(EACH_STOPS)
async def each_goes_on_in_order_after_a_failure(queen):
    await push(queen, "consume.each-stops", range(5))
    seen, done = [], asyncio.Event()

    async def handle(message):
        seen.append(message["data"])
        if seen == [0, 1, 2]:
            raise RuntimeError("not yet")
        if message["data"] == 4:
            done.set()

    await consume_until(queen.queue("consume.each-stops").batch(5).each(), handle, done)
    assert seen == [0, 1, 2, 2, 3, 4], seen
    assert await pop(queen.queue("consume.each-stops")) == []


async def an_error_ends_a_consumer_that_does_not_acknowledge(queen):
    await push(queen, "consume.raise", ["work"])

    async def handle(_message):
        raise ValueError("mine")

    consumer = queen.queue("consume.raise").auto_ack(False).batch(1).limit(1)
    assert str(await failure(consumer.consume(handle), ValueError)) == "mine"
    # Nothing was said to the server: the lease goes on.
    assert await pop(queen.queue("consume.raise")) == []


async def callbacks_acknowledge_by_themselves(queen):
    await push(queen, "consume.told", ["good", "bad"])
    told = []

    async def handle(message):
        if message["data"] == "bad":
            raise RuntimeError("broken")
        return "done"

    async def succeeded(message, result):
        told.append((message["data"], result))
        await ack(queen, message)

    async def failed(message, error):
        told.append((message["data"], str(error)))
        await ack(queen, message, "dlq", error=str(error))

    consumer = queen.queue("consume.told").batch(1).limit(2).each().consume(handle)
    await consumer.on_success(succeeded).on_error(failed)
    assert told == [("good", "done"), ("bad", "broken")], told
    assert await pop(queen.queue("consume.told")) == []


async def a_signal_ends_a_consumer(queen):
    await push(queen, "consume.signal", range(10))
    seen, done = [], asyncio.Event()

    async def handle(message):
        seen.append(message["data"])
        if len(seen) == 3:
            done.set()

    await consume_until(queen.queue("consume.signal").batch(10).each(), handle, done)
    assert seen == [0, 1, 2], seen


async def an_idle_consumer_ends(queen):
    await push(queen, "consume.idle", ["work"])
    seen = []

    async def handle(messages):
        seen.extend(data(messages))

    await queen.queue("consume.idle").batch(5).wait(False).idle_millis(300).consume(handle)
    assert seen == ["work"]


async def a_refused_poll_ends_a_consumer(queen):
    async def handle(_messages):
        raise AssertionError("nothing can be delivered")

    error = await failure(queen.queue("q" * 256).wait(False).limit(1).consume(handle))
    assert "queue" in str(error), error


@needs(PARTITIONS)
async def several_partitions_are_consumed_together(queen):
    for partition in ("a", "b", "c"):
        await push(queen, "consume.several", range(4), partition)
    seen, leases = {"a": [], "b": [], "c": []}, []

    async def handle(messages):
        leases.append({message["leaseId"] for message in messages})
        for message in messages:
            seen[message["partition"]].append(message["data"])

    await queen.queue("consume.several").partitions(3).batch(12).limit(12).consume(handle)
    assert seen == {partition: [0, 1, 2, 3] for partition in "abc"}, seen
    assert [len(ids) for ids in leases] == [1] * len(leases), leases


@needs(PARTITIONS)
async def a_batch_over_partitions_is_capped(queen):
    for n in range(4):
        await push(queen, "consume.capped", range(5), f"p{n}")
    sizes = []

    async def handle(messages):
        sizes.append(len(messages))

    await queen.queue("consume.capped").partitions(4).batch(10).limit(20).consume(handle)
    assert sum(sizes) == 20 and max(sizes) <= 10, sizes


@needs(PARTITIONS, EACH_GOES_ON)
async def a_failure_in_one_partition_leaves_the_others(queen):
    for partition in ("a", "b"):
        await push(queen, "consume.apart", range(2), partition)
    seen, done = [], asyncio.Event()

    async def handle(message):
        seen.append((message["partition"], message["data"]))
        if len(seen) == 1:
            raise RuntimeError("not yet")
        if set(seen) == {(partition, n) for partition in "ab" for n in range(2)}:
            done.set()

    queue = queen.queue("consume.apart").partitions(2).batch(4).each()
    await consume_until(queue, handle, done)
    assert seen.count(seen[0]) == 2, seen
    for partition in ("a", "b"):
        expected = [0, 0, 1] if partition == seen[0][0] else [0, 1]
        assert [n for p, n in seen if p == partition] == expected, seen


@needs(COMMIT_ON_DELIVERY)
async def a_consumer_always_leases(queen):
    async def handle(_messages):
        raise AssertionError("nothing is asked for")

    queue = queen.queue("consume.commit").commit_on_delivery()
    try:
        await queue.consume(handle)
    except ValueError:
        return
    raise AssertionError("the client took a consumer that commits on delivery")


@needs(SUPERVISION)
async def supervision_does_not_disturb(queen):
    await push(queen, "consume.watched", ["work"])
    seen = []

    async def handle(messages):
        seen.extend(data(messages))

    queue = queen.queue("consume.watched").supervision({"group": "app"})
    await queue.batch(5).limit(1).consume(handle)
    assert seen == ["work"]
