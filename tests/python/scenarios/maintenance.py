"""The maintenance switches. They are the whole server's, so these scenarios run alone."""

from capability import MAINTENANCE, needs
from verbs import data, eventually, pop, push


@needs(MAINTENANCE)
async def pushes_under_maintenance_arrive_afterwards(queen):
    await push(queen, "maintenance.push", ["before"])
    answer = await queen.admin.set_maintenance_mode(True)
    assert answer["maintenanceMode"] is True, answer
    try:
        for n in range(3):
            item = {"data": n, "transactionId": f"t{n}"}
            answer = await queen.queue("maintenance.push").push([item])
            assert answer[0]["status"] == "buffered", answer
            assert answer[0]["transactionId"] == f"t{n}", answer
        assert (await queen.admin.get_maintenance_mode())["bufferedMessages"] >= 3
        found = data(await pop(queen.queue("maintenance.push"), batch=9, group="during"))
        assert found == ["before"], found
    finally:
        answer = await queen.admin.set_maintenance_mode(False)
    assert answer["maintenanceMode"] is False, answer
    seen = []

    async def all_arrived():
        messages = await pop(queen.queue("maintenance.push"), batch=9, group="after")
        seen.extend(data(messages))
        for message in messages:
            await queen.ack(message, True, {"group": "after"})
        return len(seen) >= 4

    await eventually("the buffer is empty", all_arrived)
    assert seen == ["before", 0, 1, 2], seen
    again = await queen.queue("maintenance.push").push([{"data": 0, "transactionId": "t0"}])
    assert again[0]["status"] == "duplicate", again


@needs(MAINTENANCE)
async def pops_under_maintenance_get_nothing(queen):
    await push(queen, "maintenance.pop", ["m"])
    assert (await queen.admin.set_pop_maintenance_mode(True))["popMaintenanceMode"] is True
    try:
        assert await pop(queen.queue("maintenance.pop")) == []
        await push(queen, "maintenance.pop", ["n"])
    finally:
        answer = await queen.admin.set_pop_maintenance_mode(False)
    assert answer["popMaintenanceMode"] is False, answer
    assert data(await pop(queen.queue("maintenance.pop"), batch=2)) == ["m", "n"]
