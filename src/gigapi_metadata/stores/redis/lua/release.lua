-- Gives a plan back: to the head of the idle list, due now; or, with a delay, it stays in the
-- processing list as if leased until then, so that it holds up nothing that waits behind it.
--
-- KEYS[1]  receipt (string)      KEYS[3]  idle list         KEYS[5]  ready (sorted set), of a merge
-- KEYS[2]  processing list       KEYS[4]  attempts (hash)
-- ARGV[1]  MessagePack: token, receipt_s, id, lease_s (the lease held), delay_s, error?, dir? (of a merge)
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
local now = server_time()
local record = record_of(KEYS[4], job.id)
give_up_lease(record, job.lease_s, now)
record.held_until_s = 0
if job.error then
  record.attempts = record.attempts + 1
  record.error = job.error
end
redis.call('LLEN', KEYS[3])
if job.dir then
  read('ZSCORE', KEYS[5], job.dir)
end

local due = now + job.delay_s
if job.delay_s > 0 then
  due = unused(record, due)
  record.held_until_s = due
  redis.call('LSET', KEYS[2], index, with_due(item, due))
else
  redis.call('LREM', KEYS[2], 1, item)
  redis.call('LPUSH', KEYS[3], with_due(item, due))
end
redis.call('HSET', KEYS[4], job.id, cjson.encode(record))
if job.dir then
  redis.call('ZADD', KEYS[5], 'LT', due, job.dir)
end
receipt_write(KEYS[1], job.token, 'OK', job.receipt_s)
return 'OK'
