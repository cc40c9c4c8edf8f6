"""Traces: what handlers note about their messages."""

from capability import ADMIN, needs
from verbs import data, fixed, pop, push


async def _consume_one(queen, queue, trace):
    """Handles one message with a trace; the message and what the trace answered."""
    await push(queen, queue, ["work"])
    seen = []

    async def handle(message):
        seen.append((message, await message["trace"](trace)))

    await fixed(queen.queue(queue)).group("tracers").batch(1).limit(1).consume(handle)
    return seen[0]


async def tracing_does_not_disturb_consumption(queen):
    for n, trace in enumerate(
        (
            {"data": {"step": 1}},
            {"traceName": "name", "eventType": "step", "data": {"step": 2}},
            {"traceName": ["several", "names"], "data": {"step": 3}},
        )
    ):
        queue = f"traces.{n}"
        message, answer = await _consume_one(queen, queue, trace)
        assert answer["success"] is True and answer["traceId"], answer
        assert message["data"] == "work"
        assert await pop(queen.queue(queue), group="tracers") == []


async def a_trace_without_data_is_refused_by_the_client(queen):
    _, answer = await _consume_one(queen, "traces.no-data", {"traceName": "x"})
    assert answer["success"] is False, answer


async def a_trace_of_nothing_fails_softly(queen):
    await push(queen, "traces.lost", ["work"])
    answers = []

    async def handle(message):
        message["transactionId"], mine = "no such message", message["transactionId"]
        answers.append(await message["trace"]({"data": 1}))
        message["transactionId"] = mine

    await fixed(queen.queue("traces.lost")).batch(1).limit(1).consume(handle)
    assert answers[0]["success"] is False and answers[0]["error"], answers
    assert await pop(queen.queue("traces.lost")) == []


@needs(ADMIN)
async def the_traces_of_a_message_are_listed(queen):
    await push(queen, "traces.list", ["work"])
    seen = []

    async def handle(message):
        seen.append(message)
        for step in (1, 2):
            names = [f"traces.list.{step}", "traces.list.both"]
            trace = {"traceName": names, "eventType": f"step{step}", "data": {"step": step}}
            assert (await message["trace"](trace))["success"] is True

    await fixed(queen.queue("traces.list")).group("g").batch(1).limit(1).consume(handle)
    message = seen[0]
    address = message["partitionId"], message["transactionId"]
    traces = (await queen.admin.get_traces_for_message(*address))["traces"]
    # The oldest first.
    assert [(trace["event_type"], trace["data"]) for trace in traces] == [
        ("step1", {"step": 1}),
        ("step2", {"step": 2}),
    ], traces
    assert sorted(traces[0]["trace_names"]) == ["traces.list.1", "traces.list.both"], traces
    assert traces[0]["consumer_group"] == "g", traces

    answer = await queen.admin.get_traces_by_name("traces.list.both", limit=10)
    assert answer["total"] == 2 and len(answer["traces"]) == 2, answer
    for trace in answer["traces"]:
        assert (trace["partition_id"], trace["transaction_id"]) == address, trace
        assert trace["queue_name"] == "traces.list" and trace["message_payload"] == "work", trace
    assert (await queen.admin.get_traces_by_name("traces.list.2"))["total"] == 1

    names = (await queen.admin.get_trace_names(limit=1000))["trace_names"]
    found = {name["trace_name"]: name["trace_count"] for name in names}
    assert found["traces.list.both"] == 2 and found["traces.list.1"] == 1, found
