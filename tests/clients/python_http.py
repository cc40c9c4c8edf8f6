"""Push, pop and ack with one of the usual HTTP clients of Python, in both ways to send a body.

usage: python_http.py requests|httpx|aiohttp BASE_URL BODY_BYTES_MAX

The queues are named after the client and the way. Ends with a line for each, or an exception.
"""

import asyncio
import json
import sys

# Longer than anything on a loaded machine takes.
TIMEOUT_SECONDS = 75
# A client may give up a connection that was idle for some seconds, or open another one before it has put
# the last one back; without keeping any it would need one for each of a dozen requests.
SPARE_CONNECTIONS = 3
# An odd number, so that chunks begin anywhere.
PIECE_BYTES = 10_007


def pieces(body):
    for at in range(0, len(body), PIECE_BYTES):
        yield body[at : at + PIECE_BYTES]


async def async_pieces(body):
    for piece in pieces(body):
        yield piece


class Requests:
    def __init__(self, base):
        import requests

        self.base, self.session = base, requests.Session()
        self.session.trust_env = False

    async def send(self, method, path, body=None, chunked=False):
        data = pieces(body) if chunked else body
        headers = {} if body is None else {"Content-Type": "application/json"}
        answer = self.session.request(
            method, self.base + path, data=data, headers=headers, timeout=TIMEOUT_SECONDS
        )
        return answer.status_code, answer.content

    async def close(self):
        self.session.close()


class Httpx:
    def __init__(self, base):
        import httpx

        self.client = httpx.AsyncClient(base_url=base, timeout=TIMEOUT_SECONDS, trust_env=False)

    async def send(self, method, path, body=None, chunked=False):
        content = async_pieces(body) if chunked else body
        headers = {} if body is None else {"Content-Type": "application/json"}
        answer = await self.client.request(method, path, content=content, headers=headers)
        return answer.status_code, answer.content

    async def close(self):
        await self.client.aclose()


class Aiohttp:
    def __init__(self, base):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        self.session = aiohttp.ClientSession(base, timeout=timeout)

    async def send(self, method, path, body=None, chunked=False):
        data = async_pieces(body) if chunked else body
        headers = {} if body is None else {"Content-Type": "application/json"}
        async with self.session.request(method, path, data=data, headers=headers) as answer:
            return answer.status, await answer.read()

    async def close(self):
        await self.session.close()


def push_body(queue, transaction_id, body_bytes):
    """A push of one message whose body has exactly so many bytes, and the message's payload."""
    item = {"queue": queue, "transactionId": transaction_id, "payload": ""}
    empty = len(json.dumps({"items": [item]}))
    item["payload"] = "x" * (body_bytes - empty)
    return json.dumps({"items": [item]}).encode(), item["payload"]


async def round_trips(client, queue, sizes, chunked):
    payloads = []
    for size in sizes:
        body, payload = push_body(queue, f"of-{size}", size)
        assert len(body) == size
        status, answer = await client.send("POST", "/api/v1/push", body, chunked)
        assert status == 201, (status, answer[:500])
        assert json.loads(answer)[0]["status"] == "queued", answer[:500]
        payloads.append(payload)
    status, answer = await client.send("GET", f"/api/v1/pop/queue/{queue}?batch=10")
    assert status == 200, (status, answer[:500])
    messages = json.loads(answer)["messages"]
    assert [message["data"] for message in messages] == payloads, "other payloads"
    acks = [
        {name: message[name] for name in ("transactionId", "partitionId", "leaseId")}
        for message in messages
    ]
    body = json.dumps({"acknowledgments": acks}).encode()
    status, answer = await client.send("POST", "/api/v1/ack/batch", body, chunked)
    assert status == 200 and all(ack["success"] for ack in json.loads(answer)), (status, answer)
    status, answer = await client.send("GET", f"/api/v1/pop/queue/{queue}")
    assert (status, answer) == (204, b""), (status, answer[:500])


async def accepted(client):
    status, answer = await client.send("GET", "/metrics")
    assert status == 200, answer
    return json.loads(answer)["connections"]["accepted"]


async def main(name, base, body_bytes_max):
    client = {"requests": Requests, "httpx": Httpx, "aiohttp": Aiohttp}[name](base)
    before = await accepted(client)
    sizes = [200, 1 << 20, body_bytes_max]
    for way in ["sized", "chunked"]:
        await round_trips(client, f"{name}-{way}", sizes, way == "chunked")
        print(f"{name} {way}: {sizes} bytes")
    made = await accepted(client) - before
    assert made <= SPARE_CONNECTIONS, f"{made} more connections were made"
    for way in ["sized", "chunked"]:
        body, _ = push_body("too-large", "t", body_bytes_max + 1)
        status, answer = await client.send("POST", "/api/v1/push", body, way == "chunked")
        assert status == 413, (status, answer[:500])
        assert json.loads(answer)["code"] == "body_too_large", answer[:500]
        print(f"{name} {way}: one byte more is refused")
    status, answer = await client.send("GET", "/health")
    assert status == 200, (status, answer)
    await client.close()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
