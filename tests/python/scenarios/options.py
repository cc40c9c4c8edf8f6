"""Queue options: what each does to messages. The slowest scenarios stand first."""

import asyncio
import time

from capability import RETRY_LIMITED, needs
from verbs import ack, connected, data, failure, pop, push, wait_pop


async def _hidden_to_new_groups(queen, queue, seconds):
    """Asks with one group after the other until nothing is visible; never before its time."""
    began = time.monotonic()
    answer = await push(queen, queue, ["m"])
    assert answer[0]["status"] == "queued", answer
    groups = 0
    while await pop(queen.queue(queue), group=f"group {groups}"):
        groups += 1
        await asyncio.sleep(0.1)
    assert time.monotonic() - began >= seconds - 0.05, "hidden too early"


async def a_delayed_message_waits(queen):
    await queen.queue("options.delay").config({"delayed_processing": 2}).create()
    began = time.monotonic()
    await push(queen, "options.delay", ["first"])
    assert await pop(queen.queue("options.delay"), group="look") == []
    messages = await wait_pop(queen.queue("options.delay"))
    assert data(messages) == ["first"] and time.monotonic() - began >= 1.95


async def a_delayed_partition_does_not_hide_a_ready_one(queen):
    queue = "options.delay-hides"
    await push(queen, queue, ["ready"], "ready")
    await queen.queue(queue).config({"delayed_processing": 600}).create()
    for n in range(5):
        await push(queen, queue, ["later"], f"p{n}")
    await queen.queue(queue).config({"delayed_processing": 0}).create()
    seen = []
    while messages := await pop(queen.queue(queue), batch=10):
        seen += data(messages)
    assert sorted(seen) == ["later"] * 5 + ["ready"], seen


async def a_window_gathers_messages(queen):
    await queen.queue("options.window").config({"window_buffer": 2}).create()
    for n in range(3):
        began = time.monotonic()
        await push(queen, "options.window", [n])
    assert await pop(queen.queue("options.window"), group="look") == []
    messages = await wait_pop(queen.queue("options.window"), batch=4)
    assert data(messages) == [0, 1, 2], messages
    assert time.monotonic() - began >= 1.95


async def a_retry_delay_hides_what_failed(queen):
    await queen.queue("options.retry").config({"retry_delay": 1500}).create()
    await push(queen, "options.retry", ["fails", "behind"])
    message = (await pop(queen.queue("options.retry")))[0]
    began = time.monotonic()
    await ack(queen, message, False)
    other = await pop(queen.queue("options.retry"), batch=2, group="other")
    assert data(other) == ["fails", "behind"]
    messages = await wait_pop(queen.queue("options.retry"), batch=2)
    assert data(messages) == ["fails", "behind"] and time.monotonic() - began >= 1.45


async def what_is_past_its_retention_is_hidden(queen):
    options = {"retention_enabled": True, "retention_seconds": 1}
    await queen.queue("options.retention").config(options).create()
    await _hidden_to_new_groups(queen, "options.retention", 1)


async def what_a_group_has_not_completed_outlives_the_completed_retention(queen):
    queue = "options.completed"
    options = {"retention_enabled": True, "completed_retention_seconds": 1}
    await queen.queue(queue).config(options).create()
    await push(queen, queue, ["m", "n"])
    await ack(queen, await pop(queen.queue(queue), batch=2, group="fast"), True, group="fast")
    held = await pop(queen.queue(queue), batch=2, group="slow")
    await asyncio.sleep(1.1)
    await ack(queen, held, "retry", group="slow")
    assert data(await pop(queen.queue(queue), batch=2, group="slow")) == ["m", "n"]
    assert await pop(queen.queue(queue), batch=2, group="fast") == []


async def retention_needs_its_switch(queen):
    await queen.queue("options.kept").config({"retention_seconds": 1}).create()
    await push(queen, "options.kept", ["m"])
    await asyncio.sleep(1.1)
    assert data(await pop(queen.queue("options.kept"))) == ["m"]


