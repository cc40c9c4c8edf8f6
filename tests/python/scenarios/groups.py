"""Consumer groups: where they start, that they are remembered, how they are moved."""

import asyncio
import datetime

from capability import ADMIN, needs
from verbs import ack, data, fixed, pop, push


async def _start(queen, queue, group, batch=100, **subscription):
    """A pop that says where the group starts; its messages are acknowledged."""
    target = fixed(queen.queue(queue)).group(group).batch(batch).wait(False)
    for name, value in subscription.items():
        target = getattr(target, name)(value)
    messages = await target.pop()
    if messages:
        await ack(queen, messages, True, group=group)
    return data(messages)


async def every_group_gets_everything(queen):
    await push(queen, "groups.all", range(100))
    for group in ("one", "two"):
        assert await _start(queen, "groups.all", group) == list(range(100)), group
        assert await pop(queen.queue("groups.all"), group=group) == []
    assert data(await pop(queen.queue("groups.all"), batch=100)) == list(range(100))


async def the_beginning_has_several_names(queen):
    await push(queen, "groups.first", range(3))
    for mode in ("all", "from_beginning", "earliest", "beginning", "anything else"):
        assert await _start(queen, "groups.first", mode, subscription_mode=mode) == [0, 1, 2], mode


async def what_is_new_has_several_names(queen):
    await push(queen, "groups.new", ["history"])
    for mode in ("new", "new-only", "latest", "now"):
        assert await _start(queen, "groups.new", mode, subscription_mode=mode) == [], mode
    assert await _start(queen, "groups.new", "from now", subscription_from="now") == []
    await push(queen, "groups.new", ["news"])
    # Where a group starts is remembered, so nobody needs to say it again.
    for group in ("new", "new-only", "latest", "now", "from now"):
        assert await _start(queen, "groups.new", group) == ["news"], group


async def a_group_starts_at_its_first_pop_even_of_nothing(queen):
    await queen.queue("groups.empty").create()
    assert await _start(queen, "groups.empty", "new", subscription_mode="new") == []
    await push(queen, "groups.empty", ["early"])
    assert await _start(queen, "groups.empty", "new", subscription_mode="new") == ["early"]


async def a_time_is_a_start(queen):
    for n in range(3):
        await push(queen, "groups.time", [n])
    times = [m["createdAt"] for m in await pop(queen.queue("groups.time"), batch=3)]
    for n, time in enumerate(times):
        started = await _start(queen, "groups.time", f"from {n}", subscription_from=time)
        assert started == list(range(n, 3)), (n, started)
    from_old = await _start(
        queen, "groups.time", "old", subscription_from="2001-01-01T00:00:00.000Z"
    )
    assert from_old == [0, 1, 2]


async def queue_mode_starts_at_the_beginning(queen):
    await push(queen, "groups.queue-mode", ["history"])
    queue = fixed(queen.queue("groups.queue-mode")).batch(9).wait(False)
    assert data(await queue.subscription_mode("new").pop()) == ["history"]


async def a_start_covers_all_partitions(queen):
    partitions = [f"p{n}" for n in range(60)]
    await asyncio.gather(*(push(queen, "groups.wide", ["old"], p) for p in partitions))
    assert await _start(queen, "groups.wide", "new", subscription_mode="new") == []
    partitions += [f"q{n}" for n in range(20)]
    await asyncio.gather(*(push(queen, "groups.wide", ["new"], p) for p in partitions))
    seen = []
    while messages := await _start(queen, "groups.wide", "new"):
        seen += messages
    assert seen == ["new"] * 80, (len(seen), set(seen))


async def a_group_of_one_partition_starts_there(queen):
    await push(queen, "groups.narrow", ["old"], "p")
    queue = fixed(queen.queue("groups.narrow")).partition("p").group("g").wait(False)
    assert await queue.subscription_mode("new").pop() == []
    await push(queen, "groups.narrow", ["new"], "p")
    assert await _start(queen, "groups.narrow", "g") == ["new"]


