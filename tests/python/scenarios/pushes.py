"""Pushes: payloads, duplicates, callbacks, refusals and the client's own buffer."""

import asyncio
import uuid

from verbs import ack, connected, data, failure, pop, push, wait_pop


async def a_message_makes_the_round_trip(queen):
    await queen.queue("push.trip").create()
    answer = await queen.queue("push.trip").push([{"data": {"n": 1}, "transactionId": "mine"}])
    first = answer[0]
    assert first["status"] == "queued" and first["index"] == 0, answer
    assert first["transactionId"] == first["transaction_id"] == "mine", answer
    message = (await wait_pop(queen.queue("push.trip")))[0]
    assert message["data"] == {"n": 1} and message["transactionId"] == "mine", message
    assert message["partition"] == "Default" and message["queue"] == "push.trip", message
    assert message["id"] == first["message_id"] == first["messageId"], message
    assert message["partitionId"] == first["partition_id"] == first["partitionId"], message
    await ack(queen, message)
    assert await pop(queen.queue("push.trip")) == []


async def a_payload_can_be_given_in_three_ways(queen):
    items = [{"data": 1}, {"payload": 2}, {"neither": 3}]
    await queen.queue("push.ways").push(items)
    assert data(await pop(queen.queue("push.ways"), batch=3)) == [1, 2, {"neither": 3}]
    await queen.queue("push.ways").partition("one").push({"data": "not in a list"})
    assert data(await pop(queen.queue("push.ways").partition("one"))) == ["not in a list"]


async def payloads_survive(queen):
    payloads = [
        None,
        {},
        [],
        0,
        -1.5e-300,
        2**63 + 1,
        True,
        "",
        'text ü "quoted" \\ \n\t \u0001 \U0001f451',
        {"data": {"payload": [{"a": None}]}, "": "empty name"},
        {"encrypted": "YQ==", "iv": "YQ==", "authTag": "YQ=="},
    ]
    await push(queen, "push.payloads", payloads)
    messages = await wait_pop(queen.queue("push.payloads"), batch=len(payloads))
    assert data(messages) == payloads


async def large_payloads_survive(queen):
    payload = [{"id": n, "tags": ["a", "b" * 20], "name": f"entry {n}"} for n in range(10_000)]
    await push(queen, "push.large", [payload, "x" * 2_000_000])
    messages = await wait_pop(queen.queue("push.large"), batch=2)
    while len(messages) < 2:
        await ack(queen, messages)
        messages += await wait_pop(queen.queue("push.large"))
    assert data(messages) == [payload, "x" * 2_000_000]


async def a_trace_id_goes_with_the_message(queen):
    trace_id = str(uuid.uuid4())
    items = [{"data": 1, "traceId": trace_id}, {"data": 2, "traceId": "the client drops this"}]
    answer = await queen.queue("push.trace").push(items)
    assert [element["trace_id"] for element in answer] == [trace_id, None], answer
    messages = await pop(queen.queue("push.trace"), batch=2)
    assert [message["traceId"] for message in messages] == [trace_id, None]


async def a_producer_cannot_name_itself(queen):
    item = {"queue": "push.producer", "payload": 1, "producerSub": "somebody else"}
    await queen._http_client.post("/api/v1/push", {"items": [item]})
    assert (await pop(queen.queue("push.producer")))[0]["producerSub"] is None


async def the_same_transaction_id_is_stored_once_for_each_partition(queen):
    async def push_to(partition):
        item = {"data": 1, "transactionId": "t"}
        return (await queen.queue("push.dup").partition(partition).push([item]))[0]

    first = await push_to("0")
    again = await push_to("0")
    other = await push_to("1")
    assert [first["status"], again["status"], other["status"]] == ["queued", "duplicate", "queued"]
    assert again["message_id"] == first["message_id"] != other["message_id"]
    message = (await pop(queen.queue("push.dup").partition("0"), batch=9))[0]
    await ack(queen, message)
    # Consumed, and still there.
    assert (await push_to("0"))["status"] == "duplicate"


async def duplicates_within_a_request_are_told_apart(queen):
    batch = [{"data": n, "transactionId": "same"} for n in range(3)]
    answer = await queen.queue("push.intra").push(batch)
    assert [element["status"] for element in answer] == ["queued", "duplicate", "duplicate"]
    assert len({element["message_id"] for element in answer}) == 1, answer
    again = await queen.queue("push.intra").push(batch)
    assert [element["status"] for element in again] == ["duplicate"] * 3
    assert {element["message_id"] for element in again} == {answer[0]["message_id"]}
    assert data(await pop(queen.queue("push.intra"), batch=9)) == [0]


