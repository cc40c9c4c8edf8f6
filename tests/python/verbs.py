"""Short forms of the client's calls, alike for every version."""

import asyncio
import time
from contextlib import asynccontextmanager

import capability
from queen import Queen

# Where the server is; the runner says it.
URL = None


@asynccontextmanager
async def connected(*urls, **options):
    """One more client: of the server, or of the named ones."""
    queen = Queen(list(urls) or [URL], **options)
    try:
        yield queen
    finally:
        await queen.close()


def data(messages):
    """The payloads, in order of delivery."""
    return [message["data"] for message in messages]


def fixed(queue):
    """The queue with nothing left to the server's choice."""
    return queue.autopilot(False) if capability.AUTOPILOT.present else queue


async def pop(queue, batch=1, group=None):
    """What can be popped at once."""
    queue = fixed(queue).batch(batch).wait(False)
    return await (queue.group(group) if group else queue).pop()


async def wait_pop(queue, batch=1, group=None):
    """What comes first. Every version waits for 30 s when it is not told otherwise."""
    queue = fixed(queue).batch(batch).wait(True)
    messages = await (queue.group(group) if group else queue).pop()
    assert messages, "a pop that waits came back with nothing"
    return messages


async def ack(queen, messages, status=True, **context):
    """Acknowledges, and is taken; the answer."""
    answer = await queen.ack(messages, status, context)
    if not isinstance(messages, list) or capability.BATCH_ANSWERS.present:
        assert answer["success"] is True, answer
    for element in answer.get("results", []):
        assert element["success"] is True, answer
    return answer


async def push(queen, queue, payloads, partition=None):
    """Pushes payloads in one request; the answer."""
    target = queen.queue(queue)
    target = target.partition(partition) if partition else target
    answer = await target.push([{"data": payload} for payload in payloads])
    assert all(element["status"] == "queued" for element in answer), answer
    return answer


async def consume_until(queue, handler, done):
    """Consumes until the event is set, by polls that do not wait."""
    await queue.wait(False).consume(handler, signal=done)


def listed(message_or_messages):
    """What a handler got, as a list."""
    return message_or_messages if isinstance(message_or_messages, list) else [message_or_messages]


async def eventually(what, condition):
    """Asks until the answer is true, and returns it."""
    deadline = time.monotonic() + 20
    while True:
        if answer := await condition():
            return answer
        assert time.monotonic() < deadline, f"still waiting: {what}"
        await asyncio.sleep(0.05)


async def failure(awaitable, kind=Exception):
    """The exception that an awaitable must raise."""
    try:
        answer = await awaitable
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}, but {answer!r}")


async def dead_letters(queen, queue, group=None):
    """The first page of dead letters of a queue."""
    answer = await queen.queue(queue).dlq(group).limit(100).get()
    assert answer["total"] == len(answer["messages"]), answer
    return answer["messages"]
