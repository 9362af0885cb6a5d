-- Makes a lease longer. It is never made shorter.
--
-- KEYS[1]  receipt (string)   KEYS[2]  processing list
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
local until_s = string.format('%.0f', math.max(job.lease_s, server_time() + job.seconds))
redis.call('LSET', KEYS[2], index, with_due(item, until_s))
receipt_write(KEYS[1], job.token, until_s, job.receipt_s)
return until_s
