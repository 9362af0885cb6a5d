-- Hands out the first plans that are due, over all dirs of the table in key order for merges
-- (FORMAT, "Leasing and ending a plan"). Items that name no living file are discarded on the way.
--
-- KEYS[1]  receipt (string)      KEYS[3]  attempts (hash)      KEYS[5]  dropping (sorted set)
-- KEYS[2]  folders (hash)        KEYS[4]  targets (hash)       KEYS[6]  ended (sorted set)
-- KEYS[7]  ready (sorted set), KEYS[8]  looked (hash): of merges; noted, indexed (hashes): of drops
-- ARGV[1]  MessagePack: token, receipt_s,
--   kind              "merge" | "move" | "drop"
--   layer             where the plan's files lie
--   seconds           for how long
--   limit             how many at most
--   head, tail        the queue of a dir is <head><dir><tail>; of moves and drops it is <head>
--   files             prefix of the files hashes
--   place             of drops: the queue's field in noted
-- Returns  'AGAIN' (so much was discarded that others should have their turn), or a JSON list of
--   item       as it stands in the processing list      paths     a merge's living paths
--   dir        of a merge                               owner     '' or whose a move's path_to is
--   due_s      its time_s before                        attempts  how often it was released with an error
--
-- Queues and files hashes follow from what is stored, so they can't be declared; they lie beside the rest.

local job = cmsgpack.unpack(ARGV[1])
local answer = receipt_read(KEYS[1], job.token)
if answer then
  return answer
end
local now = server_time()
for at, command in ipairs({ 'HLEN', 'HLEN', 'ZCARD', 'ZCARD' }) do
  read(command, KEYS[2 + at])
end
if job.kind == 'merge' then
  read('ZCARD', KEYS[7])
  read('HLEN', KEYS[8])
elseif job.kind == 'drop' then
  read('HLEN', KEYS[7])
  read('HLEN', KEYS[8])
end

-- The document of a living entry that lies in the plan's job.layer.
local function living(path)
  local document = redis.call('HGET', job.files .. string.match(path, '^[^/]*'), path)
  if document and place_of(document) == job.layer then
    return document
  end
end

-- Whether an item still has something to do; for a merge, on which files.
local function work_of(fields)
  if job.kind == 'merge' then
    local paths, seen = {}, {}
    for _, path in ipairs(type(fields.paths) == 'table' and fields.paths or {}) do
      path = text_of(path)
      if not seen[path] and living(path) then
        seen[path] = true
        paths[#paths + 1] = path
      end
    end
    return #paths > 0, paths
  end
  if job.kind == 'move' then
    return living(text_of(fields.path_from)) ~= nil, {}
  end
  -- A file that was added again since is not to be deleted; one that was removed once more has a later
  -- item of its own, for readers may still use it.
  local path = text_of(fields.path)
  local until_s = tonumber(redis.call('ZSCORE', KEYS[5], job.layer .. ':' .. path) or 0)
  return living(path) == nil and until_s <= now, {}
end

-- Whose path_to this is: GigAPI can give two moves the same one, and then the files would overwrite
-- each other. The first to be leased claims it; a path_to that already is a file belongs to that.
local function owner_of(path_to, path_from)
  local owner = redis.call('HGET', KEYS[4], path_to)
  if owner then
    return owner
  end
  if redis.call('HEXISTS', job.files .. string.match(path_to, '^[^/]*'), path_to) == 1 then
    return path_to
  end
  return path_from
end

local function first_due(idle, processing)
  local item = redis.call('LINDEX', idle, 0)
  if item and due_of(item) <= now then
    return item, idle
  end
  for _, held in ipairs(redis.call('LRANGE', processing, 0, -1)) do
    if due_of(held) <= now then
      return held, processing
    end
  end
end

-- The second until which the item is held. GigAPI can give two items one id: they must differ in it,
-- also from one that has ended.
local function lease_until(queue, id, record)
  local processing = queue .. ':processing'
  for _, held in ipairs(redis.call('LRANGE', processing, 0, -1)) do
    if has_id(held, id, processing) then
      table.insert(record.used, due_of(held))
    end
  end
  local second = unused(record, now + job.seconds)
  while true do
    local lease = queue .. ':' .. id .. ':' .. string.format('%.0f', second)
    local done = redis.call('ZMSCORE', KEYS[6], lease .. ':completed', lease .. ':ended')
    if not done[1] and not done[2] then
      return second
    end
    second = unused(record, second + 1)
  end
end

local MANY = 1000 -- items to discard in one call
local discarded = 0
local leased = {}
local stopped = false

local function is_done()
  return stopped or #leased == job.limit or discarded == MANY
end

-- The time index notices foreign removals by the end of a drop queue. What is taken out of it before that
-- is noticed by its day.
local function tell_index(idle, path)
  local noted = redis.call('HGET', KEYS[7], job.place)
  if noted and mark_of(redis.call('LINDEX', idle, -1)) ~= noted then
    redis.call('HSET', KEYS[8], day_of(path), string.format('%.0f', BROKEN))
  end
end

local function lease_all_from(queue, dir)
  local idle, processing = queue .. ':idle', queue .. ':processing'
  while not is_done() do
    local item, list = first_due(idle, processing)
    if not item then
      return
    end
    local fields = decode_item(item, list)
    local useful, paths = work_of(fields)
    if job.kind == 'drop' and list == idle then
      tell_index(idle, text_of(fields.path))
    end
    if useful then
      local id = text_of(fields.id)
      local owner = ''
      if job.kind == 'move' and text_of(fields.layer_to) ~= '' then
        owner = owner_of(text_of(fields.path_to), text_of(fields.path_from))
      end
      local record = record_of(KEYS[3], id)
      local held = with_due(item, lease_until(queue, id, record))
      redis.call('LREM', list, 1, item)
      redis.call('RPUSH', processing, held)
      if owner ~= '' and owner == text_of(fields.path_from) then
        redis.call('HSET', KEYS[4], text_of(fields.path_to), owner)
      end
      leased[#leased + 1] = cjson.encode({
        item = held, dir = dir, paths = paths, owner = owner,
        due_s = due_of(item), attempts = record.attempts,
      })
    else
      redis.call('LREM', list, 1, item)
      discarded = discarded + 1
    end
  end
