-- Makes a lease longer. It is never made shorter.
--
-- KEYS[1]  receipt (string)   KEYS[2]  processing list   KEYS[3]  attempts (hash)
-- ARGV[1]  MessagePack: token, receipt_s, id, lease_s (the lease held), seconds (from now)
-- Returns  the second until which the plan is held now, as text | 'LOST'

local job = cmsgpack.unpack(ARGV[1])
local answer = receipt_read(KEYS[1], job.token)
if answer then
  return answer
end
local index, item = find_leased(KEYS[2], job.id, job.lease_s)
if not item then
  return 'LOST'
end
local now = server_time()
local record = record_of(KEYS[3], job.id)
local until_s = job.lease_s
if now + job.seconds > until_s then
  until_s = unused(record, now + job.seconds)
  give_up_lease(record, job.lease_s, now)
  redis.call('HSET', KEYS[3], job.id, cjson.encode(record))
  redis.call('LSET', KEYS[2], index, with_due(item, until_s))
end
answer = string.format('%.0f', until_s)
receipt_write(KEYS[1], job.token, answer, job.receipt_s)
return answer
