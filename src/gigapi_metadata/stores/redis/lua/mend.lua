-- Brings the time index up to what is stored: finds the days that were changed by others, and lists their
-- files anew. Safe to repeat; a call does a part of the work, so that the server is not held up for long.
--
-- KEYS[1]  folders   KEYS[2]  cells   KEYS[3]  state   KEYS[4]  indexed   KEYS[5]  noted
-- ARGV[1]  MessagePack: cell_prefix, files_prefix, drop_prefix; anew: forget the index first;
--          budget: after how many files to stop
-- Returns  how many days are left to do
--
-- files, cell and drop keys follow from stored data, so they can't be declared; they lie beside the rest.

local job = cmsgpack.unpack(ARGV[1])

local function map_of(key)
  local map, flat = {}, redis.call('HGETALL', key)
  for at = 1, #flat, 2 do
    map[flat[at]] = flat[at + 1]
  end
  return map
end

if job.anew or redis.call('ZCARD', KEYS[2]) ~= tonumber(redis.call('HGET', KEYS[4], '/cells') or 0) then
  for _, member in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    redis.call('DEL', job.cell_prefix .. member)
  end
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
end

local counts, states, indexed, noted = map_of(KEYS[1]), map_of(KEYS[3]), map_of(KEYS[4]), map_of(KEYS[5])
local dirs_of, dirty = {}, {}
local function note_dir(dir)
  local day = day_of(dir)
  dirs_of[day] = dirs_of[day] or {}
  dirs_of[day][dir] = true
  if counted(counts[dir]) ~= seen_in(states[dir]) then
    dirty[day] = true
  end
end
for dir in pairs(counts) do
  note_dir(dir)
end
for dir in pairs(states) do
  note_dir(dir)
end
for day in pairs(indexed) do
  if string.sub(day, 1, 1) ~= '/' then
    dirs_of[day] = dirs_of[day] or {}
  end
end
for place, id in pairs(noted) do
  local key = job.drop_prefix .. place .. ':idle'
  local last = redis.call('LINDEX', key, -1)
  if last and id_of(last) ~= id then
    local items = redis.call('LRANGE', key, 0, -1)
    for at = #items, 1, -1 do
      if id_of(items[at]) == id then
        break
      end
      local ok, fields = pcall(cjson.decode, items[at])
      if ok and type(fields) == 'table' then
        local day = day_of(text_of(fields.path))
        dirs_of[day] = dirs_of[day] or {}
        dirty[day] = true
      end
    end
    redis.call('HSET', KEYS[5], place, id_of(last))
  end
end
local todo = {}
for day in pairs(dirs_of) do
  if dirty[day] or redis.call('HLEN', job.files_prefix .. day) ~= tonumber(indexed[day] or 0) then
    -- Should this be the last call, the day still counts as changed.
    redis.call('HSET', KEYS[4], day, string.format('%.0f', BROKEN))
    todo[#todo + 1] = day
  end
end
table.sort(todo)

local CELL_FILES = 512

local function list_day(day)
  for dir in pairs(dirs_of[day]) do
    for number = 1, load_state(states[dir]).tail do
      local member = string.format('%.0f:', number) .. dir
      redis.call('DEL', job.cell_prefix .. member)
      redis.call('ZREM', KEYS[2], member)
    end
    redis.call('HDEL', KEYS[3], dir)
  end
  redis.call('HDEL', KEYS[4], day)
  local index = open_index({ cells = KEYS[2], state = KEYS[3], indexed = KEYS[4] }, job.cell_prefix)
  local flat, files, places = redis.call('HGETALL', job.files_prefix .. day), {}, {}
  for at = 1, #flat, 2 do
    local dir, name = string.match(flat[at], '^(.*)/([^/]*)$')
    if not dir then
      dir, name = '', flat[at]
    end
    local min, max = times_of(flat[at + 1])
    files[dir] = files[dir] or {}
    table.insert(files[dir], { min = min, max = max, record = struct.pack(RECORD, min, max, #name) .. name })
    local layer, writer = place_of(flat[at + 1])
    places[layer .. ':' .. writer] = true
  end
  for dir, listed in pairs(files) do
    table.sort(listed, function(a, b) return a.min < b.min end)
    for first = 1, #listed, CELL_FILES do
      local records, max, last = {}, -math.huge, math.min(first + CELL_FILES - 1, #listed)
      for at = first, last do
        records[#records + 1] = listed[at].record
        max = math.max(max, listed[at].max)
      end
      index:add(dir, table.concat(records), #records, listed[first].min, max)
    end
    dirs_of[day][dir] = true
  end
  for dir in pairs(dirs_of[day]) do
    index:recount(dir, 0, counted(counts[dir]))
  end
  index:finish(0)
  for place in pairs(places) do
    if not noted[place] then
      noted[place] = id_of(redis.call('LINDEX', job.drop_prefix .. place .. ':idle', -1) or nil)
      redis.call('HSET', KEYS[5], place, noted[place])
    end
  end
  return #flat / 2
end

local done, at = 0, 0
while at < #todo and done < job.budget do
  at = at + 1
  done = done + list_day(todo[at])
end
local agreed = at == #todo and redis.call('HLEN', KEYS[1]) or -1
redis.call('HSET', KEYS[4], '/folders', agreed, '/cells', redis.call('ZCARD', KEYS[2]))
return #todo - at
