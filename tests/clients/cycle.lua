-- For wrk: a push whose body has BODY_BYTES, a pop of it and its ack, CYCLES times over one
-- connection and the queue QUEUE. Says what came, and ends the program; its own end is a matter of
-- time. wrk may ask for a request more than once, so only an answer moves things on.

local queue = os.getenv("QUEUE")
local prefix = '{"items":[{"queue":"' .. queue .. '","payload":"'
local suffix = '"}]}'
local payload = string.rep("x", os.getenv("BODY_BYTES") - #prefix - #suffix)
local headers = { ["Content-Type"] = "application/json" }

local function push()
   return wrk.format("POST", "/api/v1/push", headers, prefix .. payload .. suffix)
end

local function pop()
   return wrk.format("GET", "/api/v1/pop/queue/" .. queue)
end

local popped

local function ack()
   local fields = {}
   for _, name in ipairs { "transactionId", "partitionId", "leaseId" } do
      table.insert(fields, popped:match('"' .. name .. '":"[^"]+"'))
   end
   return wrk.format("POST", "/api/v1/ack", headers, "{" .. table.concat(fields, ",") .. "}")
end

local cycles, next_request = 0, push

local function stop(text)
   io.write(text, "\n")
   io.flush()
   os.exit(0)
end

function request()
   return next_request()
end

function response(status, _, body)
   if next_request == push and status == 201 then
      next_request = pop
   elseif next_request == pop and status == 200 and body:find(payload, 1, true) then
      popped, next_request = body, ack
   elseif next_request == ack and status == 200 and body:find('"success":true', 1, true) then
      cycles, next_request = cycles + 1, push
   else
      stop("answered " .. status .. ": " .. body:sub(1, 500))
   end
   if cycles == tonumber(os.getenv("CYCLES")) then
      stop(cycles .. " cycles")
   end
end
