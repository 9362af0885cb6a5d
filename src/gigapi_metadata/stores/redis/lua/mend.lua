-- Brings the time index up to what is stored: finds the days that were changed by others, and lists their
-- files anew. Safe to repeat; a call does a part of the work, so that the server is not held up for long.
--
-- KEYS[1]  folders   KEYS[2]  cells   KEYS[3]  seen   KEYS[4]  indexed   KEYS[5]  noted   KEYS[6]  full
-- ARGV[1]  MessagePack: cell_prefix, files_prefix, drop_prefix; anew: forget the index first;
--          suspects: days of which the index is known to be wrong; budget: after how many files to stop
-- Returns  how many days are left to do; or the server's error where nothing may be written: on a replica,
--          or for a user who may only read
--
-- files, cell and drop keys follow from stored data, so they can't be declared; they lie beside the rest.

local job = cmsgpack.unpack(ARGV[1])
local tried = redis.pcall('HDEL', KEYS[4], '')
if type(tried) == 'table' and tried.err and not (job.anew and string.find(tried.err, 'WRONGTYPE', 1, true)) then
  return tried.err
end

-- Without what was noted, any day may have changed.
local function is_lost()
  local known = read('HMGET', KEYS[4], '/cells', '/noted')
  return read('ZCARD', KEYS[2]) ~= tonumber(known[1] or 0) or read('HLEN', KEYS[5]) ~= tonumber(known[2] or 0)
end
if job.anew or is_lost() then
  -- Whatever they hold: it may be nothing of ours.
  local members = redis.pcall('ZRANGE', KEYS[2], 0, -1)
  for _, member in ipairs(members) do
    redis.call('DEL', job.cell_prefix .. member)
  end
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
end

local counts, seen = map_of(KEYS[1]), map_of(KEYS[3])
local indexed, noted = map_of(KEYS[4]), map_of(KEYS[5])

-- 1. The days there are, each with its dirs and its cells; which of them are dirty.

local days, dirty = {}, {}
local function day_named(name)
  local day = days[name]
  if not day then
    day = { dirs = {}, cells = {} }
    days[name] = day
  end
  return day
end

local function note_dir(dir)
  local name = day_of(dir)
  day_named(name).dirs[dir] = true
  if counted(counts[dir]) ~= counted(seen[dir]) then
    dirty[name] = true
  end
end
for dir in pairs(counts) do
  note_dir(dir)
end
for dir in pairs(seen) do
  note_dir(dir)
end
for name in pairs(indexed) do
  if string.sub(name, 1, 1) ~= '/' then
    day_named(name)
  end
end
for _, member in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local dir = string.match(member, '^%d+:(.*)$')
  local day = day_named(day_of(dir))
  day.dirs[dir] = true
  day.cells[#day.cells + 1] = member
  if read('STRLEN', job.cell_prefix .. member) <= BOUNDS_BYTES then
    dirty[day_of(dir)] = true -- it was lost
  end
end
for _, name in ipairs(job.suspects) do
  day_named(name)
  dirty[name] = true
end
-- What others have put into drop queues has gone from its day.
local ends = foreign_drops(noted, job.drop_prefix, function(path)
  local name = day_of(path)
  day_named(name)
  dirty[name] = true
end)
for place, mark in pairs(ends) do
  redis.call('HSET', KEYS[5], place, mark)
end

local todo = {}
for name in pairs(days) do
  if dirty[name] or redis.call('HLEN', job.files_prefix .. name) ~= tonumber(indexed[name] or 0) then
    -- Should this be the last call, the day still counts as changed.
    redis.call('HSET', KEYS[4], name, string.format('%.0f', BROKEN))
    todo[#todo + 1] = name
  end
end
table.sort(todo)

-- 2. List the files of dirty days, as far as the budget goes.

local CELL_FILES = 400

local function forget(name, day)
  for _, member in ipairs(day.cells) do
    redis.call('DEL', job.cell_prefix .. member)
    redis.call('ZREM', KEYS[2], member)
  end
  for dir in pairs(day.dirs) do
    redis.call('HDEL', KEYS[3], dir)
    redis.call('HDEL', KEYS[6], dir)
  end
  redis.call('HDEL', KEYS[4], name)
end

-- The records of a day's files by dir, and where in the table they lie: {layer}:{writer}.
local function read_day(name)
  local flat, dirs, places = redis.call('HGETALL', job.files_prefix .. name), {}, {}
  for at = 1, #flat, 2 do
    local dir, file = string.match(flat[at], '^(.*)/([^/]*)$')
    if not dir then
      dir, file = '', flat[at]
    end
    if #file > 65535 then
      error('CORRUPT ' .. job.files_prefix .. name .. ' holds a name of ' .. #file .. ' bytes in ' .. dir)
    end
    local min, max = times_of(flat[at + 1])
    dirs[dir] = dirs[dir] or {}
    table.insert(dirs[dir], { min = min, max = max, record = struct.pack(RECORD, min, max, #file) .. file })
    local layer, writer = place_of(flat[at + 1])
    places[layer .. ':' .. writer] = true
  end
  return dirs, places, #flat / 2
end

local function list_dir(index, dir, files)
  -- It may be there without being listed.
  redis.call('DEL', job.cell_prefix .. member_of(0, dir))
  table.sort(files, function(a, b) return a.min < b.min end)
  for first = 1, #files, CELL_FILES do
    local records, max, last = {}, -math.huge, math.min(first + CELL_FILES - 1, #files)
    for at = first, last do
      records[#records + 1] = files[at].record
      max = math.max(max, files[at].max)
    end
    index:add(dir, table.concat(records), #records, files[first].min, max)
  end
end

local function list_day(name)
  local day = days[name]
  forget(name, day)
  local index = open_index(
    { cells = KEYS[2], full = KEYS[6], seen = KEYS[3], indexed = KEYS[4], noted = KEYS[5] }, job.cell_prefix)
  local dirs, places, number = read_day(name)
  for dir, files in pairs(dirs) do
    list_dir(index, dir, files)
    day.dirs[dir] = true
  end
  for dir in pairs(day.dirs) do
    index:recount(dir, 0, counted(counts[dir]))
  end
  index:finish(0)
  for place in pairs(places) do
    if not noted[place] then
      noted[place] = mark_of(redis.call('LINDEX', job.drop_prefix .. place .. ':idle', -1) or nil)
      redis.call('HSET', KEYS[5], place, noted[place])
    end
  end
  return number
end

local done, at = 0, 0
while at < #todo and done < job.budget do
  at = at + 1
  done = done + list_day(todo[at])
end
-- In the order of folders:, for what has one order is compared quickly.
local FEW_DIRS = 128
if at == #todo and redis.call('HLEN', KEYS[3]) <= FEW_DIRS then
  local left = map_of(KEYS[3])
  redis.call('DEL', KEYS[3])
  for _, dir in ipairs(redis.call('HKEYS', KEYS[1])) do
    if left[dir] then
      redis.call('HSET', KEYS[3], dir, left[dir])
      left[dir] = nil
    end
  end
  for dir, count in pairs(left) do
    redis.call('HSET', KEYS[3], dir, count)
  end
end
local agreed = at == #todo and redis.call('HLEN', KEYS[1]) or -1
redis.call('HSET', KEYS[4], '/folders', agreed, '/cells', redis.call('ZCARD', KEYS[2]),
  '/noted', redis.call('HLEN', KEYS[5]))
return #todo - at
