-- For wrk: pushes bodies of BODY_BYTES to the queue QUEUE until ANSWERS have come, says what they
-- were, and ends the program; its own end is a matter of time.

local prefix = '{"items":[{"queue":"' .. os.getenv("QUEUE") .. '","payload":"'
local suffix = '"}]}'
local payload = string.rep("x", os.getenv("BODY_BYTES") - #prefix - #suffix)

wrk.method = "POST"
wrk.path = "/api/v1/push"
wrk.headers["Content-Type"] = "application/json"
wrk.body = prefix .. payload .. suffix

local answers, stored = 0, 0

function response(status)
   answers = answers + 1
   if status == 201 then stored = stored + 1 end
   if answers == tonumber(os.getenv("ANSWERS")) then
      io.write(stored, " of ", answers, " stored\n")
      io.flush()
      os.exit(0)
   end
end
