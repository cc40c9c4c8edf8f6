-- Pops with autoAck from any partition of one queue, and counts the messages.
-- Usage: wrk ... -s pop_auto_ack.lua URL -- QUEUE BATCH
-- Prints requests, messages and empty pops a second, and the latencies in microseconds.

local all = {}

function setup(thread)
   table.insert(all, thread)
end

function init(args)
   local queue = args[1] or "bench"
   local batch = args[2] or "100"
   path = "/api/v1/pop/queue/" .. queue .. "?autoAck=true&batch=" .. batch
   popped = 0
   empty = 0
end

function request()
   return wrk.format("GET", path)
end

function response(status, _, body)
   if status == 204 then
      empty = empty + 1
      return
   end
   -- Each message has exactly one deliveryAttempt; payloads of this benchmark have none.
   local _, count = string.gsub(body, '"deliveryAttempt"', "")
   popped = popped + count
end

function done(summary, latency, _)
   local seconds = summary.duration / 1e6
   local messages, empties = 0, 0
   for _, thread in ipairs(all) do
      messages = messages + thread:get("popped")
      empties = empties + thread:get("empty")
   end
   local errors = summary.errors
   local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
   io.write(string.format("figures: %.0f %d %d %d %d\n",
      summary.requests / seconds,
      latency:percentile(50), latency:percentile(99), latency.max, failed))
   io.write(string.format("messages: %.0f %.0f\n", messages / seconds, empties / seconds))
end
