"""Pops: what they answer, how they wait, which partitions they take."""

import asyncio
import datetime
import time

from capability import COMMIT_ON_DELIVERY, PARTITIONS, POLL_TIMEOUT, needs
from verbs import ack, connected, data, fixed, pop, push, wait_pop


async def a_queue_that_does_not_exist_is_empty(queen):
    assert await pop(queen.queue("pop.unknown")) == []
    assert await pop(queen.queue("pop.unknown").partition("p"), group="g") == []
    await queen.queue("pop.empty").create()
    assert await pop(queen.queue("pop.empty")) == []


async def a_message_has_its_fields(queen):
    before = datetime.datetime.now(datetime.timezone.utc)
    await push(queen, "pop.fields", [1, 2], "p")
    first, second = await pop(queen.queue("pop.fields"), batch=2, group="readers")
    assert first["queue"] == "pop.fields" and first["partition"] == "p", first
    assert first["consumerGroup"] == "readers" and first["traceId"] is None, first
    assert first["producerSub"] is None and first["priority"] == 0, first
    assert (first["retryCount"], first["deliveryAttempt"]) == (0, 1), first
    assert (first["offset"], second["offset"]) == (0, 1) and first["id"] < second["id"]
    assert first["leaseId"] == second["leaseId"] != "", first
    created = datetime.datetime.fromisoformat(first["createdAt"].replace("Z", "+00:00"))
    assert abs((created - before).total_seconds()) < 60, first


async def a_waiting_pop_is_answered_by_a_push(queen):
    queue = "pop.wait"
    await queen.queue(queue).create()
    waiting = [
        asyncio.create_task(wait_pop(queen.queue(queue))),
        asyncio.create_task(wait_pop(queen.queue(queue), group="readers")),
        asyncio.create_task(wait_pop(queen.queue(queue).partition("p"), group="one")),
    ]
    # They are asked before the push: a round trip lies between.
    await pop(queen.queue("pop.wait.other"))
    await push(queen, queue, ["here"], "p")
    assert [data(await waiter) for waiter in waiting] == [["here"]] * 3


async def waiting_pops_share_what_arrives(queen):
    queue = "pop.share"
    await queen.queue(queue).create()
    async with connected() as many:
        waiting = [asyncio.create_task(wait_pop(many.queue(queue))) for _ in range(20)]
        await pop(many.queue("pop.share.other"))
        await asyncio.gather(*(push(queen, queue, [n], f"p{n}") for n in range(20)))
        got = [data(await waiter) for waiter in waiting]
    assert sorted(got) == [[n] for n in range(20)], got


async def a_waiting_pop_honours_where_its_group_starts(queen):
    await push(queen, "pop.wait-new", ["history"])
    queue = queen.queue("pop.wait-new").subscription_mode("new")
    waiting = asyncio.create_task(wait_pop(queue, group="new"))
    while not waiting.done():
        # The first of them may still be older than the group.
        await push(queen, "pop.wait-new", ["news"])
        await asyncio.sleep(0.1)
    assert data(await waiting) == ["news"]


@needs(POLL_TIMEOUT)
async def a_waiting_pop_ends_empty_after_its_time(queen):
    began = time.monotonic()
    assert await queen.queue("pop.late").wait(True).timeout_millis(300).pop() == []
    assert time.monotonic() - began >= 0.3


async def a_poll_that_is_given_up_takes_nothing(queen):
    queue = "pop.given-up"
    await queen.queue(queue).create()
    async with connected() as leaving:
        waiting = asyncio.create_task(leaving.queue(queue).wait(True).pop())
        # The poll is on its way before it is given up.
        await pop(queen.queue("pop.given-up.other"))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    await push(queen, queue, ["kept"])
    assert data(await wait_pop(queen.queue(queue))) == ["kept"]


async def batch_is_the_most_and_a_part_is_enough(queen):
    await push(queen, "pop.batch", range(5))
    first = await wait_pop(queen.queue("pop.batch"), batch=3)
    assert data(first) == [0, 1, 2]
    await ack(queen, first)
    assert data(await wait_pop(queen.queue("pop.batch"), batch=10)) == [3, 4]


async def a_lease_hides_the_partition_from_its_group(queen):
    await push(queen, "pop.leased", range(3))
    first = await pop(queen.queue("pop.leased"))
    await push(queen, "pop.leased", [3])
    assert await pop(queen.queue("pop.leased"), batch=9) == []
    assert data(await pop(queen.queue("pop.leased"), batch=9, group="other")) == [0, 1, 2, 3]
    await ack(queen, first)
    assert data(await pop(queen.queue("pop.leased"), batch=9)) == [1, 2, 3]


async def pop_and_ack_go_on_to_the_next(queen):
    await push(queen, "pop.next", ["a", "b"])
    for expected in ("a", "b"):
        message = (await pop(queen.queue("pop.next")))[0]
        assert message["data"] == expected
        await ack(queen, message)
    assert await pop(queen.queue("pop.next")) == []


async def a_named_partition_gives_only_its_own(queen):
    for partition in ("a", "b"):
        await push(queen, "pop.named", [partition], partition)
    assert data(await pop(queen.queue("pop.named").partition("b"), batch=9)) == ["b"]
    assert await pop(queen.queue("pop.named").partition("b"), batch=9) == []
    assert data(await pop(queen.queue("pop.named"), batch=9)) == ["a"]


