"""Transactions: acks and pushes that happen together or not at all."""

import asyncio

from capability import KV, MINTS_IDS, TIMERS, TRANSACTION_GROUPS, needs
from verbs import ack, consume_until, data, failure, fixed, pop, push


async def _popped(queen, queue, payloads, batch=1, group=None, partition=None):
    """Pushes payloads and pops them: what a worker holds."""
    await push(queen, queue, payloads, partition)
    target = queen.queue(queue)
    return await pop(target.partition(partition) if partition else target, batch, group)


async def an_ack_and_a_push_happen_together(queen):
    message = (await _popped(queen, "tx.basic", [{"value": 1}]))[0]
    item = {"data": {"value": message["data"]["value"] + 1}}
    answer = await queen.transaction().ack(message).queue("tx.basic.to").push([item]).commit()
    assert answer["success"] is True, answer
    assert [(r["type"], r["success"]) for r in answer["results"]] == [("ack", True), ("push", True)]
    assert [result["index"] for result in answer["results"]] == [0, 1], answer
    # Visible at once, to pops that do not wait.
    assert data(await pop(queen.queue("tx.basic.to"))) == [{"value": 2}]
    assert await pop(queen.queue("tx.basic")) == []


async def several_queues_get_their_messages(queen):
    message = (await _popped(queen, "tx.fan", ["in"]))[0]
    transaction = queen.transaction().queue("tx.fan.1").push([{"data": 1}])
    transaction = transaction.ack(message).queue("tx.fan.2").push([{"payload": 2}])
    await transaction.commit()
    assert data(await pop(queen.queue("tx.fan.1"))) == [1]
    assert data(await pop(queen.queue("tx.fan.2"))) == [2]
    assert await pop(queen.queue("tx.fan")) == []


async def several_messages_are_acknowledged(queen):
    messages = await _popped(queen, "tx.acks", range(3), batch=3)
    transaction = queen.transaction().ack(messages[0]).ack(messages[1:])
    await transaction.queue("tx.acks.to").push([{"data": sum(data(messages))}]).commit()
    assert data(await pop(queen.queue("tx.acks.to"))) == [3]
    await push(queen, "tx.acks", ["after"])
    assert data(await pop(queen.queue("tx.acks"), batch=9)) == ["after"]


async def a_push_of_many_keeps_their_order(queen):
    message = (await _popped(queen, "tx.many", ["in"]))[0]
    items = [{"data": n} for n in range(5)]
    transaction = queen.transaction().ack(message).queue("tx.many.to").partition("p").push(items)
    await transaction.queue("tx.many.to").partition("p").push([{"data": 5}]).commit()
    popped = await pop(queen.queue("tx.many.to").partition("p"), batch=9)
    assert data(popped) == list(range(6)), popped


async def partitions_are_acknowledged_together(queen):
    first = await _popped(queen, "tx.parts", ["a"], partition="a")
    second = await _popped(queen, "tx.parts", ["b"], partition="b")
    transaction = queen.transaction().ack(first[0]).ack(second[0])
    await transaction.queue("tx.parts.to").push([{"data": "both"}]).commit()
    assert data(await pop(queen.queue("tx.parts.to"))) == ["both"]
    for partition in ("a", "b"):
        assert await pop(queen.queue("tx.parts").partition(partition)) == []


async def queues_are_acknowledged_together(queen):
    first = await _popped(queen, "tx.queues.1", ["one"])
    second = await _popped(queen, "tx.queues.2", ["two"])
    transaction = queen.transaction().ack(first).ack(second).queue("tx.queues.to")
    await transaction.push([{"data": "three"}]).commit()
    assert data(await pop(queen.queue("tx.queues.to"))) == ["three"]
    for queue in ("tx.queues.1", "tx.queues.2"):
        assert await pop(queen.queue(queue)) == []


async def a_chain_goes_through_three_queues(queen):
    await push(queen, "tx.chain.1", [{"hops": 0}])
    for n in (1, 2):
        message = (await pop(queen.queue(f"tx.chain.{n}")))[0]
        item = {"data": {"hops": message["data"]["hops"] + 1}}
        await queen.transaction().ack(message).queue(f"tx.chain.{n + 1}").push([item]).commit()
    assert data(await pop(queen.queue("tx.chain.3"))) == [{"hops": 2}]
    assert await pop(queen.queue("tx.chain.1")) == await pop(queen.queue("tx.chain.2")) == []


async def consumers_work_in_transactions(queen):
    await push(queen, "tx.pipe.1", range(30))
    results, done = [], asyncio.Event()

    async def forward(messages):
        items = [{"data": n * 10} for n in data(messages)]
        transaction = queen.transaction().ack(messages).queue("tx.pipe.2").push(items)
        await transaction.commit()

    async def finish(message):
        transaction = queen.transaction().queue("tx.pipe.3").push([{"data": message["data"] + 1}])
        await transaction.ack(message).commit()

    async def collect(messages):
        results.extend(data(messages))
        if len(results) == 30:
            done.set()

    def queue(name):
        return queen.queue(name).auto_ack(False)

    await asyncio.gather(
        queue("tx.pipe.1").batch(10).limit(30).consume(forward),
        fixed(queue("tx.pipe.2")).batch(4).limit(30).each().consume(finish),
        consume_until(queen.queue("tx.pipe.3").batch(10), collect, done),
    )
    assert results == [n * 10 + 1 for n in range(30)], results
    for name in ("tx.pipe.1", "tx.pipe.2", "tx.pipe.3"):
        assert await pop(queen.queue(name)) == [], name


