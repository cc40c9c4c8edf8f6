"""The official Python client, unmodified, against a server: `scenario.py URL`.

Runs every scenario below, each on queues of its own, prints a line for each and ends with status 1
at the first that fails. The same file runs with every client version that is supported.
"""

import asyncio
import sys
import traceback

from queen import Queen

POLL_MILLIS = 300
IDLE_MILLIS = 600


def data(messages):
    """The payloads, in order of delivery."""
    return [message["data"] for message in messages]


async def pop(queue, batch=1, group=None, wait=False):
    """Pops at once from a queue builder, or waits up to a poll's time."""
    queue = queue.batch(batch).wait(wait).timeout_millis(POLL_MILLIS)
    if group:
        queue = queue.group(group).subscription_mode("all")
    return await queue.pop()


async def create_answers_the_options(queen):
    options = {"lease_time": 60, "retry_limit": 5, "priority": 2, "max_size": 10}
    answer = await queen.queue("create").namespace("shop").task("bill").config(options).create()
    assert answer["configured"] is True, answer
    assert answer["namespace"] == "shop" and answer["task"] == "bill", answer
    for name, value in (("leaseTime", 60), ("retryLimit", 5), ("priority", 2), ("maxSize", 10)):
        assert answer["options"][name] == value, answer
    assert (await queen.queue("create").delete())["deleted"] is True


async def push_and_pop_round_trip(queen):
    await queen.queue("trip").create()
    answer = await queen.queue("trip").push([{"data": {"n": 1}, "transactionId": "mine"}])
    assert answer[0]["status"] == "queued" and answer[0]["transactionId"] == "mine", answer
    message = (await pop(queen.queue("trip"), wait=True))[0]
    assert message["data"] == {"n": 1} and message["transactionId"] == "mine", message
    assert message["partition"] == "Default" and message["queue"] == "trip", message
    answer = await queen.ack(message, True)
    assert answer["success"] is True, answer
    assert await pop(queen.queue("trip")) == []


async def payloads_survive(queen):
    payloads = [None, {}, [], 0, "text ü", [{"id": n, "tags": ["a"] * 9} for n in range(10_000)]]
    for payload in payloads:
        await queen.queue("payloads").push([{"data": payload}])
        message = (await pop(queen.queue("payloads"), wait=True))[0]
        assert message["data"] == payload, f"a payload of {len(str(payload))} characters"
        assert (await queen.ack(message, True))["success"] is True


async def duplicates_are_reported(queen):
    async def push(partition, transaction_id):
        item = {"data": 1, "transactionId": transaction_id}
        return (await queen.queue("dup").partition(partition).push([item]))[0]

    first = await push("0", "t")
    again = await push("0", "t")
    other = await push("1", "t")
    assert [first["status"], again["status"], other["status"]] == ["queued", "duplicate", "queued"]
    assert again["message_id"] == first["message_id"]
    told = []

    async def on_duplicate(items, _error):
        told.extend(items)

    item = {"data": 1, "transactionId": "t"}
    await queen.queue("dup").partition("0").push([item]).on_duplicate(on_duplicate)
    assert len(told) == 1

    batch = [{"data": n, "transactionId": "same"} for n in range(3)]
    answer = await queen.queue("dup").push(batch)
    assert [element["status"] for element in answer] == ["queued", "duplicate", "duplicate"]
    racers = (queen.queue("dup").push([{"data": 1, "transactionId": "race"}]) for _ in range(8))
    answers = [answer[0] for answer in await asyncio.gather(*racers)]
    assert sorted(a["status"] for a in answers) == ["duplicate"] * 7 + ["queued"], answers
    assert len({a["message_id"] for a in answers}) == 1, answers


async def a_waiting_pop_is_answered_by_a_push(queen):
    await queen.queue("wait").create()
    waiting = asyncio.create_task(queen.queue("wait").wait(True).timeout_millis(20_000).pop())
    await pop(queen.queue("wait-other"))
    await queen.queue("wait").push([{"data": "here"}])
    assert data(await waiting) == ["here"]