async def a_deleted_group_starts_over(queen):
    await push(queen, "groups.deleted", range(3))
    assert await _start(queen, "groups.deleted", "groups.deleted.g") == [0, 1, 2]
    assert await _start(queen, "groups.deleted", "groups.deleted.g") == []
    answer = await queen.delete_consumer_group("groups.deleted.g")
    assert answer["success"] is True and answer["metadataDeleted"] is True, answer
    assert await _start(queen, "groups.deleted", "groups.deleted.g") == [0, 1, 2]
    assert (await queen.delete_consumer_group("groups.nobody"))["success"] is True


async def a_deleted_group_may_keep_its_start(queen):
    group = "groups.kept.g"
    await push(queen, "groups.kept", ["old"])
    assert await _start(queen, "groups.kept", group, subscription_mode="new") == []
    await push(queen, "groups.kept", ["new"])
    assert await _start(queen, "groups.kept", group) == ["new"]
    answer = await queen.delete_consumer_group(group, delete_metadata=False)
    assert answer["success"] is True and answer["metadataDeleted"] is False, answer
    assert await _start(queen, "groups.kept", group) == ["new"]


async def a_subscription_time_can_be_changed(queen):
    group = "groups.moved.g"
    for n in range(3):
        await push(queen, "groups.moved", [n], f"p{n}")
    newest = (await pop(queen.queue("groups.moved").partition("p2")))[0]
    answer = await queen.update_consumer_group_timestamp(group, newest["createdAt"])
    assert answer["success"] is True, answer
    assert await _start(queen, "groups.moved", group, subscription_from="now") == []
    answer = await queen.update_consumer_group_timestamp(group, newest["createdAt"])
    assert answer["success"] is True and answer["rowsUpdated"] == 1, answer
    # A partition that the group meets from now on begins at that time.
    await push(queen, "groups.moved", ["later"], "p3")
    seen = []
    while messages := await _start(queen, "groups.moved", group):
        seen += messages
    assert "later" in seen and 0 not in seen and 1 not in seen, seen


@needs(ADMIN)
async def a_group_is_deleted_for_one_queue(queen):
    group = "groups.one.g"
    for queue in ("groups.one.a", "groups.one.b"):
        await push(queen, queue, [queue])
        assert await _start(queen, queue, group) == [queue]
    answer = await queen.admin.delete_consumer_group_for_queue(group, "groups.one.a")
    assert answer["success"] is True and answer["queueName"] == "groups.one.a", answer
    assert await _start(queen, "groups.one.a", group) == ["groups.one.a"]
    assert await _start(queen, "groups.one.b", group) == []


@needs(ADMIN)
async def a_group_can_skip_to_the_end(queen):
    group = "groups.end.g"
    for partition in ("a", "b"):
        await push(queen, "groups.end", range(3), partition)
        queue = queen.queue("groups.end").partition(partition)
        held = await pop(queue, group=group)
    answer = await queen.admin.seek_consumer_group(group, "groups.end", {"toEnd": True})
    assert answer["success"] is True and answer["partitionsUpdated"] == 2, answer
    assert await _start(queen, "groups.end", group) == []
    # The lease ended with it.
    assert (await queen.ack(held[0], True, {"group": group}))["success"] is False
    await push(queen, "groups.end", ["after"], "a")
    assert await _start(queen, "groups.end", group) == ["after"]


@needs(ADMIN)
async def a_group_can_go_back_to_a_time(queen):
    group = "groups.back.g"
    for n in range(3):
        await push(queen, "groups.back", [n])
    messages = await pop(queen.queue("groups.back"), batch=3, group=group)
    await ack(queen, messages, True, group=group)
    assert await _start(queen, "groups.back", group) == []
    # A moment before the second message, so behind the first.
    second = datetime.datetime.fromisoformat(messages[1]["createdAt"].replace("Z", "+00:00"))
    options = {"timestamp": (second - datetime.timedelta(microseconds=1)).isoformat()}
    answer = await queen.admin.seek_consumer_group(group, "groups.back", options)
    assert answer["success"] is True, answer
    assert await _start(queen, "groups.back", group) == [1, 2]
    options = {"timestamp": "2001-01-01T00:00:00Z"}
    await queen.admin.seek_consumer_group(group, "groups.back", options)
    assert await _start(queen, "groups.back", group) == [0, 1, 2]
