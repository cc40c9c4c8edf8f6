"""Clients: several addresses, headers, what they send in other forms."""

import socket

from capability import ADMIN, HEADERS, WIRE_FORMS, needs
import verbs
from verbs import ack, connected, data, failure, pop, push


def _nobody():
    """An address where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


async def a_client_of_two_servers_uses_the_one_that_lives(queen):
    async with connected(_nobody(), verbs.URL) as spread:
        await push(spread, "clients.spread", ["m"])
        messages = await pop(spread.queue("clients.spread"))
        assert data(messages) == ["m"]
        await ack(spread, messages[0])


async def every_strategy_reaches_the_server(queen):
    for strategy in ("affinity", "round-robin", "session"):
        urls = (verbs.URL, verbs.URL.replace("127.0.0.1", "localhost"))
        async with connected(*urls, load_balancing_strategy=strategy) as spread:
            queue = f"clients.{strategy}"
            for n in range(4):
                await push(spread, queue, [n])
            messages = await pop(spread.queue(queue), batch=9)
            assert data(messages) == [0, 1, 2, 3], (strategy, messages)
            await ack(spread, messages)


@needs(HEADERS)
async def headers_and_a_token_do_no_harm(queen):
    headers = {"X-Tenant": "shop", "X-Long": "x" * 4000}
    async with connected(bearer_token="some.jwt.token", headers=headers) as signed:
        await push(signed, "clients.headers", ["m"])
        assert data(await pop(signed.queue("clients.headers"))) == ["m"]


@needs(ADMIN)
async def the_server_is_healthy(queen):
    assert (await queen.admin.health())["status"] == "healthy"


@needs(WIRE_FORMS)
async def a_pop_that_asks_for_frames_is_answered_in_json(queen):
    await push(queen, "clients.frames", [{"n": 1}])
    async with connected(framed_pop=True) as framed:
        messages = await pop(framed.queue("clients.frames"))
        assert data(messages) == [{"n": 1}]
        await ack(framed, messages)
        assert await pop(framed.queue("clients.frames")) == []


@needs(WIRE_FORMS)
async def a_binary_push_is_refused_whole(queen):
    for options in ({}, {"push_compression": True}):
        async with connected(binary_push=True, **options) as binary:
            error = await failure(binary.queue("clients.binary").push([{"data": 1}]))
            assert error.response.status_code == 400 and error.code == "invalid_json", error
            if options:
                transaction = binary.transaction().queue("clients.binary").push([{"data": 1}])
                error = await failure(transaction.commit())
                assert error.response.status_code == 400 and error.code == "invalid_json", error
    assert await pop(queen.queue("clients.binary")) == []