async def of_concurrent_pushes_of_one_id_one_is_stored(queen):
    racers = (queen.queue("push.race").push([{"data": 1, "transactionId": "r"}]) for _ in range(8))
    answers = [answer[0] for answer in await asyncio.gather(*racers)]
    assert sorted(a["status"] for a in answers) == ["duplicate"] * 7 + ["queued"], answers
    assert len({a["message_id"] for a in answers}) == 1, answers


async def the_client_makes_ids_that_differ(queen):
    answer = await push(queen, "push.ids", range(100))
    assert len({element["message_id"] for element in answer}) == 100
    assert len({element["transaction_id"] for element in answer}) == 100
    assert [element["index"] for element in answer] == list(range(100))


async def pushing_nothing_answers_nothing(queen):
    assert await queen.queue("push.nothing").push([]) == []


async def a_push_creates_queue_and_partition(queen):
    await push(queen, "push.auto", ["here"], "never seen")
    assert data(await wait_pop(queen.queue("push.auto"))) == ["here"]


async def callbacks_tell_stored_from_duplicate(queen):
    told = {"success": [], "duplicate": [], "error": []}

    def note(what):
        async def noted(items, *_error):
            told[what].extend(item["transactionId"] for item in items)

        return noted

    def items(*ids):
        return [{"data": 1, "transactionId": id} for id in ids]

    await queen.queue("push.told").push(items("a"))
    push = queen.queue("push.told").push(items("a", "b", "b", "c"))
    push = push.on_success(note("success")).on_duplicate(note("duplicate"))
    await push.on_error(note("error"))
    assert told == {"success": ["b", "c"], "duplicate": ["a", "b"], "error": []}, told


async def a_refused_push_raises_or_calls_back(queen):
    items = [{"data": 1}, {"data": 2, "transactionId": "t" * 256}]
    error = await failure(queen.queue("push.refused").push(items))
    assert "transactionId" in str(error), error
    told = []

    async def note(items, error):
        told.append((len(items), str(error)))

    assert await queen.queue("push.refused").push(items).on_error(note) is None
    assert len(told) == 1 and told[0][0] == 2 and "transactionId" in told[0][1], told
    # One bad item refuses them all.
    assert await pop(queen.queue("push.refused"), batch=9) == []


async def producers_at_once_keep_their_own_order(queen):
    async def produce(partition):
        for n in range(20):
            await push(queen, "push.order", [n], partition)

    partitions = [f"p{n}" for n in range(5)]
    await asyncio.gather(*(produce(partition) for partition in partitions))
    for partition in partitions:
        messages = await pop(queen.queue("push.order").partition(partition), batch=99)
        assert data(messages) == list(range(20)), partition


async def a_buffer_is_flushed_by_its_time(queen):
    options = {"message_count": 100, "time_millis": 700}
    answer = await queen.queue("push.timed").buffer(options).push([{"data": n} for n in range(3)])
    assert answer["buffered"] is True, answer
    if queen.get_buffer_stats()["totalBufferedMessages"] >= 3:
        assert await pop(queen.queue("push.timed")) == []
    messages = await wait_pop(queen.queue("push.timed"), batch=9)
    assert data(messages) == [0, 1, 2]


async def a_buffer_is_flushed_by_its_count(queen):
    options = {"message_count": 10, "time_millis": 600_000}
    for n in range(10):
        await queen.queue("push.counted").buffer(options).push([{"data": n}])
    assert data(await wait_pop(queen.queue("push.counted"), batch=20)) == list(range(10))


async def a_buffer_is_flushed_on_request(queen):
    options = {"message_count": 100, "time_millis": 600_000}
    async with connected() as buffering:
        for n in range(30):
            await buffering.queue("push.asked").buffer(options).push([{"data": n}])
            queue = buffering.queue("push.asked").partition("p").buffer(options)
            await queue.push([{"data": -n}])
        await buffering.queue("push.asked").flush_buffer()
        assert data(await pop(queen.queue("push.asked"), batch=99)) == list(range(30))
        await buffering.flush_all_buffers()
        assert buffering.get_buffer_stats()["totalBufferedMessages"] == 0
        assert data(await pop(queen.queue("push.asked"), batch=99)) == [-n for n in range(30)]


async def closing_flushes_the_buffer(queen):
    options = {"message_count": 100, "time_millis": 600_000}
    async with connected() as closing:
        await closing.queue("push.closed").buffer(options).push([{"data": "last"}])
    assert data(await pop(queen.queue("push.closed"))) == ["last"]


async def a_buffer_may_hold_duplicates(queen):
    options = {"message_count": 100, "time_millis": 600_000}
    async with connected() as buffering:
        for _ in range(2):
            items = [{"data": n, "transactionId": f"t{n}"} for n in range(2)]
            await buffering.queue("push.twice").buffer(options).push(items)
    assert data(await pop(queen.queue("push.twice"), batch=9)) == [0, 1]
