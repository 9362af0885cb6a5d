-- What is wrong with the time index of a day's dirs and would not be noticed by a query. Read-only, of one
-- moment.
--
-- KEYS[1]  folders   KEYS[2]  cells   KEYS[3]  seen   KEYS[4]  indexed   KEYS[5]  noted   KEYS[6]  full
-- ARGV[1]  MessagePack: cell_prefix, files_prefix, drop_prefix; dirs: how many; most: faults to be told of
-- ARGV[2]  the day
-- ARGV[3…] the dirs, then their cells as far as they are known
-- Returns  {number of faults, what the first of them are, ...}. None where the index counts the day as
--          changed, be it by a foreign writer: the next query makes it anew
--
-- files, cell and drop keys follow from stored data, so they can't be declared; they lie beside the rest.

local job, day = cmsgpack.unpack(ARGV[1]), ARGV[2]
local dirs, number, told = {}, 0, {}
for at = 3, 2 + job.dirs do
  dirs[ARGV[at]] = true
end

local function tell(text, ...)
  number = number + 1
  if number <= job.most then
    told[number] = string.format(text, ...)
  end
end

-- Whether select.lua would send whoever asks to mend.lua, and that would make the day anew.
local function counts_as_changed()
  local totals = redis.call('HMGET', KEYS[4], '/cells', '/noted')
  if redis.call('ZCARD', KEYS[2]) ~= tonumber(totals[1] or 0)
      or redis.call('HLEN', KEYS[5]) ~= tonumber(totals[2] or 0) then
    return true
  end
  local changed, known = false, redis.call('HGET', KEYS[4], day)
  local number_known = tonumber(known or 0)
  foreign_drops(map_of(KEYS[5]), job.drop_prefix, function(path)
    changed = changed or day_of(path) == day
  end)
  for dir in pairs(dirs) do
    local count, seen = redis.call('HGET', KEYS[1], dir), redis.call('HGET', KEYS[3], dir)
    changed = changed or counted(count) ~= counted(seen)
    known = known or count or seen
  end
  -- A day that nothing knows of is not missed.
  return changed or known and redis.call('HLEN', job.files_prefix .. day) ~= number_known
end
if counts_as_changed() then
  return { 0 }
end

local CHUNK = 4000 -- arguments to one call; Lua's stack takes under 8,000
local paths, documents = {}, {}
for _, path in ipairs(redis.call('HKEYS', job.files_prefix .. day)) do
  if dirs[string.match(path, '^(.*)/[^/]*$') or ''] then
    paths[#paths + 1] = path
  end
end
for first = 1, #paths, CHUNK do
  local last = math.min(first + CHUNK - 1, #paths)
  for at, document in ipairs(redis.call('HMGET', job.files_prefix .. day, unpack(paths, first, last))) do
    documents[paths[first + at - 1]] = document
  end
end

-- Beyond 2^53 a double leaves numbers out.
local function same(time, right)
  return time == right or math.abs(right) > 2 ^ 53 and math.abs(time - right) <= 2
end

local listed = {}
local function check_file(path, min, max)
  if listed[path] then
    tell('%s is listed twice', path)
  elseif not documents[path] then
    tell('%s is listed, and is not there', path)
  else
    local first, last = times_of(documents[path])
    -- Of a document without times, that is what is wrong.
    if first ~= -math.huge and not (same(min, first) and same(max, last)) then
      tell('%s is listed with times that are not its own', path)
    end
  end
  listed[path] = true
end

-- Checks the files of a cell that lie behind its bounds. Returns whether it can be read.
local function check_files(cell, dir, low, high)
  local at, head = BOUNDS_BYTES + 1, dir == '' and '' or dir .. '/'
  while at + RECORD_HEAD - 1 <= #cell do
    local min, max, size = struct.unpack(RECORD, cell, at)
    local stop = at + RECORD_HEAD + size
    if stop - 1 > #cell then
      return false
    end
    local path = head .. string.sub(cell, at + RECORD_HEAD, stop - 1)
    if not (min >= low and max <= high) then
      tell('%s is listed in a cell whose bounds leave it out', path)
    end
    check_file(path, min, max)
    at = stop
  end
  return at == #cell + 1
end

local checked = {}
local function check_cell(member, dir, is_in_use)
  checked[member] = true
  local cell = redis.call('GET', job.cell_prefix .. member)
  local score = redis.call('ZSCORE', KEYS[2], member)
  if not cell and not score then
    return
  elseif not cell then
    tell('cell %s is lost', member)
  elseif not score or not is_in_use then
    tell('cell %s is there, and is not in use', member)
  elseif #cell <= BOUNDS_BYTES then
    tell('cell %s is cut off', member)
  else
    local low, high = struct.unpack(BOUNDS, cell)
    if tonumber(score) ~= score_of(low, high) then
      tell('cell %s stands in a wrong place in time', member)
    end
    if not check_files(cell, dir, low, high) then
      tell('cell %s is cut off', member)
    end
  end
end

for dir in pairs(dirs) do
  for at = 0, tonumber(redis.call('HGET', KEYS[6], dir) or 0) do
    check_cell(member_of(at, dir), dir, true)
  end
end
for at = 3 + job.dirs, #ARGV do
  if not checked[ARGV[at]] then
    check_cell(ARGV[at], nil, false)
  end
end
for path in pairs(documents) do
  if not listed[path] then
    tell('%s is not listed', path)
  end
end
table.insert(told, 1, number)
return told
