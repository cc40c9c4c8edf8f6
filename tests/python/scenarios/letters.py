"""Dead letters: what becomes one, and how they are listed."""

import asyncio

from capability import ADMIN, BURIES_BY_HAND, NACKS_SAY_WHY, needs
from verbs import ack, consume_until, data, dead_letters, failure, fixed, pop, push


async def _bury(queen, queue, payloads, partition=None, group=None, error="boom"):
    """Makes dead letters, one after the other."""
    await push(queen, queue, payloads, partition)
    context = {"group": group} if group else {}
    for payload in payloads:
        target = queen.queue(queue)
        target = target.partition(partition) if partition else target
        message = (await pop(target, group=group))[0]
        assert message["data"] == payload, message
        await ack(queen, message, "dlq", error=f"{error} {payload}", **context)


async def the_last_failure_makes_a_dead_letter(queen):
    await queen.queue("dlq.last").config({"retry_limit": 1}).create()
    await push(queen, "dlq.last", [{"n": "bad"}, "good"])
    for text in ("first", "second"):
        assert await dead_letters(queen, "dlq.last") == []
        message = (await pop(queen.queue("dlq.last")))[0]
        answer = await ack(queen, message, False, error=text)
        assert answer["dlq"] is (text == "second"), answer
    assert data(await pop(queen.queue("dlq.last"))) == ["good"]
    letter = (await dead_letters(queen, "dlq.last"))[0]
    assert letter["data"] == {"n": "bad"} and letter["errorMessage"] == "second", letter
    for name in ("transactionId", "partitionId"):
        assert letter[name] == message[name], letter
    assert letter["queue"] == "dlq.last" and letter["consumerGroup"] == "__QUEUE_MODE__", letter


async def a_status_makes_a_dead_letter_at_once(queen):
    await _bury(queen, "dlq.once", [1], "p", "readers")
    letter = (await dead_letters(queen, "dlq.once"))[0]
    assert (letter["data"], letter["errorMessage"]) == (1, "boom 1"), letter
    assert (letter["partition"], letter["consumerGroup"]) == ("p", "readers"), letter


@needs(NACKS_SAY_WHY)
async def a_handler_s_error_is_kept(queen):
    await queen.queue("dlq.handler").config({"retry_limit": 2}).create()
    await push(queen, "dlq.handler", ["work"])
    attempts, done = [], asyncio.Event()

    async def handle(_message):
        attempts.append(len(attempts))
        if len(attempts) == 3:
            done.set()
        raise RuntimeError(f"attempt {len(attempts)}")

    await consume_until(fixed(queen.queue("dlq.handler")).batch(1), handle, done)
    letter = (await dead_letters(queen, "dlq.handler"))[0]
    assert (letter["data"], letter["errorMessage"]) == ("work", "attempt 3"), letter


async def a_batch_can_die_in_parts(queen):
    await queen.queue("dlq.batch").config({"retry_limit": 0}).create()
    await push(queen, "dlq.batch", range(4))
    messages = await pop(queen.queue("dlq.batch"), batch=4)
    for message in messages:
        message["_status"] = message["data"] % 2 == 0
        message["_error"] = f"odd {message['data']}"
    await ack(queen, messages)
    letters = await dead_letters(queen, "dlq.batch")
    assert {(letter["data"], letter["errorMessage"]) for letter in letters} == {
        (1, "odd 1"),
        (3, "odd 3"),
    }
    assert await pop(queen.queue("dlq.batch"), batch=4) == []


async def dead_letters_are_listed_by_group_and_partition(queen):
    await _bury(queen, "dlq.list", ["a"], "p1", "readers")
    await _bury(queen, "dlq.list", ["b"], "p2", "writers")
    assert sorted(data(await dead_letters(queen, "dlq.list"))) == ["a", "b"]
    assert data(await dead_letters(queen, "dlq.list", "readers")) == ["a"]
    answer = await queen.queue("dlq.list").partition("p2").dlq().get()
    assert data(answer["messages"]) == ["b"] and answer["total"] == 1, answer
    assert await dead_letters(queen, "dlq.list", "nobody") == []
    assert await dead_letters(queen, "dlq.list.unknown") == []


async def dead_letters_come_in_pages_and_between_times(queen):
    await _bury(queen, "dlq.pages", range(5))
    first = await queen.queue("dlq.pages").dlq().limit(2).get()
    # The newest failure first.
    assert data(first["messages"]) == [4, 3] and first["total"] == 5, first
    last = await queen.queue("dlq.pages").dlq().limit(2).offset(4).get()
    assert data(last["messages"]) == [0] and last["total"] == 5, last
    letters = await dead_letters(queen, "dlq.pages")
    times = {letter["data"]: letter["failedAt"] for letter in letters}
    window = await queen.queue("dlq.pages").dlq().from_(times[1]).to(times[3]).get()
    assert set(data(window["messages"])) >= {2} and 0 not in data(window["messages"]), window
    none = await queen.queue("dlq.pages").dlq().to("2001-01-01T00:00:00Z").get()
    assert none["messages"] == [] and none["total"] == 0, none


@needs(ADMIN)
async def a_dead_letter_can_be_pushed_again(queen):
    await _bury(queen, "dlq.again", ["a", "b"], "p")
    newest, oldest = await dead_letters(queen, "dlq.again")
    address = oldest["partitionId"], oldest["transactionId"]
    answer = await queen.admin.retry_message(*address)
    assert answer["success"] is True and answer["transactionId"] != address[1], answer
    assert data(await dead_letters(queen, "dlq.again")) == ["b"]
    message = (await pop(queen.queue("dlq.again")))[0]
    assert (message["data"], message["transactionId"]) == ("a", answer["transactionId"]), message
    error = await failure(queen.admin.retry_message(*address))
    assert error.response.status_code == 404, error


@needs(BURIES_BY_HAND)
async def a_message_can_be_made_a_dead_letter_by_hand(queen):
    await push(queen, "dlq.hand", ["bad", "good"])
    message = (await pop(queen.queue("dlq.hand"), group="look"))[0]
    address = message["partitionId"], message["transactionId"]
    assert (await queen.admin.move_message_to_dlq(*address))["success"] is True
    assert data(await dead_letters(queen, "dlq.hand")) == ["bad"]
    assert data(await pop(queen.queue("dlq.hand"), batch=2)) == ["good"]


async def a_transaction_can_bury(queen):
    await queen.queue("dlq.tx").config({"retry_limit": 0}).create()
    await push(queen, "dlq.tx", ["bad"])
    message = (await pop(queen.queue("dlq.tx")))[0]
    transaction = queen.transaction().ack(message, "failed").queue("dlq.tx.to")
    await transaction.push([{"data": "noted"}]).commit()
    assert data(await dead_letters(queen, "dlq.tx")) == ["bad"]


async def an_encrypted_message_is_readable_as_a_dead_letter(queen):
    await queen.queue("dlq.secret").config({"encryption_enabled": True}).create()
    await _bury(queen, "dlq.secret", [{"card": "4111"}])
    assert data(await dead_letters(queen, "dlq.secret")) == [{"card": "4111"}]


async def a_queue_without_failures_has_no_dead_letters(queen):
    await push(queen, "dlq.none", ["fine"])
    await ack(queen, await pop(queen.queue("dlq.none")))
    answer = await queen.queue("dlq.none").dlq().limit(10).get()
    assert answer["messages"] == [] and answer["total"] == 0, answer