end

-- What can't be read after something was leased does not keep that back.
local function lease_from(queue, dir)
  local ok, fault = pcall(lease_all_from, queue, dir)
  if not ok and #leased == 0 then
    error(fault, 0)
  end
  stopped = not ok
end

local function answer_with_leased()
  if #leased == 0 then
    return discarded == MANY and 'AGAIN' or '[]'
  end
  local reply = '[' .. table.concat(leased, ',') .. ']'
  receipt_write(KEYS[1], job.token, reply, job.receipt_s)
  return reply
end

if job.kind ~= 'merge' then
  lease_from(job.head, '')
  return answer_with_leased()
end

-- Note when something in a dir's queue may be due; forget the dir when there is nothing.
local function note(dir)
  local queue = job.head .. dir .. job.tail
  local due
  local first = redis.call('LINDEX', queue .. ':idle', 0)
  if first then
    due = due_of(first)
  end
  for _, held in ipairs(redis.call('LRANGE', queue .. ':processing', 0, -1)) do
    due = math.min(due or due_of(held), due_of(held))
  end
  if due then
    redis.call('ZADD', KEYS[7], due, dir)
  else
    redis.call('ZREM', KEYS[7], dir)
  end
end

-- Look for queues that a GigAPI process has made or changed, which are not noted rightly: at all of
-- them, or in a large table at the next thousand folders, once a second.
local FEW_FOLDERS = 1000
local function look(dirs)
  for _, dir in ipairs(dirs) do
    local queue = job.head .. dir .. job.tail
    if redis.call('EXISTS', queue .. ':idle', queue .. ':processing') > 0 then
      note(dir)
    end
  end
end

local function look_at_all()
  for _, dir in ipairs(redis.call('ZRANGE', KEYS[7], 0, -1)) do
    note(dir)
  end
  look(redis.call('HKEYS', KEYS[2]))
end

local function look_at_some()
  local at, cursor = unpack(redis.call('HMGET', KEYS[8], 'at', 'cursor'))
  if tonumber(at or 0) == now then
    return
  end
  local found = redis.call('HSCAN', KEYS[2], cursor or '0', 'COUNT', FEW_FOLDERS)
  local dirs = {}
  for index = 1, #found[2], 2 do
    dirs[#dirs + 1] = found[2][index]
  end
  look(dirs)
  redis.call('HSET', KEYS[8], 'at', now, 'cursor', found[1])
end

local AT_ONCE = 32 -- dirs to choose the first of; keeps the cost apart from how many are due
local function lease_ready()
  while not is_done() do
    local dirs = redis.call('ZRANGEBYSCORE', KEYS[7], '-inf', now, 'LIMIT', 0, AT_ONCE)
    if #dirs == 0 then
      return
    end
    table.sort(dirs)
    for _, dir in ipairs(dirs) do
      lease_from(job.head .. dir .. job.tail, dir)
      note(dir)
      if is_done() then
        return
      end
    end
  end
end

local few = redis.call('HLEN', KEYS[2]) <= FEW_FOLDERS
look_at_some()
lease_ready()
if #leased == 0 and few and not is_done() then
  look_at_all()
  lease_ready()
end
return answer_with_leased()