async def a_failure_can_be_acknowledged(queen):
    await queen.queue("tx.failed").config({"retry_limit": 0}).create()
    message = (await _popped(queen, "tx.failed", ["bad"]))[0]
    transaction = queen.transaction().ack(message, "failed").queue("tx.failed.to")
    await transaction.push([{"data": "noted"}]).commit()
    assert data(await pop(queen.queue("tx.failed.to"))) == ["noted"]
    assert await pop(queen.queue("tx.failed")) == []


async def nothing_is_committed_by_the_client_alone(queen):
    assert "no operations" in str(await failure(queen.transaction().commit()))


async def a_push_alone_is_a_transaction(queen):
    items = [{"data": None}, {"data": []}]
    await queen.transaction().queue("tx.push").push(items).commit()
    assert data(await pop(queen.queue("tx.push"), batch=2)) == [None, []]


async def large_payloads_go_through(queen):
    payload = [{"id": n, "text": "x" * 30} for n in range(10_000)]
    message = (await _popped(queen, "tx.large", [payload]))[0]
    transaction = queen.transaction().ack(message).queue("tx.large.to")
    await transaction.push([{"data": message["data"]}]).commit()
    assert data(await pop(queen.queue("tx.large.to"))) == [payload]


async def one_bad_ack_undoes_everything(queen):
    messages = await _popped(queen, "tx.undone", range(2), batch=2)
    stranger = {**messages[1], "transactionId": "no such message"}
    transaction = queen.transaction().ack(messages[0]).queue("tx.undone.to")
    transaction = transaction.push([{"data": "never"}]).ack(stranger)
    assert str(await failure(transaction.commit()))
    assert await pop(queen.queue("tx.undone.to")) == []
    # The good ack is undone with it, and the lease is still the worker's.
    await ack(queen, messages[0], False)
    assert data(await pop(queen.queue("tx.undone"), batch=2)) == [0, 1]


async def who_lost_the_lease_commits_nothing(queen):
    lost = (await _popped(queen, "tx.zombie", ["m"]))[0]
    await ack(queen, lost, "retry")
    held = (await pop(queen.queue("tx.zombie")))[0]
    transaction = queen.transaction().ack(lost).queue("tx.zombie.to").push([{"data": "never"}])
    assert "lease" in str(await failure(transaction.commit())).lower()
    assert await pop(queen.queue("tx.zombie.to")) == []
    await queen.transaction().ack(held).queue("tx.zombie.to").push([{"data": "once"}]).commit()
    assert data(await pop(queen.queue("tx.zombie.to"), batch=9)) == ["once"]


async def one_lost_lease_of_two_is_enough(queen):
    held = (await _popped(queen, "tx.two", ["a"], partition="a"))[0]
    lost = (await _popped(queen, "tx.two", ["b"], partition="b"))[0]
    await ack(queen, lost, "retry")
    assert data(await pop(queen.queue("tx.two").partition("b"))) == ["b"]
    transaction = queen.transaction().ack(held).ack(lost)
    transaction = transaction.queue("tx.two.to").push([{"data": "never"}])
    assert "lease" in str(await failure(transaction.commit())).lower()
    assert await pop(queen.queue("tx.two.to")) == []
    # The other ack was undone: its lease has something to release.
    assert (await ack(queen, held))["leaseReleased"] is True


async def a_bad_push_undoes_the_ack(queen):
    message = (await _popped(queen, "tx.bad-push", ["m"]))[0]
    transaction = queen.transaction().ack(message).queue("q" * 256).push([{"data": 1}])
    assert str(await failure(transaction.commit()))
    assert (await ack(queen, message))["leaseReleased"] is True


@needs(TRANSACTION_GROUPS)
async def a_group_is_moved_alone(queen):
    messages = await _popped(queen, "tx.groups", range(2), batch=2, group="workers")
    transaction = queen.transaction().ack(messages, "completed", {"consumer_group": "workers"})
    await transaction.queue("tx.groups.to").push([{"data": "done"}]).commit()
    assert await pop(queen.queue("tx.groups"), batch=2, group="workers") == []
    assert data(await pop(queen.queue("tx.groups"), batch=2, group="others")) == [0, 1]
    assert data(await pop(queen.queue("tx.groups.to"))) == ["done"]


@needs(MINTS_IDS)
async def a_pushed_message_has_the_id_that_it_was_given(queen):
    items = [{"data": 1, "transactionId": "mine"}, {"data": 2}]
    answer = await queen.transaction().queue("tx.ids").push(items).commit()
    assert bool(answer) and answer["success"] is True, answer
    first, second = await pop(queen.queue("tx.ids"), batch=2)
    assert first["transactionId"] == answer["results"][0]["transactionId"] == "mine"
    assert second["transactionId"] == answer["results"][1]["transactionId"]
    assert first["id"] == answer["results"][0]["messageId"], answer
    again = (await queen.queue("tx.ids").push([items[0]]))[0]
    assert (again["status"], again["message_id"]) == ("duplicate", first["id"]), again


@needs(KV)
async def a_gate_that_the_server_cannot_keep_stops_the_transaction(queen):
    message = (await _popped(queen, "tx.gate", ["m"]))[0]
    transaction = queen.transaction().once("ns", "key", ttl_seconds=60).ack(message)
    transaction = transaction.queue("tx.gate.to").push([{"data": "ungated"}])
    assert str(await failure(transaction.commit()))
    assert await pop(queen.queue("tx.gate.to")) == []
    await ack(queen, message)


@needs(TIMERS)
async def a_timer_that_the_server_does_not_have_stops_the_transaction(queen):
    message = (await _popped(queen, "tx.timer", ["m"]))[0]
    transaction = queen.transaction().ack(message)
    timer = transaction.timer("tx.timer.to").key("k").payload({"late": True}).after_ms(10)
    assert str(await failure(timer.schedule().commit()))
    await ack(queen, message)