async def consume_acknowledges(queen):
    await queen.queue("consume").push([{"data": n} for n in range(100)])
    seen = []

    async def handle(message):
        seen.append(message["data"])

    consume = queen.queue("consume").batch(1).limit(100).timeout_millis(POLL_MILLIS)
    await consume.each().consume(handle)
    assert seen == list(range(100)), seen
    assert await pop(queen.queue("consume")) == []


async def consume_in_batches(queen):
    await queen.queue("batches").push([{"data": n} for n in range(3)])
    batches = []

    async def handle(messages):
        batches.append(data(messages))

    consume = queen.queue("batches").batch(10).limit(3).timeout_millis(POLL_MILLIS)
    await consume.consume(handle)
    assert batches == [[0, 1, 2]], batches
    await queen.queue("batches").partition("named").push([{"data": n} for n in range(200)])
    batches.clear()
    consume = queen.queue("batches").partition("named").batch(100).limit(200)
    await consume.timeout_millis(POLL_MILLIS).consume(handle)
    assert batches == [list(range(100)), list(range(100, 200))]


async def concurrent_consumers_keep_the_order(queen):
    await queen.queue("order").push([{"data": n} for n in range(100)])
    seen = []

    async def handle(messages):
        batch = messages if isinstance(messages, list) else [messages]
        seen.extend(data(batch))

    consume = queen.queue("order").concurrency(10).batch(7)
    await consume.timeout_millis(POLL_MILLIS).idle_millis(IDLE_MILLIS).consume(handle)
    assert seen == list(range(100)), seen


async def every_group_gets_everything(queen):
    await queen.queue("groups").push([{"data": n} for n in range(100)])
    for group in ("one", "two"):
        messages = await pop(queen.queue("groups"), batch=100, group=group)
        assert data(messages) == list(range(100)), group
        answer = await queen.ack(messages, True, {"group": group})
        assert answer["success"] is True, answer
        assert all(element["success"] for element in answer["results"]), answer
        assert await pop(queen.queue("groups"), group=group) == []
    queue = queen.queue("groups").group("late").wait(False)
    assert await queue.subscription_mode("new").pop() == []
    await queen.queue("groups").push([{"data": "news"}])
    assert data(await pop(queen.queue("groups"), batch=9, group="late")) == ["news"]


async def partitions_share_a_lease(queen):
    for partition in ("a", "b", "c"):
        items = [{"data": n} for n in range(2)]
        await queen.queue("parts").partition(partition).push(items)
    messages = await queen.queue("parts").batch(10).partitions(3).wait(False).pop()
    assert len(messages) == 6
    assert len({message["partitionId"] for message in messages}) == 3
    assert len({message["leaseId"] for message in messages}) == 1
    assert (await queen.ack(messages, True))["success"] is True
    assert await pop(queen.queue("parts")) == []


async def auto_ack_needs_no_ack(queen):
    await queen.queue("auto").push([{"data": n} for n in range(3)])
    queue = queen.queue("auto").batch(2).wait(False)
    if hasattr(queue, "commit_on_delivery"):
        messages = await queue.commit_on_delivery().pop()
    else:
        # This client's own option cannot be sent; its transport can.
        path = "/api/v1/pop/queue/auto?batch=2&autoAck=true"
        messages = (await queen._http_client.get(path))["messages"]
    assert data(messages) == [0, 1] and not messages[0]["leaseId"], messages
    assert data(await pop(queen.queue("auto"), batch=9)) == [2]


async def a_nack_is_delivered_again(queen):
    await queen.queue("nack").config({"retry_limit": 3}).create()
    await queen.queue("nack").push([{"data": n} for n in range(10)])
    for _ in range(2):
        messages = await pop(queen.queue("nack"), batch=10)
        assert data(messages) == list(range(10))
        assert (await queen.ack(messages, False, {"error": "not yet"}))["success"] is True
    messages = await pop(queen.queue("nack"), batch=10)
    messages[4]["_status"] = False
    for message in messages[:4] + messages[5:]:
        message["_status"] = True
    assert (await queen.ack(messages))["success"] is True
    assert data(await pop(queen.queue("nack"), batch=10)) == [4]