async def what_waited_too_long_is_hidden(queen):
    await queen.queue("options.max-wait").config({"max_wait_time_seconds": 1}).create()
    await _hidden_to_new_groups(queen, "options.max-wait", 1)


async def a_full_queue_refuses(queen):
    await queen.queue("options.full").config({"max_size": 2}).create()
    await push(queen, "options.full", ["a", "b"])
    told = []

    async def note(items, error):
        told.append((len(items), str(error)))

    limits = {"retry_429": {"max_attempts": 1}} if RETRY_LIMITED.present else {}
    async with connected(**limits) as pushing:
        await pushing.queue("options.full").push([{"data": "c"}]).on_error(note)
        assert [count for count, _ in told] == [1] and told[0][1], told
        messages = await pop(queen.queue("options.full"), batch=9)
        assert data(messages) == ["a", "b"], messages
        await ack(queen, messages)
        answer = await pushing.queue("options.full").push([{"data": "d"}])
        assert answer[0]["status"] == "queued", answer
    assert data(await pop(queen.queue("options.full"), batch=9)) == ["d"]


async def an_encrypted_message_is_readable_right_after_its_push(queen):
    await queen.queue("options.secret").config({"encryption_enabled": True}).create()
    payloads = [{"card": "4111"}, None, "text ü", [1, 2]]
    await push(queen, "options.secret", payloads)
    messages = await pop(queen.queue("options.secret"), batch=9)
    assert data(messages) == payloads
    await ack(queen, messages)
    item = {"data": {"through": "a transaction"}}
    await queen.transaction().queue("options.secret").push([item]).commit()
    assert data(await pop(queen.queue("options.secret"))) == [{"through": "a transaction"}]


async def encryption_can_be_turned_on_and_off(queen):
    for n, enabled in enumerate((False, True, False)):
        queue = queen.queue("options.toggled").config({"encryption_enabled": enabled})
        assert (await queue.create())["options"]["encryptionEnabled"] is enabled
        await push(queen, "options.toggled", [{"n": n}])
    messages = await pop(queen.queue("options.toggled"), batch=9)
    assert data(messages) == [{"n": 0}, {"n": 1}, {"n": 2}]


async def a_retry_limit_of_zero_gives_up_at_once(queen):
    await queen.queue("options.limit").config({"retry_limit": 0}).create()
    await push(queen, "options.limit", ["bad", "good"])
    message = (await pop(queen.queue("options.limit")))[0]
    assert (await ack(queen, message, False))["dlq"] is True
    assert data(await pop(queen.queue("options.limit"))) == ["good"]


@needs(RETRY_LIMITED)
async def a_push_to_a_full_queue_says_its_code(queen):
    await queen.queue("options.full-code").config({"max_size": 1}).create()
    await push(queen, "options.full-code", ["a"])
    async with connected(retry_429={"max_attempts": 1}) as pushing:
        error = await failure(pushing.queue("options.full-code").push([{"data": "b"}]))
    assert error.code == "queue_full" and error.response.status_code == 429, repr(error)
    assert error.retry_after_seconds is not None, repr(error)


@needs(RETRY_LIMITED)
async def a_push_is_repeated_until_there_is_room(queen):
    await queen.queue("options.full-wait").config({"max_size": 1}).create()
    await push(queen, "options.full-wait", ["a"])
    # The client repeats it by itself, at the pace that the server names.
    waiting = asyncio.create_task(push(queen, "options.full-wait", ["b"]))
    # It is refused at least once: what comes after it is refused as well.
    async with connected(retry_429={"max_attempts": 1}) as pushing:
        await failure(pushing.queue("options.full-wait").push([{"data": "c"}]))
    for expected in ("a", "b"):
        messages = await wait_pop(queen.queue("options.full-wait"))
        assert data(messages) == [expected], messages
        await ack(queen, messages)
    await waiting
