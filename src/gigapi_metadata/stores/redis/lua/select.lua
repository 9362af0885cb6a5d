-- The cells of the time index that may list files of a window, after checks that nobody else has changed
-- the table (index.lua says what gives a foreign writer away). Read-only. The records are for the client
-- to take apart: Lua would take longer, and everybody else would wait for it.
--
-- KEYS[1]  folders   KEYS[2]  cells   KEYS[3]  seen   KEYS[4]  indexed   KEYS[5]  noted
-- ARGV[1]  MessagePack: after, before (microseconds, rounded down), folder ('' for any), cell_prefix,
--          files_prefix, drop_prefix; most_bytes: of cells to answer with; full: all days and dirs are checked;
--          else those around the window, `near` cells on either side, or all of up to `days` and `dirs`
-- Returns  {'OK', dir, cell, dir, cell, ...} | {'STALE'}: the index has to be mended first
--        | {'MANY', day, microsecond, ...}: more than most_bytes; when the first cell of each day begins
--
-- files, cell and drop keys follow from stored data, so they can't be declared; they lie beside the rest.

local job = cmsgpack.unpack(ARGV[1])
local STALE = { 'STALE' }

local known = read('HMGET', KEYS[4], '/cells', '/folders', '/noted')
if read('ZCARD', KEYS[2]) ~= tonumber(known[1] or 0)
    or read('HLEN', KEYS[1]) ~= tonumber(known[2] or 0)
    or read('HLEN', KEYS[5]) ~= tonumber(known[3] or 0) then
  return STALE
end

local function day_agrees(day, number)
  return redis.call('HLEN', job.files_prefix .. day) == tonumber(number or 0)
    or string.sub(day, 1, 1) == '/'
end

local all_days = job.full or redis.call('HLEN', KEYS[4]) <= job.days + 3 -- /cells, /folders and /noted
local all_dirs = job.full or read('HLEN', KEYS[3]) <= job.dirs
if all_days then
  local days = redis.call('HGETALL', KEYS[4])
  for at = 1, #days, 2 do
    if not day_agrees(days[at], days[at + 1]) then
      return STALE
    end
  end
end

local noted = redis.call('HGETALL', KEYS[5])
for at = 1, #noted, 2 do
  local last = redis.call('LINDEX', job.drop_prefix .. noted[at] .. ':idle', -1)
  if last and mark_of(last) ~= noted[at + 1] then
    return STALE
  end
end

-- The cells that begin where they may reach into the window, and the dirs of others near to it.
local first, last = second_of(job.after), second_of(job.before)
local cells, dirs, is_noted = {}, {}, {}

local function dir_of(member)
  return string.sub(member, string.find(member, ':', 1, true) + 1)
end

local function note(dir)
  if not is_noted[dir] then
    is_noted[dir] = true
    dirs[#dirs + 1] = dir
  end
end

local function note_near(found)
  for _, member in ipairs(found) do
    note(dir_of(member))
  end
end

local class = 0
while class <= WIDEST do
  local bottom = class * CLASS_WIDTH
  local found = redis.call('ZRANGEBYSCORE', KEYS[2], bottom, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if #found == 0 then
    break
  end
  class = math.floor(tonumber(found[2]) / CLASS_WIDTH)
  bottom = class * CLASS_WIDTH
  local base = bottom + SECOND_OFFSET
  local low = base + math.max(class == WIDEST and -SECOND_OFFSET or first - 2 ^ class, -SECOND_OFFSET)
  local high = base + last
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], low, high)) do
    local dir = dir_of(member)
    cells[#cells + 1] = { member = member, dir = dir }
    if not (all_dirs and all_days) then
      note(dir)
    end
  end
  if not all_dirs then
    note_near(redis.call('ZREVRANGEBYSCORE', KEYS[2], '(' .. string.format('%.0f', low), bottom,
      'LIMIT', 0, job.near))
    note_near(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. string.format('%.0f', high),
      bottom + CLASS_WIDTH, 'LIMIT', 0, job.near))
  end
  class = class + 1
end
local function same(count, known_count)
  return count == known_count or counted(count) == counted(known_count)
end

-- All dirs, which nearly always stand in the same order in both hashes.
local function all_dirs_agree()
  local counts, seen = redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[3])
  local differs = #counts ~= #seen
  for at = 1, #counts do
    differs = differs or counts[at] ~= seen[at]
  end
  if not differs then
    return true
  end
  local known_counts = {}
  for at = 1, #seen, 2 do
    known_counts[seen[at]] = seen[at + 1]
  end
  for at = 1, #counts, 2 do
    if not same(counts[at + 1], known_counts[counts[at]]) then
      return false
    end
    known_counts[counts[at]] = nil
  end
  return next(known_counts) == nil
end

-- Whether folders: counts the noted dirs as we know them, and each of their days has as many files.
local function noted_dirs_agree()
  local checked = {}
  for from = 1, #dirs, 4000 do
    local to = math.min(from + 3999, #dirs)
    local counts = redis.call('HMGET', KEYS[1], unpack(dirs, from, to))
    local seen = redis.call('HMGET', KEYS[3], unpack(dirs, from, to))
    for at = from, to do
      if not same(counts[at - from + 1], seen[at - from + 1]) then
        return false
      end
      local day = not all_days and day_of(dirs[at])
      if day and not checked[day] and not day_agrees(day, redis.call('HGET', KEYS[4], day)) then
        return false
      end
      checked[day] = true
    end
  end
  return true
end

if all_dirs and not all_dirs_agree() then
  return STALE
end
if not (all_dirs and all_days) and not noted_dirs_agree() then
  return STALE
end

-- Whether files of a dir can be asked for: `folder` is the beginning of a path.
local function in_folder(dir)
  local head = dir .. '/'
  return string.sub(head, 1, #job.folder) == job.folder or string.sub(job.folder, 1, #head) == head
end

-- The cells that overlap the window; the days that they are of, each with when the first of them begins.
local overlapping, days, earliest, bytes = {}, {}, {}, 0
for _, cell in ipairs(cells) do
  if job.folder == '' or in_folder(cell.dir) then
    local key = job.cell_prefix .. cell.member
    local bounds = read('GETRANGE', key, 0, BOUNDS_BYTES - 1)
    if #bounds < BOUNDS_BYTES then
      return STALE
    end
    local min, max = struct.unpack(BOUNDS, bounds)
    if min <= job.before and max >= job.after then
      cell.key = key
      overlapping[#overlapping + 1] = cell
      bytes = bytes + redis.call('STRLEN', key)
      local day = day_of(cell.dir)
      if not earliest[day] then
        days[#days + 1] = day
      end
      earliest[day] = math.min(earliest[day] or min, min)
    end
  end
end

local reply
if bytes > job.most_bytes then
  reply = { 'MANY' }
  for _, day in ipairs(days) do
    reply[#reply + 1], reply[#reply + 2] = day, string.format('%.0f', earliest[day])
  end
else
  reply = { 'OK' }
  for _, cell in ipairs(overlapping) do
    reply[#reply + 1], reply[#reply + 2] = cell.dir, redis.call('GET', cell.key)
  end
end
return reply
