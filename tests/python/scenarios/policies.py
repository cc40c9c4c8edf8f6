"""What the server decides for a consumer: the size of its pops, and only the newest message."""

import asyncio

from capability import AUTOPILOT, COMMIT_ON_DELIVERY, CONFLATION, needs
from verbs import ack, data, failure, listed, pop, push


def _sane(decision, messages):
    """Whether what the server says of its choice fits what it delivered."""
    if decision is None:
        return True
    partitions = {message["partitionId"] for message in messages}
    return (
        decision.batch >= max(1, len(messages))
        and decision.partitions >= max(1, len(partitions))
        and decision.wait_millis >= 0
    )


@needs(AUTOPILOT)
async def the_server_may_choose_the_size(queen):
    for partition in ("a", "b"):
        await push(queen, "autopilot.free", range(50), partition)
    seen = {"a": [], "b": []}
    while True:
        messages, decision = await queen.queue("autopilot.free").wait(False).pop_result()
        assert _sane(decision, messages), decision
        if not messages:
            break
        for message in messages:
            seen[message["partition"]].append(message["data"])
        await ack(queen, messages)
    assert seen == {"a": list(range(50)), "b": list(range(50))}, seen


@needs(AUTOPILOT)
async def what_is_asked_for_is_not_the_server_s_choice(queen):
    for partition in ("a", "b"):
        await push(queen, "autopilot.fixed", range(50), partition)
    messages, decision = await queen.queue("autopilot.fixed").batch(3).wait(False).pop_result()
    assert 1 <= len(messages) <= 3 and _sane(decision, messages), (messages, decision)
    assert decision is None or decision.batch == 3, decision
    await ack(queen, messages)
    queue = queen.queue("autopilot.fixed").partitions(1).wait(False)
    messages, decision = await queue.pop_result()
    assert len({message["partitionId"] for message in messages}) == 1, messages
    assert decision is None or decision.partitions == 1, decision
    await ack(queen, messages)


@needs(AUTOPILOT)
async def without_autopilot_the_old_defaults_hold(queen):
    await push(queen, "autopilot.off", range(5))
    queue = queen.queue("autopilot.off").autopilot(False).wait(False)
    messages, decision = await queue.pop_result()
    assert data(messages) == [0] and decision is None, (messages, decision)


@needs(AUTOPILOT)
async def a_consumer_leaves_its_size_to_the_server(queen):
    for partition in ("a", "b", "c"):
        await push(queen, "autopilot.consume", range(20), partition)
    seen = {"a": [], "b": [], "c": []}

    async def handle(messages):
        for message in listed(messages):
            seen[message["partition"]].append(message["data"])

    await queen.queue("autopilot.consume").group("workers").limit(60).consume(handle)
    assert seen == {partition: list(range(20)) for partition in "abc"}, seen


@needs(CONFLATION)
async def only_the_newest_message_is_delivered(queen):
    for partition in ("a", "b"):
        await push(queen, "conflation.newest", range(5), partition)

    def queue():
        return queen.queue("conflation.newest").group("latest").conflation().batch(10).wait(False)

    seen = {}
    for _ in range(2):
        messages = await queue().partitions(1).pop()
        assert data(messages) == [4], messages
        seen[messages[0]["partition"]] = messages
        await ack(queen, messages, True, group="latest")
    assert set(seen) == {"a", "b"}
    # Nothing is left, and nothing is no reason to doubt the server.
    assert await queue().pop() == []
    await push(queen, "conflation.newest", ["x", "y"], "a")
    assert data(await queue().pop()) == ["y"]
    assert len(await pop(queen.queue("conflation.newest").partition("a"), batch=10)) == 7


@needs(CONFLATION)
async def an_empty_queue_conflates_too(queen):
    queue = queen.queue("conflation.empty").group("latest").conflation()
    assert await queue.wait(False).pop() == []
    assert await queue.wait(True).timeout_millis(200).pop() == []


@needs(CONFLATION)
async def a_consumer_gets_the_newest(queen):
    await push(queen, "conflation.consume", range(100), "key")
    seen, done = [], asyncio.Event()

    async def handle(messages):
        seen.extend(data(listed(messages)))
        if seen == [99]:
            await push(queen, "conflation.consume", ["more", "most"], "key")
        else:
            done.set()

    queue = queen.queue("conflation.consume").group("latest").conflation().wait(False)
    await queue.consume(handle, signal=done)
    assert seen == [99, "most"], seen


@needs(CONFLATION)
async def a_group_keeps_the_policy_that_it_began_with(queen):
    await push(queen, "conflation.conflict", range(3))
    message = (await pop(queen.queue("conflation.conflict"), group="all"))[0]
    await ack(queen, message, True, group="all")
    queue = queen.queue("conflation.conflict").group("all").conflation().batch(10).wait(False)
    messages = await queue.pop()
    assert data(messages) == [1, 2], messages
    await ack(queen, messages, True, group="all")
    assert await queue.pop() == []


@needs(CONFLATION)
async def conflation_without_a_group_is_refused(queen):
    async def handle(_messages):
        raise AssertionError("nothing can be delivered")

    await push(queen, "conflation.no-group", range(3))
    queue = queen.queue("conflation.no-group").conflation().wait(False)
    error = await failure(queue.consume(handle))
    assert error.response.status_code == 400 and error.code == "invalid_parameter", error


@needs(CONFLATION, COMMIT_ON_DELIVERY)
async def conflation_does_not_commit_on_delivery(queen):
    await push(queen, "conflation.auto", range(3))
    queue = queen.queue("conflation.auto").group("g").conflation().commit_on_delivery()
    error = await failure(queue.wait(False).pop())
    assert error.response.status_code == 400 and error.code == "invalid_parameter", error
