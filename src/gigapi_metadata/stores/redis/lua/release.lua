-- Gives a plan back: to the head of the idle list, due now; or, with a delay, it stays in the
-- processing list as if leased until then, so that it holds up nothing that waits behind it.
--
-- KEYS[1]  receipt (string)   KEYS[2]  processing list   KEYS[3]  idle list   KEYS[4]  attempts (hash)
-- ARGV[1]  MessagePack: token, receipt_s, id, lease_s (the lease held), delay_s, error?
-- Returns  'OK' | 'LOST'

local job = cmsgpack.unpack(ARGV[1])
local answer = receipt_read(KEYS[1], job.token)
if answer then
  return answer
end
local index, item = find_leased(KEYS[2], job.id, job.lease_s)
if not item then
  return 'LOST'
end

local record = { attempts = 0, error = '' }
local kept = redis.call('HGET', KEYS[4], job.id)
if kept then
  record = cjson.decode(kept)
end
if job.error then
  record.attempts = record.attempts + 1
  record.error = job.error
end
redis.call('LLEN', KEYS[3])

local due = server_time() + job.delay_s
if job.delay_s > 0 then
  if due == job.lease_s then
    due = due + 1
  end
  redis.call('LSET', KEYS[2], index, with_due(item, due))
else
  redis.call('LREM', KEYS[2], 1, item)
  redis.call('LPUSH', KEYS[3], with_due(item, due))
end
redis.call('HSET', KEYS[4], job.id, string.format(
  '{"lease_s":%.0f,"held_until_s":%.0f,"attempts":%d,"error":%s}',
  job.lease_s, job.delay_s > 0 and due or 0, record.attempts, cjson.encode(record.error)))
receipt_write(KEYS[1], job.token, 'OK', job.receipt_s)
return 'OK'
