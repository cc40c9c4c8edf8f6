-- Pushes one message a request, to the partitions of one queue in turn.
-- Usage: wrk ... -s push_one.lua URL -- QUEUE PARTITIONS [PAYLOAD_BYTES]
-- Prints the latencies as microseconds in one line that a script can read.

local threads = 0

function setup(thread)
   thread:set("thread_number", threads)
   threads = threads + 1
end

function init(args)
   queue = args[1] or "bench"
   partitions = tonumber(args[2] or "100")
   local payload = string.rep("x", tonumber(args[3] or "100"))
   requests = {}
   local headers = { ["Content-Type"] = "application/json" }
   for n = 0, partitions - 1 do
      local body = string.format(
         '{"items":[{"queue":"%s","partition":"p%d","payload":{"text":"%s"}}]}',
         queue, n, payload)
      requests[n] = wrk.format("POST", "/api/v1/push", headers, body)
   end
   -- Threads begin apart, so that they do not walk the partitions in step.
   at = (thread_number * 37) % partitions
   refused = 0
end

function request()
   at = (at + 1) % partitions
   return requests[at]
end

function done(summary, latency, _)
   local errors = summary.errors
   local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
   io.write(string.format("figures: %.0f %d %d %d %d\n",
      summary.requests / (summary.duration / 1e6),
      latency:percentile(50), latency:percentile(99), latency.max, failed))
end
