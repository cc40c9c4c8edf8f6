"""What the client's admin object asks for: resources, messages, status, groups."""

from capability import ADMIN, CLEARS, DEPTH, needs
from verbs import ack, data, failure, pop, push


def _named(entries, name, member="name"):
    found = [entry for entry in entries if entry[member] == name]
    assert len(found) == 1, (name, entries)
    return found[0]


@needs(ADMIN)
async def resources_are_listed(queen):
    queue = queen.queue("admin.resources").namespace("admin.space").task("admin.task")
    await queue.create()
    await push(queen, "admin.resources", range(5), "p")
    await ack(queen, await pop(queen.queue("admin.resources"), batch=2))
    overview = await queen.admin.get_overview()
    assert overview["queues"] >= 1 and overview["messages"]["total"] >= 5, overview
    spaces = (await queen.admin.get_namespaces())["namespaces"]
    assert _named(spaces, "admin.space", "namespace")["messages"]["pending"] == 3, spaces
    tasks = (await queen.admin.get_tasks())["tasks"]
    assert _named(tasks, "admin.task", "task")["queues"] == 1, tasks
    queues = (await queen.admin.list_queues(limit=1000))["queues"]
    listed = _named(queues, "admin.resources")
    assert listed["messages"]["total"] == 5 and listed["partitions"] == 2, listed
    detail = await queen.admin.get_queue("admin.resources")
    assert detail["totals"]["completed"] == 2, detail
    assert _named(detail["partitions"], "p")["stats"]["pending"] == 3, detail
    partitions = (await queen.admin.get_partitions(queue="admin.resources"))["partitions"]
    assert {partition["name"] for partition in partitions} == {"Default", "p"}, partitions
    error = await failure(queen.admin.get_queue("admin.unknown"))
    assert error.response.status_code == 404, error


@needs(DEPTH)
async def depth_is_asked_for(queen):
    await push(queen, "admin.depth", range(4), "p")
    await ack(queen, await pop(queen.queue("admin.depth"), group="g"), group="g")
    depth = await queen.admin.get_queue_depth("admin.depth", "g")
    assert depth["pending"] == 3 and depth["effectivePending"] == 3, depth
    assert depth["partitions"] == [{"partition": "p", "pending": 3}], depth
    assert (await queen.admin.get_queue_depth("admin.depth"))["pending"] == 3


@needs(ADMIN)
async def messages_are_looked_at_and_deleted(queen):
    await push(queen, "admin.messages", ["a", "b", "c"], "p")
    listed = (await queen.admin.list_messages(queue="admin.messages", limit=2))["messages"]
    assert [message["offset"] for message in listed] == [2, 1], listed
    pending = await queen.admin.list_messages(queue="admin.messages", status="pending")
    assert len(pending["messages"]) == 3, pending
    address = listed[1]["partitionId"], listed[1]["transactionId"]
    message = await queen.admin.get_message(*address)
    assert (message["payload"], message["status"]) == ("b", "pending"), message
    assert (await queen.admin.delete_message(*address))["success"] is True
    error = await failure(queen.admin.get_message(*address))
    assert error.response.status_code == 404, error
    assert data(await pop(queen.queue("admin.messages"), batch=9)) == ["a", "c"]


@needs(ADMIN)
async def status_is_asked_for(queen):
    await push(queen, "admin.status", range(3), "p")
    status = await queen.admin.get_status(queue="admin.status")
    assert status["messages"]["pending"] == 3, status
    stats = (await queen.admin.get_queue_stats(limit=1000))["queues"]
    assert _named(stats, "admin.status")["messages"]["pending"] == 3, stats
    detail = await queen.admin.get_queue_detail("admin.status")
    assert detail["totals"]["messages"]["total"] == 3, detail
    analytics = await queen.admin.get_analytics(queue="admin.status", interval="hour")
    assert analytics["queueDepths"]["current"]["pending"] == 3, analytics
    assert (await queen.admin.health())["status"] == "healthy"


@needs(ADMIN)
async def groups_are_looked_at(queen):
    await push(queen, "admin.groups", range(3), "p")
    await ack(queen, await pop(queen.queue("admin.groups"), group="admin.g"), group="admin.g")
    groups = await queen.admin.list_consumer_groups()
    group = _named(groups, "admin.g")
    assert group["totalLag"] == 2 and group["queueName"] == "admin.groups", group
    places = (await queen.admin.get_consumer_group("admin.g"))["admin.groups"]["partitions"]
    assert _named(places, "p", "partition")["offsetLag"] == 2, places
    lagging = await queen.admin.get_lagging_consumers(0)
    assert any(entry["consumer_group"] == "admin.g" for entry in lagging), lagging
    assert "skipped" in await queen.admin.refresh_consumer_stats()


@needs(CLEARS)
async def a_queue_is_cleared(queen):
    await push(queen, "admin.clear", range(3), "a")
    await push(queen, "admin.clear", range(2), "b")
    answer = await queen.admin.clear_queue("admin.clear", "a")
    assert answer["cleared"] is True and answer["count"] == 3, answer
    assert (await queen.admin.clear_queue("admin.clear"))["count"] == 2
    assert await pop(queen.queue("admin.clear"), batch=9) == []
