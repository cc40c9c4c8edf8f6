"""Queues: created with options, configured again, deleted; and their names."""

from verbs import ack, data, failure, pop, push

# Every option that the protocol has, each with a value that is not its default.
OPTIONS = {
    "lease_time": 61,
    "max_size": 1000,
    "ttl": 7200,
    "retry_limit": 5,
    "retry_delay": 1500,
    "dead_letter_queue": True,
    "dlq_after_max_retries": True,
    "priority": 2,
    "delayed_processing": 1,
    "window_buffer": 3,
    "retention_seconds": 4000,
    "completed_retention_seconds": 3000,
    "retention_enabled": True,
    "encryption_enabled": True,
    "max_wait_time_seconds": 900,
}


def _wire_name(option):
    first, *others = option.split("_")
    return first + "".join(word.capitalize() for word in others)


async def creating_answers_every_option(queen):
    queue = queen.queue("queues.options").namespace("shop").task("bill")
    answer = await queue.config(OPTIONS).create()
    assert answer["configured"] is True and answer["queue"] == "queues.options", answer
    assert answer["namespace"] == "shop" and answer["task"] == "bill", answer
    assert answer["options"] == {_wire_name(name): OPTIONS[name] for name in OPTIONS}, answer


async def creating_with_nothing_answers_the_defaults(queen):
    answer = await queen.queue("queues.defaults").create()
    assert answer["configured"] is True, answer
    # What the client sends when it is asked for nothing.
    for name, value in (("leaseTime", 300), ("retryLimit", 3), ("delayedProcessing", 0)):
        assert answer["options"][name] == value, answer
    for name in ("encryptionEnabled", "retentionEnabled", "deadLetterQueue"):
        assert answer["options"][name] is False, answer


async def creating_again_replaces_every_option(queen):
    await queen.queue("queues.again").config({"retry_delay": 5, "lease_time": 7}).create()
    answer = await queen.queue("queues.again").config({"priority": 9}).create()
    options = answer["options"]
    assert (options["retryDelay"], options["leaseTime"], options["priority"]) == (0, 300, 9)


async def configuring_again_keeps_the_messages(queen):
    await push(queen, "queues.kept", ["before"])
    await queen.queue("queues.kept").config({"lease_time": 7}).create()
    assert data(await pop(queen.queue("queues.kept"))) == ["before"]


async def operations_call_back(queen):
    told = []

    async def note(what):
        told.append(what)

    await queen.queue("queues.told").create().on_success(note)
    assert told[0]["configured"] is True, told
    wrong = queen.queue("queues.told").config({"lease_time": "long"}).create()
    answer = await wrong.on_error(note)
    assert answer["success"] is False and "leaseTime" in str(told[1]), (answer, told)
    error = await failure(queen.queue("queues.told").config({"lease_time": []}).create())
    assert "leaseTime" in str(error), error


async def the_empty_name_can_be_configured(queen):
    assert (await queen.queue("").create())["configured"] is True


async def deleting_says_whether_it_existed(queen):
    await queen.queue("queues.deleted").create()
    answer = await queen.queue("queues.deleted").delete()
    assert (answer["deleted"], answer["existed"]) == (True, True), answer
    answer = await queen.queue("queues.deleted").delete()
    assert (answer["deleted"], answer["existed"]) == (True, False), answer


async def a_deleted_queue_starts_over(queen):
    queue = "queues.gone"
    await queen.queue(queue).push([{"data": "old", "transactionId": "t"}])
    for group in (None, "readers"):
        context = {"group": group} if group else {}
        await ack(queen, await pop(queen.queue(queue), group=group), True, **context)
    assert (await queen.queue(queue).delete())["deleted"] is True
    assert await pop(queen.queue(queue)) == []
    answer = await queen.queue(queue).push([{"data": "new", "transactionId": "t"}])
    assert answer[0]["status"] == "queued", answer
    for group in (None, "readers"):
        assert data(await pop(queen.queue(queue), batch=9, group=group)) == ["new"]


async def names_are_found_again(queen):
    for queue, partition in (
        ("orders.v1_x-y~z", "customer:17@eu"),
        ("Bestellungen für morgen", "Straße 7, (links)"),
        ("注文", "顧客+1&2=3"),
    ):
        await push(queen, queue, [1], partition)
        messages = await pop(queen.queue(queue).partition(partition))
        assert data(messages) == [1], (queue, partition)
        assert messages[0]["partition"] == partition and messages[0]["queue"] == queue
        assert (await queen.queue(queue).delete())["existed"] is True
