-- The cells of the time index that may list files of a window, after checks that nobody else has changed
-- the table (index.lua says what gives a foreign writer away). Read-only. The records are for the client
-- to take apart: Lua would take longer, and everybody else would wait for it.
--
-- KEYS[1]  folders   KEYS[2]  cells   KEYS[3]  state   KEYS[4]  indexed   KEYS[5]  noted
-- ARGV[1]  MessagePack: after, before (nanoseconds), folder ('' for any), cell_prefix, files_prefix,
--          drop_prefix; sample: how many folders and days away from the window are checked, drawn at random
--          (all of them where there are no more); most_bytes: of records to answer with
-- Returns  {'OK', dir, records of a cell, dir, records, ...} | {'STALE'}: the index has to be mended first
--        | {'MANY'}: more than most_bytes
--
-- files, cell and drop keys follow from stored data, so they can't be declared; they lie beside the rest.

local job = cmsgpack.unpack(ARGV[1])
local STALE = { 'STALE' }
local NEAR_S = 86400

local known = redis.call('HMGET', KEYS[4], '/cells', '/folders')
if redis.call('ZCARD', KEYS[2]) ~= tonumber(known[1] or 0)
    or redis.call('HLEN', KEYS[1]) ~= tonumber(known[2] or 0) then
  return STALE
end

local checked_dirs, checked_days, states = {}, {}, {}

-- Whether folders: counts these dirs as we know them. Remembers their states.
local function dirs_agree(dirs, packed)
  local counts = #dirs > 0 and redis.call('HMGET', KEYS[1], unpack(dirs)) or {}
  for at, dir in ipairs(dirs) do
    states[dir] = packed[at]
    if counted(counts[at]) ~= seen_in(packed[at]) then
      return false
    end
    checked_dirs[dir] = true
  end
  return true
end

local function day_agrees(day, number)
  if not checked_days[day] and string.sub(day, 1, 1) ~= '/' then
    checked_days[day] = true
    return redis.call('HLEN', job.files_prefix .. day) == tonumber(number or 0)
  end
  return true
end

-- Some fields and values of a hash: all, where there are no more than the sample.
local function drawn_from(key)
  local pairs_of = redis.call('HLEN', key) <= job.sample and redis.call('HGETALL', key)
    or redis.call('HRANDFIELD', key, job.sample, 'WITHVALUES')
  local fields, values = {}, {}
  for at = 1, #pairs_of, 2 do
    fields[#fields + 1], values[#values + 1] = pairs_of[at], pairs_of[at + 1]
  end
  return fields, values
end

local fields, values = drawn_from(KEYS[4])
for at, day in ipairs(fields) do
  if not day_agrees(day, values[at]) then
    return STALE
  end
end
if not dirs_agree(drawn_from(KEYS[3])) then
  return STALE
end

local noted = redis.call('HGETALL', KEYS[5])
for at = 1, #noted, 2 do
  local last = redis.call('LINDEX', job.drop_prefix .. noted[at] .. ':idle', -1)
  if last and id_of(last) ~= noted[at + 1] then
    return STALE
  end
end

-- The cells that may hold files of the window, and the dirs of those up to a day away.
local after, before = job.after - SLACK_NS, job.before + SLACK_NS
local first, last = second_of(after), second_of(before)
local cells, near, is_near = {}, {}, {}
local class = 0
while class <= WIDEST do
  local base = class * CLASS_WIDTH + SECOND_OFFSET
  local found = redis.call('ZRANGEBYSCORE', KEYS[2], base - SECOND_OFFSET, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  if #found == 0 then
    break
  end
  class = math.floor(tonumber(found[2]) / CLASS_WIDTH)
  base = class * CLASS_WIDTH + SECOND_OFFSET
  local reach = 2 ^ class
  local low = class == WIDEST and -SECOND_OFFSET or math.max(first - reach, -SECOND_OFFSET)
  found = redis.call('ZRANGEBYSCORE', KEYS[2], base + math.max(low - NEAR_S, -SECOND_OFFSET),
    base + math.min(last + NEAR_S, SECOND_OFFSET), 'WITHSCORES')
  for at = 1, #found, 2 do
    local begins = tonumber(found[at + 1]) - base
    local number, dir = string.match(found[at], '^(%d+):(.*)$')
    if begins >= low and begins <= last then
      cells[#cells + 1] = { member = found[at], number = tonumber(number), dir = dir }
    end
    if not is_near[dir] then
      is_near[dir] = true
      near[#near + 1] = dir
    end
  end
  class = class + 1
end

local unknown, days = {}, {}
for _, dir in ipairs(near) do
  if not checked_dirs[dir] then
    unknown[#unknown + 1] = dir
  end
  local day = day_of(dir)
  if not checked_days[day] then
    days[day] = true
  end
end
for first_of = 1, #unknown, 4000 do
  local some = { unpack(unknown, first_of, math.min(first_of + 3999, #unknown)) }
  if not dirs_agree(some, redis.call('HMGET', KEYS[3], unpack(some))) then
    return STALE
  end
end
for day in pairs(days) do
  if not day_agrees(day, redis.call('HGET', KEYS[4], day)) then
    return STALE
  end
end

-- Whether files of a dir can be asked for: `folder` is the beginning of a path.
local function in_folder(dir)
  local head = dir .. '/'
  return string.sub(head, 1, #job.folder) == job.folder or string.sub(job.folder, 1, #head) == head
end

local reply, bytes = { 'OK' }, 0
for _, cell in ipairs(cells) do
  local dir = cell.dir
  local state = load_state(states[dir] or nil)
  local outside = state.tail == cell.number and (state.min > before or state.max < after)
  if not outside and (job.folder == '' or in_folder(dir)) then
    local records = redis.call('GET', job.cell_prefix .. cell.member)
    if not records then
      return STALE
    end
    bytes = bytes + #records
    if bytes > job.most_bytes then
      return { 'MANY' }
    end
    reply[#reply + 1], reply[#reply + 2] = dir, records
  end
end
return reply