async def a_handler_that_fails_is_retried(queen):
    await queen.queue("retry").config({"retry_limit": 3}).create()
    await queen.queue("retry").push([{"data": n} for n in range(5)])
    attempts = []

    async def handle(messages):
        attempts.append(data(messages))
        if len(attempts) < 3:
            raise RuntimeError("not yet")

    consume = queen.queue("retry").batch(5).timeout_millis(POLL_MILLIS).idle_millis(IDLE_MILLIS)
    await consume.consume(handle)
    assert attempts == [list(range(5))] * 3, attempts


async def the_last_failure_is_dead_lettered(queen):
    await queen.queue("dead").config({"retry_limit": 1}).create()
    await queen.queue("dead").push([{"data": "bad"}, {"data": "good"}])
    for _ in range(2):
        message = (await pop(queen.queue("dead")))[0]
        assert message["data"] == "bad"
        answer = await queen.ack(message, False, {"error": "boom"})
        assert answer["success"] is True, answer
    assert data(await pop(queen.queue("dead"))) == ["good"]


async def a_refused_ack_is_seen(queen):
    await queen.queue("refused").push([{"data": 1}])
    message = (await pop(queen.queue("refused")))[0]
    wrong = {**message, "leaseId": "0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10"}
    answer = await queen.ack(wrong, True)
    assert answer["success"] is False, answer
    assert "lease" in answer["error"].lower(), answer
    assert (await queen.ack(message, True))["success"] is True


async def a_client_side_buffer_is_flushed(queen):
    for n in range(10):
        options = {"message_count": 100, "time_millis": 200}
        await queen.queue("buffer").buffer(options).push([{"data": n}])
    await queen.queue("buffer").flush_buffer()
    assert data(await pop(queen.queue("buffer"), batch=20, wait=True)) == list(range(10))


async def names_that_need_no_escaping_are_found_again(queen):
    await queen.queue("orders.v1_x-y~z").partition("customer:17@eu").push([{"data": 1}])
    queue = queen.queue("orders.v1_x-y~z").partition("customer:17@eu")
    assert data(await pop(queue)) == [1]


async def a_deleted_queue_starts_over(queen):
    await queen.queue("gone").push([{"data": "old", "transactionId": "t"}])
    assert (await queen.queue("gone").delete())["deleted"] is True
    assert await pop(queen.queue("gone")) == []
    answer = await queen.queue("gone").push([{"data": "new", "transactionId": "t"}])
    assert answer[0]["status"] == "queued", answer
    assert data(await pop(queen.queue("gone"), batch=9)) == ["new"]


SCENARIOS = [
    create_answers_the_options,
    push_and_pop_round_trip,
    payloads_survive,
    duplicates_are_reported,
    a_waiting_pop_is_answered_by_a_push,
    consume_acknowledges,
    consume_in_batches,
    concurrent_consumers_keep_the_order,
    every_group_gets_everything,
    partitions_share_a_lease,
    auto_ack_needs_no_ack,
    a_nack_is_delivered_again,
    a_handler_that_fails_is_retried,
    the_last_failure_is_dead_lettered,
    a_refused_ack_is_seen,
    a_client_side_buffer_is_flushed,
    names_that_need_no_escaping_are_found_again,
    a_deleted_queue_starts_over,
]


async def main(url):
    async with Queen(url) as queen:
        for scenario in SCENARIOS:
            try:
                await asyncio.wait_for(scenario(queen), timeout=30)
            except Exception:
                print(f"FAILED {scenario.__name__}", flush=True)
                traceback.print_exc()
                return 1
            print(f"ok {scenario.__name__}", flush=True)
    print("every scenario passed", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
