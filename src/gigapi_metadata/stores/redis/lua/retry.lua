-- Makes a plan due now that waits, or that was given back with a delay: to the head of the idle list.
-- Its attempts are forgotten. A plan that somebody holds stays as it is.
--
-- KEYS[1]  receipt (string)      KEYS[3]  idle list         KEYS[5]  ready (sorted set), of a merge;
-- KEYS[2]  processing list       KEYS[4]  attempts (hash)            dropping (sorted set), of a drop
-- ARGV[1]  MessagePack: token, receipt_s, id, dir? (of a merge), dropped? (of a drop: its member of KEYS[5])
-- Returns  'OK' | 'NO' (not there, or held by somebody)

local job = cmsgpack.unpack(ARGV[1])
local answer = receipt_read(KEYS[1], job.token)
if answer then
  return answer
end
local known = read('HEXISTS', KEYS[4], job.id) == 1
local record = record_of(KEYS[4], job.id)

local function find(key, wanted)
  for _, item in ipairs(redis.call('LRANGE', key, 0, -1)) do
    if text_of(decode_item(item, key).id) == job.id and wanted(item) then
      return item, key
    end
  end
end

local item, list = find(KEYS[3], function() return true end)
if not item and record.held_until_s > 0 then
  -- Held back, and leased to nobody: see release.lua.
  item, list = find(KEYS[2], function(held) return due_of(held) == record.held_until_s end)
end
if not item then
  return 'NO'
end
if job.dir or job.dropped then
  read('ZCARD', KEYS[5])
end

local now = server_time()
redis.call('LREM', list, 1, item)
redis.call('LPUSH', KEYS[3], with_due(item, now))
if known then
  record.held_until_s, record.attempts, record.error = 0, 0, ''
  redis.call('HSET', KEYS[4], job.id, cjson.encode(record))
end
if job.dir then
  redis.call('ZADD', KEYS[5], 'LT', now, job.dir)
elseif job.dropped then
  redis.call('ZREM', KEYS[5], job.dropped) -- the grace is cut short
end
receipt_write(KEYS[1], job.token, 'OK', job.receipt_s)
return 'OK'
