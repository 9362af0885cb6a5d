-- Adds entries, removes entries and ends a plan: all of it or nothing (FORMAT, "What adding a file
-- does", "What removing a file does", "Leasing and ending a plan").
--
-- KEYS[1]  receipt (string)      KEYS[2]  folders (hash)
-- KEYS[3]  cells (sorted set)    KEYS[4]  seen (hash)      KEYS[5]  indexed (hash)
-- KEYS[6]  noted (hash)          KEYS[7]  full (hash)
-- with removals or a plan to end: KEYS[8] ended (sorted set), [9] attempts, [10] targets (hashes),
--                                 [11] dropping (sorted set)
-- then files hashes, queue lists, ready sets: by index below
-- ARGV[1]  MessagePack:
--   token, receipt_s        the receipt and how long to keep it; ids that are made here are drawn from the token
--   database, table, drop_prefix, grace_s     drop queues are <drop_prefix><layer>:<writer>:idle
--   ends?                   {list, id, lease_s, layer, mark, done, path_to, dropped, memory_s}: the plan held in
--                           processing list KEYS[list], about files of `layer`; `mark` is left in `ended`, any of
--                           `done` there means that it was done before; `dropped` is a member of KEYS[11] or ''
--   parts_of?               [[receipt, token], ...]: writes that did this with more, if they were carried out;
--                           receipt: index in KEYS. What was not is made void, for it may be on its way
--   cell_prefix             of the keys of the time index's cells (index.lua)
--   groups                  [{files, dir, place, parts, queue?, ...}], all entries of a group being of one
--                           dir and queue: files, queue: indices in KEYS; place: `layer:writer`;
--                           parts [bytes, files, min_time, max_time, ...]: the group's records, which stand in
--                           ARGV[2] one group after the other
--                           merge queue: max_size, timeout_s, sizes [...], ready (index), and `packed`: the files
--                           as plans would hold them if none were waiting, [size, paths as JSON's inside, ...]
--                           move queue: items [...], positions [...]: where each stands among all entries
--   removals                [{files, dir, paths, positions}]: where each path stands among all
-- ARGV[2]  the records of the time index
-- ARGV[3…] MessagePack [path, document, path, document, ...] of each group (few arguments, because Redis takes
--          each apart by itself)
-- Returns  {'OK'} | {'LOST'} (lease) | {'GONE', path of a source that is not there}
--
-- Drop queues follow from the stored documents, and cells from the state of the index, so they can't be
-- declared; they lie beside the rest.

local job = cmsgpack.unpack(ARGV[1])
local answer = receipt_read(KEYS[1], job.token)
if answer then
  return { answer }
end
local VOID = 'VOID'
for _, write in ipairs(job.parts_of or {}) do
  answer = receipt_read(KEYS[write[1]], write[2])
  if answer and answer ~= VOID then
    receipt_write(KEYS[1], job.token, answer, job.receipt_s) -- to be confirmed like a change
    return { answer }
  end
end
local now = server_time()
local drawn = 0
local function draw_id()
  drawn = drawn + 1
  return uuid(job.token, drawn)
end

-- 1. Read and decide. Whatever can fail fails here: Redis does not roll back.

local ends, ending = job.ends, nil
if ends then
  redis.call('ZCARD', KEYS[8])
  local _, item = find_leased(KEYS[ends.list], ends.id, ends.lease_s)
  if not item then
    for _, mark in ipairs(ends.done) do
      if redis.call('ZSCORE', KEYS[8], mark) then
        receipt_write(KEYS[1], job.token, 'OK', job.receipt_s) -- to be confirmed like a change
        return { 'OK' }
      end
    end
    return { 'LOST' }
  end
  ending = item
end

-- The last waiting merge plan of a queue, as {text, stop, size}: the first `stop` bytes of its text end
-- with the last path.
local function open_plan(key)
  local item = redis.call('LINDEX', key, -1)
  if not item then
    return nil
  end
  -- What nearly all look like, without taking the list of paths apart: its only ']' ends that list.
  local size = string.match(item, '"%],"size":(%d+)}$', -40)
  local stop = size and #item - #size - 9
  if stop and string.find(item, '^{"id":"[^"]*","time_s":%d+,"paths":%["') and
      string.find(item, ']', 1, true) == stop then
    return { text = item, stop = stop - 1, size = tonumber(size) }
  end
  local fields = decode_item(item, key)
  local paths = fields.paths
  size = fields.size
  if type(paths) ~= 'table' or type(size) ~= 'number' or #paths == 0 then
    return nil
  end
  -- Fields that we do not know stay.
  fields.paths, fields.size = nil, nil
  fields.id, fields.time_s = text_of(fields.id), due_of(item)
  local text = string.sub(cjson.encode(fields), 1, -2) .. ',"paths":' .. string.sub(cjson.encode(paths), 1, -2)
  return { text = text, stop = #text, size = size }
end

local CHUNK = 4000 -- arguments to one call; Lua's stack takes under 8,000

-- What a group does to its dir: how many of its files are new there, which names were there before, and
-- which are new for planning, as indices: a file that comes back in another layer is planned anew.
-- group.planned is nil when all of them are.
local function sort_out(group)
  local files, entries = KEYS[group.files], group.entries
  group.new = #entries / 2
  if group.new > 1 and redis.call('HLEN', files) == 0 then
    return
  end
  local layer, cut = string.match(group.place, '^[^:]*'), #group.dir + 2
  local planned, again = {}, {}
  for first = 1, #entries, CHUNK do
    local paths = {}
    for at = first, math.min(first + CHUNK - 1, #entries), 2 do
      paths[#paths + 1] = entries[at]
    end
    for at, stored in ipairs(redis.call('HMGET', files, unpack(paths))) do
      if stored then
        group.new = group.new - 1
        again[string.sub(paths[at], cut)] = true
        group.again = again
      end
      if not stored or place_of(stored) ~= layer then
        planned[#planned + 1] = (first + 2 * at - 1) / 2
      end
    end
  end
  if #planned < #entries / 2 then
    group.planned = planned
  end
end

local function new_plan(due_s, paths, size)
  return string.format('{"id":"%s","time_s":%.0f,"paths":[', draw_id(), due_s) .. paths
    .. string.format('],"size":%.0f}', size)
end

-- Put together by struct, which takes the beginning of a text without making it a text of its own first:
-- plans can be long.
local function with_paths(plan, paths, size)
  local rest = ',' .. paths .. string.format('],"size":%.0f}', size)
  return struct.pack('c' .. plan.stop .. 'c' .. #rest, plan.text, rest)
end

-- The items to append to a merge queue for its new files, and what its last one becomes: a file goes
-- into the open plan while that has room, else into a new one (`pack` in planning.py).
local function merge_items(group)
  local plan, sizes, packed = open_plan(KEYS[group.queue]), group.sizes, group.packed
  local fits = plan and plan.size + sizes[1] <= group.max_size
  local items = {}
  if not group.planned and not fits then
    for at = 1, #packed, 2 do
      items[#items + 1] = new_plan(group.due_s, packed[at + 1], packed[at])
    end
    return items, nil
  end
  if not group.planned and #packed == 2 and plan.size + packed[1] <= group.max_size then
    return items, with_paths(plan, packed[2], plan.size + packed[1])
  end
  local last, paths = nil, {}
  local function close()
    if #paths > 0 and plan.text then
      last = with_paths(plan, table.concat(paths, ','), plan.size)
    elseif #paths > 0 then
      items[#items + 1] = new_plan(group.due_s, table.concat(paths, ','), plan.size)
    end
    paths = {}
  end
  for at = 1, group.planned and #group.planned or #sizes do
    local index = group.planned and group.planned[at] or at
    if not plan or plan.size + sizes[index] > group.max_size then
      close()
      plan = { size = 0 }
    end
    plan.size = math.min(plan.size + sizes[index], MAX_SIZE)
    paths[#paths + 1] = quoted(group.entries[2 * index - 1])
  end
  close()
  return items, last
end

local index = open_index(
  { cells = KEYS[3], seen = KEYS[4], indexed = KEYS[5], noted = KEYS[6], full = KEYS[7] }, job.cell_prefix)

-- Whether folders: may get or lose a field.
local grows = #job.removals > 0

local function count_of(dir)
  local text = redis.call('HGET', KEYS[2], dir)
  if not text then
    grows = true
    return 0
  end
  if not string.match(text, '^%-?%d+$') or #text > 15 then
    error('CORRUPT ' .. KEYS[2] .. ' counts the files of ' .. dir .. ' as ' .. string.sub(text, 1, 40))
  end
  return tonumber(text)
end

local moves = {}
for number, group in ipairs(job.groups) do
  group.entries = cmsgpack.unpack(ARGV[2 + number])
  sort_out(group)
  -- Its own queue is looked at as soon as a place has files: what others drop there is noticed.
  group.noted = redis.call('HEXISTS', KEYS[6], group.place) == 1
  index:look(group.dir)
  -- GigAPI can leave a count below zero; what is counted from there would stay wrong.
  group.below = math.min(count_of(group.dir), 0)
  if group.sizes then
    group.due_s = math.min(now + group.timeout_s, MAX_TIME_S)
    group.items, group.last = merge_items(group)
  elseif group.items then
    redis.call('LLEN', KEYS[group.queue])
    for at = 1, group.planned and #group.planned or #group.items do
      local file = group.planned and group.planned[at] or at
      moves[#moves + 1] = { position = group.positions[file], key = KEYS[group.queue], item = group.items[file] }
    end
    group.items = nil
  end
end

-- Queues that all dirs share are filled in the order of the batch.
local function by_position(a, b)
  return a.position < b.position
end
table.sort(moves, by_position)

local drops = {}
for _, removal in ipairs(job.removals) do
  local files, paths = KEYS[removal.files], {}
  for at, path in ipairs(removal.paths) do
    local document = redis.call('HGET', files, path)
    if document then
      paths[#paths + 1] = path
      local layer, writer = place_of(document)
      if ends and layer ~= ends.layer then
        return { 'GONE', path }
      end
      local key = job.drop_prefix .. layer .. ':' .. writer .. ':idle'
      drops[#drops + 1] = { position = removal.positions[at], key = key, place = layer .. ':' .. writer,
        field = layer .. ':' .. path, item = '{"id":"' .. draw_id() .. '"'
        .. string.format(',"time_s":%.0f', now + job.grace_s)
        .. ',"writer_id":' .. cjson.encode(writer) .. ',"database":' .. cjson.encode(job.database)
        .. ',"table":' .. cjson.encode(job.table) .. ',"layer":' .. cjson.encode(layer)
        .. ',"path":' .. cjson.encode(path) .. '}' }
    elseif ends then
      return { 'GONE', path }
    end
  end
  removal.paths = paths
  count_of(removal.dir)
  index:look(removal.dir)
end
table.sort(drops, by_position)
-- Whether a drop queue ends with what we put there: else a foreign removal is still to be noticed.
local accounted = {}
for _, drop in ipairs(drops) do
  if accounted[drop.place] == nil then
    local last = redis.call('LINDEX', drop.key, -1)
    local noted = redis.call('HGET', KEYS[6], drop.place)
    accounted[drop.place] = not last or noted == mark_of(last)
  end
end
if #drops > 0 or ends then
  redis.call('HLEN', KEYS[9])
  redis.call('HLEN', KEYS[10])
  redis.call('ZCARD', KEYS[11])
end
local folders = grows and redis.call('HLEN', KEYS[2])

-- 2. Write.

local function in_chunks(command, key, values)
  for first = 1, #values, CHUNK do
    redis.call(command, key, unpack(values, first, math.min(first + CHUNK - 1, #values)))
  end
end

-- Lists a group's files in the index. Its records begin behind `at` in ARGV[2]; returns where they end.
local function list_files(group, at)
  if group.again then
    index:remove(group.dir, group.again)
  end
  local parts = group.parts
  for part = 1, #parts, 4 do
    local stop = at + parts[part]
    index:add(group.dir, string.sub(ARGV[2], at + 1, stop), parts[part + 1], parts[part + 2], parts[part + 3])
    at = stop
  end
  return at
end

local mended, at = {}, 0
for _, group in ipairs(job.groups) do
  in_chunks('HSET', KEYS[group.files], group.entries)
  if group.new > 0 then
    local below = mended[group.dir] and 0 or group.below
    local added = group.new - below
    local after = redis.call('HINCRBY', KEYS[2], group.dir, added)
    index:recount(group.dir, after - added, after)
    mended[group.dir] = true
  end
  if not group.noted and redis.call('HEXISTS', KEYS[6], group.place) == 0 then
    index:note(group.place, '')
  end
  at = list_files(group, at)
  if group.last then
    redis.call('LSET', KEYS[group.queue], -1, group.last)
  end
  if group.items then
    in_chunks('RPUSH', KEYS[group.queue], group.items)
    if group.ready and #group.items > 0 then
      redis.call('ZADD', KEYS[group.ready], 'LT', group.due_s, group.dir)
    end
  end
end

for _, move in ipairs(moves) do
  redis.call('RPUSH', move.key, move.item)
end

-- How many files a dir really has. GigAPI can have counted too few of them or too many.
local function files_in(files, dir)
  local count, head = 0, dir .. '/'
  if redis.call('HLEN', files) > 0 then
    for _, path in ipairs(redis.call('HKEYS', files)) do
      if string.sub(path, 1, #head) == head and not string.find(path, '/', #head + 1, true) then
        count = count + 1
      end
    end
  end
  return count
end

for _, removal in ipairs(job.removals) do
  in_chunks('HDEL', KEYS[removal.files], removal.paths)
  local count = #removal.paths
  if count > 0 then
    local left = redis.call('HINCRBY', KEYS[2], removal.dir, -count)
    local before = left + count
    if left <= 0 or redis.call('HLEN', KEYS[removal.files]) == 0 then
      left = files_in(KEYS[removal.files], removal.dir)
      if left > 0 then
        redis.call('HSET', KEYS[2], removal.dir, left)
      else
        redis.call('HDEL', KEYS[2], removal.dir)
      end
    end
    index:recount(removal.dir, before, left)
    local names = {}
    for _, path in ipairs(removal.paths) do
      names[string.sub(path, #removal.dir + 2)] = true
    end
    index:remove(removal.dir, names)
  end
end
for _, drop in ipairs(drops) do
  redis.call('RPUSH', drop.key, drop.item)
  if accounted[drop.place] then
    index:note(drop.place, mark_of(drop.item))
  end
  redis.call('ZADD', KEYS[11], now + job.grace_s, drop.field)
end
if #drops > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[11], '-inf', now)
end

index:finish(grows and redis.call('HLEN', KEYS[2]) - folders or 0)

if ends then
  redis.call('LREM', KEYS[ends.list], 1, ending)
  redis.call('ZADD', KEYS[8], now, ends.mark)
  redis.call('ZREMRANGEBYSCORE', KEYS[8], '-inf', now - ends.memory_s)
  redis.call('HDEL', KEYS[9], ends.id)
  redis.call('HDEL', KEYS[10], ends.path_to)
  redis.call('ZREM', KEYS[11], ends.dropped)
end
for _, write in ipairs(job.parts_of or {}) do
  receipt_write(KEYS[write[1]], write[2], VOID, job.receipt_s)
end
receipt_write(KEYS[1], job.token, 'OK', job.receipt_s)
return { 'OK' }
