-- Shared by every script of this folder: it is put before each of them.
--
-- A queue item is JSON: {"id", "time_s", ...}. Items are edited as text where possible, because
-- cjson keeps 14 digits of a number. `"time_s":` can't occur inside a JSON string: there its quotes
-- would be escaped.

local function server_time()
  return tonumber(redis.call('TIME')[1])
end

-- A command that reads a key, before anything is written: a key of another type fails here, by its name.
local function read(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) == 'table' and reply.err then
    if string.find(reply.err, 'WRONGTYPE', 1, true) then
      error('CORRUPT ' .. key .. ' holds another type of value than it should', 0)
    end
    error(reply.err, 0)
  end
  return reply
end

-- The Unix second from which an item may be taken. One without it is due (FORMAT, "Redis keys"), and so
-- is one with something that is no number. What no second can be is not passed on: cjson and ZADD refuse it.
local function due_of(item)
  local second = tonumber(string.match(item, '"time_s":%s*"?([^,}"]+)') or 0) or 0
  if second ~= second then
    return 0
  end
  return math.max(-2 ^ 53, math.min(second, 2 ^ 53))
end

local function with_due(item, time_s)
  local text = string.format('"time_s":%.0f', time_s)
  local edited, found = string.gsub(item, '"time_s":%s*[^,}]+', text, 1)
  if found == 1 then
    return edited
  end
  -- Only GigAPI's move items lack it; they hold nothing but strings, which survive cjson.
  local fields = cjson.decode(item)
  fields.time_s = nil
  local rest = cjson.encode(fields)
  if rest == '{}' then
    return '{' .. text .. '}'
  end
  return '{' .. text .. ',' .. string.sub(rest, 2)
end

local function decode_item(item, key)
  local ok, fields = pcall(cjson.decode, item)
  if not ok or type(fields) ~= 'table' then
    error('CORRUPT ' .. key .. ' holds an item that is no JSON object: ' .. string.sub(item, 1, 80))
  end
  return fields
end

-- Whether an item's id is `id`. The text is looked at first: parsing a long list would take long.
local function has_id(item, id, key)
  return string.find(item, id, 1, true) and decode_item(item, key).id == id
end

-- Strings only; JSON's null becomes ''.
local function text_of(value)
  if type(value) == 'string' then
    return value
  end
  return ''
end

-- Text as JSON has it. A path holds no control characters and no backslash.
local function quoted(path)
  return '"' .. string.gsub(path, '"', '\\"') .. '"'
end

-- The layer and writer_id of an entry's document. Ours begin with the two, in this order.
local function place_of(document)
  local layer, writer = string.match(document, '^{"layer":"([^"\\]*)","writer_id":"([^"\\]*)",')
  if layer then
    return layer, writer
  end
  local ok, entry = pcall(cjson.decode, document)
  if not ok or type(entry) ~= 'table' then
    return '', ''
  end
  return text_of(entry.layer), text_of(entry.writer_id)
end

-- Beyond these, a number would not be the whole number that Go reads.
local MAX_TIME_S = 2 ^ 53
local MAX_SIZE = 2 ^ 63 - 1024

-- What is remembered of a plan between its leases (keys.attempts): `used` holds the seconds that
-- leases ran to which were given up before. A lease is told from others by that second, so none of
-- these may be given out again.
local function record_of(key, id)
  local kept = read('HGET', key, id)
  return kept and cjson.decode(kept) or { used = {}, held_until_s = 0, attempts = 0, error = '' }
end

local function give_up_lease(record, lease_s, now)
  local used = { lease_s }
  for _, second in ipairs(record.used) do
    if second > now then
      used[#used + 1] = second
    end
  end
  record.used = used
end

-- The first second from `second` on that none of this plan's leases has had.
local function unused(record, second)
  local taken = {}
  for _, used in ipairs(record.used) do
    taken[used] = true
  end
  while taken[second] do
    second = second + 1
  end
  return second
end

-- Where in the processing list the item stands that is held under exactly this lease, and the item.
local function find_leased(key, id, lease_s)
  for index, item in ipairs(redis.call('LRANGE', key, 0, -1)) do
    if due_of(item) == lease_s and has_id(item, id, key) then
      return index - 1, item
    end
  end
end

-- The n-th UUID made from a random seed that the client drew.
local function uuid(seed, n)
  local hex = redis.sha1hex(seed .. ':' .. n)
  return string.sub(hex, 1, 8) .. '-' .. string.sub(hex, 9, 12) .. '-4' .. string.sub(hex, 13, 15)
    .. '-a' .. string.sub(hex, 16, 18) .. '-' .. string.sub(hex, 19, 30)
end

-- A receipt remembers the answer to a client's last write through one slot, so that the same write
-- sent again (its answer was lost) is answered and not made twice.
local function receipt_read(key, token)
  local kept = redis.call('GET', key)
  if kept and string.sub(kept, 1, #token) == token then
    return string.sub(kept, #token + 1)
  end
end

local function receipt_write(key, token, answer, seconds)
  redis.call('SET', key, token .. answer, 'EX', seconds)
end
