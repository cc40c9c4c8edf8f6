-- What the scripts of this directory share: wrk's threads, and the line that the bench reads.

local figures = { threads = {} }

function figures.setup(thread)
   table.insert(figures.threads, thread)
   thread:set("thread_number", #figures.threads)
end

-- Prints requests a second, p50, p99 and maximum in microseconds, failures, and the sum of the
-- threads' global `messages` a second.
function figures.done(summary, latency)
   local seconds = summary.duration / 1e6
   local messages = 0
   for _, thread in ipairs(figures.threads) do
      messages = messages + (thread:get("messages") or 0)
   end
   local errors = summary.errors
   local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
   io.write(string.format("figures: %.0f %d %d %d %d %.0f\n", summary.requests / seconds,
      latency:percentile(50), latency:percentile(99), latency.max, failed, messages / seconds))
end

return figures
