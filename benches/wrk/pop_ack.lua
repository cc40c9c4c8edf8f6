-- Pops batches and acks each in one request. A thread has one connection (wrk -t N -c N), because
-- the ack of an answer goes out on the connection that got it.
-- Usage: wrk ... -s pop_ack.lua URL -- QUEUE BATCH GROUP WAIT. Counts the acked messages.
-- WAIT: `true` waits for messages where there are none.

package.path = "benches/wrk/?.lua;" .. package.path
local figures = require("figures")
local headers = { ["Content-Type"] = "application/json" }

function setup(thread)
   figures.setup(thread)
end

function init(args)
   group = args[3]
   pop = wrk.format("GET", string.format("/api/v1/pop/queue/%s?batch=%s&consumerGroup=%s&wait=%s",
      args[1], args[2], group, args[4]))
   next_request = pop
   messages = 0
   acking = 0
end

function request()
   return next_request
end

function response(status, _, body)
   next_request = pop
   if acking > 0 then
      if status == 200 and not string.find(body, '"success":false', 1, true) then
         messages = messages + acking
      end
      acking = 0
   elseif status == 200 then
      local lease = string.match(body, '"leaseId":"([^"]+)"')
      local partition = string.match(body, '"partitionId":"([^"]+)"')
      local ending = string.format('","partitionId":"%s","leaseId":"%s","status":"completed"}',
         partition, lease)
      local acks = {}
      for id in string.gmatch(body, '"transactionId":"([^"]+)"') do
         acks[#acks + 1] = '{"transactionId":"' .. id .. ending
      end
      acking = #acks
      next_request = wrk.format("POST", "/api/v1/ack/batch", headers, string.format(
         '{"consumerGroup":"%s","acknowledgments":[%s]}', group, table.concat(acks, ",")))
   end
end

function done(summary, latency)
   figures.done(summary, latency)
end
