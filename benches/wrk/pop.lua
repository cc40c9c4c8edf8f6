-- Pops with autoAck from any partition of a queue, for several groups in turn or without a group.
-- Usage: wrk ... -s pop.lua URL -- QUEUE BATCH GROUPS COUNT
-- COUNT: `count` looks for the messages in each answer, which costs wrk much; whoever can ask the
-- database says `none`.

package.path = "benches/wrk/?.lua;" .. package.path
local figures = require("figures")

function setup(thread)
   figures.setup(thread)
end

function init(args)
   local path = "/api/v1/pop/queue/" .. args[1] .. "?autoAck=true&batch=" .. args[2]
   groups = tonumber(args[3])
   pops = { [0] = wrk.format("GET", path) }
   for group = 0, groups - 1 do
      pops[group] = wrk.format("GET", path .. "&consumerGroup=g" .. group)
   end
   groups = math.max(groups, 1)
   turn = 0
   if args[4] == "count" then
      messages = 0
      response = count_messages
   end
end

function request()
   turn = (turn + 1) % groups
   return pops[turn]
end

function count_messages(_, _, body)
   -- Each message has exactly one transactionId; payloads of this benchmark have none.
   local _, count = string.gsub(body, '"transactionId"', "")
   messages = messages + count
end

function done(summary, latency)
   figures.done(summary, latency)
end
