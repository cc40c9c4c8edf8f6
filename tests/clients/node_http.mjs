// Push, pop and ack with the HTTP clients of Node, in the ways that they have to send a body.
//
// usage: node_http.mjs fetch|http BASE_URL BODY_BYTES_MAX
//
// The queues are named after the client and the way. Ends with a line for each, or an exception.

import assert from "node:assert/strict";
import http from "node:http";
import { Readable } from "node:stream";

// A client may give up a connection that was idle for some seconds, or open another one before it has put
// the last one back; without keeping any it would need one for each of a dozen requests.
const SPARE_CONNECTIONS = 3;
// An odd number, so that chunks begin anywhere.
const PIECE_BYTES = 10_007;
const JSON_TYPE = { "Content-Type": "application/json" };

function* pieces(body) {
  for (let at = 0; at < body.length; at += PIECE_BYTES) {
    yield body.subarray(at, at + PIECE_BYTES);
  }
}

const clients = {
  fetch: {
    ways: ["sized", "chunked"],
    async send(base, method, path, body, way) {
      const options = { method, headers: body ? JSON_TYPE : {} };
      if (body && way === "chunked") {
        options.body = Readable.toWeb(Readable.from(pieces(body)));
        options.duplex = "half";
      } else if (body) {
        options.body = body;
      }
      const answer = await fetch(base + path, options);
      return { status: answer.status, text: await answer.text() };
    },
  },
  http: {
    ways: ["sized", "chunked", "expecting"],
    agent: new http.Agent({ keepAlive: true, maxSockets: 1 }),
    send(base, method, path, body, way) {
      const headers = body ? { ...JSON_TYPE } : {};
      if (body && way !== "chunked") headers["Content-Length"] = body.length;
      if (body && way === "expecting") headers.Expect = "100-continue";
      return new Promise((resolve, reject) => {
        const request = http.request(base + path, { method, headers, agent: this.agent });
        let continued = false;
        request.on("error", reject);
        request.on("response", (answer) => {
          const parts = [];
          answer.on("data", (part) => parts.push(part));
          answer.on("error", reject);
          answer.on("end", () => {
            if (!request.writableEnded) request.destroy();
            const text = Buffer.concat(parts).toString();
            resolve({ status: answer.statusCode, text, continued });
          });
        });
        if (body && way === "expecting") {
          request.on("continue", () => {
            continued = true;
            request.end(body);
          });
        } else if (body && way === "chunked") {
          for (const piece of pieces(body)) request.write(piece);
          request.end();
        } else {
          request.end(body);
        }
      });
    },
  },
};

/** A push of one message whose body has exactly so many bytes, and the message's payload. */
function pushBody(queue, transactionId, bytes) {
  const item = { queue, transactionId, payload: "" };
  item.payload = "x".repeat(bytes - JSON.stringify({ items: [item] }).length);
  return { body: Buffer.from(JSON.stringify({ items: [item] })), payload: item.payload };
}

async function roundTrips(send, queue, sizes, way) {
  const payloads = [];
  for (const size of sizes) {
    const { body, payload } = pushBody(queue, `of-${size}`, size);
    assert.equal(body.length, size);
    const pushed = await send("POST", "/api/v1/push", body, way);
    assert.equal(pushed.status, 201, pushed.text.slice(0, 500));
    assert.equal(JSON.parse(pushed.text)[0].status, "queued");
    if (way === "expecting") assert.ok(pushed.continued, "100 Continue did not come");
    payloads.push(payload);
  }
  const popped = await send("GET", `/api/v1/pop/queue/${queue}?batch=10`);
  assert.equal(popped.status, 200, popped.text.slice(0, 500));
  const { messages } = JSON.parse(popped.text);
  assert.ok(messages.length === sizes.length, `${messages.length} messages`);
  messages.forEach(({ data }, at) => assert.ok(data === payloads[at], "another payload"));
  const acknowledgments = messages.map(({ transactionId, partitionId, leaseId }) => {
    return { transactionId, partitionId, leaseId };
  });
  const body = Buffer.from(JSON.stringify({ acknowledgments }));
  const acked = await send("POST", "/api/v1/ack/batch", body, way);
  assert.equal(acked.status, 200, acked.text);
  assert.ok(JSON.parse(acked.text).every(({ success }) => success), acked.text);
  const empty = await send("GET", `/api/v1/pop/queue/${queue}`);
  assert.deepEqual([empty.status, empty.text], [204, ""]);
}

const [name, base, bodyBytesMax] = process.argv.slice(2);
const client = clients[name];
const send = (...request) => client.send(base, ...request);
const accepted = async () => JSON.parse((await send("GET", "/metrics")).text).connections.accepted;
const before = await accepted();
const sizes = [200, 1 << 20, Number(bodyBytesMax)];
for (const way of client.ways) {
  await roundTrips(send, `${name}-${way}`, sizes, way);
  console.log(`${name} ${way}: ${sizes} bytes`);
}
const made = (await accepted()) - before;
assert.ok(made <= SPARE_CONNECTIONS, `${made} more connections were made`);
for (const way of client.ways) {
  const { body } = pushBody("too-large", "t", Number(bodyBytesMax) + 1);
  const refused = await send("POST", "/api/v1/push", body, way);
  assert.equal(refused.status, 413, refused.text.slice(0, 500));
  assert.equal(JSON.parse(refused.text).code, "body_too_large");
  console.log(`${name} ${way}: one byte more is refused`);
}
assert.equal((await send("GET", "/health")).status, 200);
client.agent?.destroy();
