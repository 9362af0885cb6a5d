-- Makes a plan due now that waits, or that was given back with a delay: to the head of the idle list.
-- Its attempts are forgotten. A plan that somebody holds stays as it is.
--
-- KEYS[1]  receipt (string)   KEYS[2]  processing list   KEYS[3]  idle list   KEYS[4]  attempts (hash)
-- ARGV[1]  MessagePack: token, receipt_s, id
-- Returns  'OK' | 'NO' (not there, or held by somebody)

local job = cmsgpack.unpack(ARGV[1])
local answer = receipt_read(KEYS[1], job.token)
if answer then
  return answer
end

local kept = redis.call('HGET', KEYS[4], job.id)
local record = kept and cjson.decode(kept)

local function find(key, wanted)
  for _, item in ipairs(redis.call('LRANGE', key, 0, -1)) do
    if text_of(decode_item(item, key).id) == job.id and wanted(item) then
      return item, key
    end
  end
end

local item, list = find(KEYS[3], function() return true end)
if not item and record then
  -- Held back, and leased to nobody: see release.lua.
  item, list = find(KEYS[2], function(held) return due_of(held) == record.held_until_s end)
end
if not item then
  return 'NO'
end

redis.call('LREM', list, 1, item)
redis.call('LPUSH', KEYS[3], with_due(item, server_time()))
if record then
  redis.call('HSET', KEYS[4], job.id, string.format(
    '{"lease_s":%.0f,"held_until_s":0,"attempts":0,"error":""}', record.lease_s))
end
receipt_write(KEYS[1], job.token, 'OK', job.receipt_s)
return 'OK'
