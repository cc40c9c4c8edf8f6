-- Pushes. Usage: wrk ... -s push.lua URL -- QUEUE ITEMS PARTITIONS SPREAD IDS PAYLOAD_BYTES
-- SPREAD: `together` puts the items of a request into one partition, the partitions in turn;
-- `apart` gives each item a partition of its own. IDS: `ids` or `none`, whether items have a
-- transactionId, as the official clients send it.

package.path = "benches/wrk/?.lua;" .. package.path
local figures = require("figures")

function setup(thread)
   figures.setup(thread)
end

function init(args)
   local queue, items, partitions = args[1], tonumber(args[2]), tonumber(args[3])
   local apart, ids, payload = args[4] == "apart", args[5] == "ids", string.rep("x", tonumber(args[6]))
   local headers = { ["Content-Type"] = "application/json" }
   math.randomseed(os.time() * 1000 + thread_number)
   -- A run's own ids; the last twelve digits count.
   prefix = string.format("%08x-%04x-4000-8000-", math.random(0, 2 ^ 31), math.random(0, 65535))
   next_id = thread_number * 2 ^ 40
   requests = {}
   for n = 0, partitions - 1 do
      local list = {}
      for item = 0, items - 1 do
         local partition = apart and (n * 7 + item) % partitions or n
         local id = ids and string.format('"transactionId":"%s############",', prefix) or ""
         list[#list + 1] = string.format('{"queue":"%s","partition":"p%d",%s"payload":{"text":"%s"}}',
            queue, partition, id, payload)
      end
      local body = '{"items":[' .. table.concat(list, ",") .. "]}"
      local request = wrk.format("POST", "/api/v1/push", headers, body)
      -- Cut where the ids go; they do not change the length.
      local pieces = {}
      local from = 1
      while true do
         local first, last = string.find(request, "############", from, true)
         if not first then break end
         pieces[#pieces + 1] = string.sub(request, from, first - 1)
         pieces[#pieces + 1] = ""
         from = last + 1
      end
      pieces[#pieces + 1] = string.sub(request, from)
      requests[n] = pieces
   end
   count = partitions
   -- Threads begin apart, so that they do not walk the partitions in step.
   at = (thread_number * 37) % partitions
end

function request()
   at = (at + 1) % count
   local pieces = requests[at]
   if #pieces == 1 then
      return pieces[1]
   end
   for place = 2, #pieces, 2 do
      next_id = next_id + 1
      pieces[place] = string.format("%012x", next_id)
   end
   return table.concat(pieces)
end

function done(summary, latency)
   figures.done(summary, latency)
end