async def by_default_one_partition_is_taken(queen):
    for partition in ("a", "b", "c"):
        await push(queen, "pop.one", range(5), partition)
    messages = await pop(queen.queue("pop.one"), batch=100)
    assert data(messages) == list(range(5)), messages
    assert len({message["partitionId"] for message in messages}) == 1


@needs(PARTITIONS)
async def several_partitions_share_a_lease(queen):
    for partition in ("a", "b", "c"):
        await push(queen, "pop.several", range(2), partition)
    messages = await queen.queue("pop.several").batch(10).partitions(3).wait(False).pop()
    assert len(messages) == 6
    assert len({message["partitionId"] for message in messages}) == 3
    assert len({message["leaseId"] for message in messages}) == 1
    for partition in ("a", "b", "c"):
        assert data(m for m in messages if m["partition"] == partition) == [0, 1]
    await ack(queen, messages)
    assert await pop(queen.queue("pop.several")) == []


@needs(PARTITIONS)
async def batch_is_a_total_over_partitions(queen):
    for n in range(5):
        await push(queen, "pop.total", range(100), f"p{n}")
    messages = await queen.queue("pop.total").batch(10).partitions(5).wait(False).pop()
    assert len(messages) == 10, len(messages)


@needs(COMMIT_ON_DELIVERY)
async def what_is_committed_on_delivery_needs_no_ack(queen):
    await push(queen, "pop.auto", range(3))
    queue = fixed(queen.queue("pop.auto")).commit_on_delivery()
    messages = await queue.batch(2).wait(False).pop()
    assert data(messages) == [0, 1] and not messages[0]["leaseId"], messages
    assert data(await pop(queen.queue("pop.auto"), batch=9)) == [2]


@needs(COMMIT_ON_DELIVERY)
async def a_waiting_pop_commits_on_delivery_too(queen):
    queue = fixed(queen.queue("pop.auto-wait").group("g")).commit_on_delivery().batch(9)
    waiting = asyncio.create_task(queue.wait(True).pop())
    await pop(queen.queue("pop.auto-wait.other"))
    await push(queen, "pop.auto-wait", [1])
    messages = await waiting
    assert data(messages) == [1] and not messages[0]["leaseId"], messages
    await push(queen, "pop.auto-wait", [2])
    assert data(await pop(queen.queue("pop.auto-wait"), batch=9, group="g")) == [2]


async def a_namespace_and_task_are_a_filter(queen):
    for queue, namespace, task in (
        ("pop.filter.1", "filter-a", "x"),
        ("pop.filter.2", "filter-a", "y"),
        ("pop.filter.3", "filter-b", "x"),
    ):
        await queen.queue(queue).namespace(namespace).task(task).create()
        await push(queen, queue, [queue])

    async def taken(namespace=None, task=None, group=None):
        seen = set()
        while True:
            queue = queen.queue()
            queue = queue.namespace(namespace) if namespace else queue
            queue = queue.task(task) if task else queue
            messages = await pop(queue, batch=10, group=group)
            if not messages:
                return seen
            assert all(message["queue"] == message["data"] for message in messages), messages
            seen |= set(data(messages))
            await ack(queen, messages, True, **({"group": group} if group else {}))

    assert await taken("filter-a", "y") == {"pop.filter.2"}
    assert await taken("filter-a") == {"pop.filter.1"}
    assert await taken("filter-b", "y") == set()
    assert await taken("filter-a", group="readers") == {"pop.filter.1", "pop.filter.2"}
    assert await taken("filter-b", "x") == {"pop.filter.3"}


async def a_filter_takes_the_queue_of_higher_priority_first(queen):
    priorities = {"pop.low": 1, "pop.high": 7, "pop.middle": 3}
    for queue, priority in priorities.items():
        created = queen.queue(queue).namespace("priorities").task("t")
        await created.config({"priority": priority}).create()
        await push(queen, queue, [queue])
    seen = []
    for _ in range(3):
        message = (await pop(queen.queue().namespace("priorities")))[0]
        assert message["priority"] == priorities[message["queue"]], message
        seen.append(message["data"])
    assert seen == ["pop.high", "pop.middle", "pop.low"], seen


async def a_waiting_filter_is_answered_by_a_push(queen):
    await queen.queue("pop.filter-wait").namespace("filter-wait").create()
    waiting = asyncio.create_task(wait_pop(queen.queue().namespace("filter-wait")))
    await pop(queen.queue("pop.filter-wait.other"))
    await push(queen, "pop.filter-wait", ["here"])
    assert data(await waiting) == ["here"]


async def a_queue_made_by_a_push_has_a_namespace_and_a_task(queen):
    await push(queen, "filter-auto.invoice.eu", ["m"])
    assert await pop(queen.queue().namespace("filter-auto").task("eu")) == []
    assert data(await pop(queen.queue().namespace("filter-auto").task("invoice"))) == ["m"]


async def a_consumer_may_name_a_namespace(queen):
    for queue in ("pop.ns.1", "pop.ns.2"):
        await queen.queue(queue).namespace("filter-consume").task("work").create()
        await push(queen, queue, range(5))
    seen = {"pop.ns.1": [], "pop.ns.2": []}

    async def handle(message):
        seen[message["queue"]].append(message["data"])

    queue = queen.queue().namespace("filter-consume").task("work").group("g")
    await queue.batch(3).limit(10).each().consume(handle)
    assert seen == {"pop.ns.1": list(range(5)), "pop.ns.2": list(range(5))}, seen
    assert await pop(queen.queue().namespace("filter-consume"), group="g") == []
