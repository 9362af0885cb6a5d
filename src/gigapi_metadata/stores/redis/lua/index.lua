-- The time index: which files of a table may overlap a window, without reading a document. Put after
-- lib.lua, before the scripts that use it.
--
-- The files of a dir are listed in *cells*, strings of up to some hundred records, each a file's times
-- and its name. Cells are found through one sorted set by the class of their span and the second they
-- begin in, so that no cell's length need be known: one of class c is shorter than 2^c seconds, so
-- those that overlap [a, b] begin in (a - 2^c, b].
--
--   cells    sorted set   {n}:{dir} -> class and first second
--   cell     string       records of cell {n}:{dir}
--   state    hash         dir -> what is known of it, packed: see load_state
--   indexed  hash         day -> number of files indexed; /folders -> fields of folders:, /cells -> of cells
--   noted    hash         {layer}:{writer} -> id of the last item of that drop queue that is accounted for
--
-- Whatever a foreign writer adds or removes shows in one of: the number of files in a day (HLEN against
-- `indexed`), the count of a folder (`folders:` against `state`), the number of folders, and the end of
-- a drop queue (`noted`). Our own writes move both sides by the same amount and so keep a difference.

local CELL_BYTES = 32768 -- a cell that holds so much is full
local CLASS_WIDTH = 2 ^ 36
local SECOND_OFFSET = 2 ^ 34 -- what makes a second of any 64-bit time a number above 0
local WIDEST = 35

-- A record: min_time and max_time as doubles (rounded, so windows are widened by SLACK_NS), the length of
-- the name, the name.
local RECORD = '<ddH'
local RECORD_HEAD = 18
local SLACK_NS = 4096

-- Added to a day's count, it keeps that from being right until it is mended.
local BROKEN = -2 ^ 40

local function second_of(ns)
  return math.max(-SECOND_OFFSET, math.min(math.floor(ns / 1e9), SECOND_OFFSET))
end

local function score_of(min, max)
  local first = second_of(min)
  local class, reach = 0, 1
  local span = second_of(max) + 1 - first
  while reach < span and class < WIDEST do
    class, reach = class + 1, reach * 2
  end
  return class * CLASS_WIDTH + first + SECOND_OFFSET
end

-- What is known of a dir: `seen` is its count in folders: as far as it is accounted for; cells 1…tail may
-- be there; bytes, min and max are those of the last one; records are in all of them.
local function load_state(packed)
  if not packed then
    return { seen = 0, tail = 0, bytes = 0, min = math.huge, max = -math.huge, records = 0 }
  end
  local seen, tail, bytes, min, max, records = struct.unpack('<dddddd', packed)
  return { seen = seen, tail = tail, bytes = bytes, min = min, max = max, records = records }
end

local function pack_state(state)
  return struct.pack('<dddddd', state.seen, state.tail, state.bytes, state.min, state.max, state.records)
end

local function seen_in(packed)
  return packed and struct.unpack('<d', packed) or 0
end

local function day_of(dir)
  return string.match(dir, '^[^/]*')
end

-- The count of a folder as a number; GigAPI can leave it at zero or below, which is as good as none.
local function counted(text)
  return math.max(tonumber(text or 0) or 0, 0)
end

-- The id of a queue item that was written by anyone.
local function id_of(item)
  return item and (string.match(item, '"id"%s*:%s*"([^"]*)"') or item) or ''
end

-- The changes that a script makes to the index, written by `finish`: one state a dir, one count a day.
local Index = {}
Index.__index = Index

-- keys: {cells, state, indexed}, prefix: of the cells' keys
local function open_index(keys, prefix)
  return setmetatable({ keys = keys, prefix = prefix, states = {}, days = {}, cells = 0 }, Index)
end

function Index:state(dir)
  local state = self.states[dir]
  if not state then
    state = load_state(redis.call('HGET', self.keys.state, dir))
    self.states[dir] = state
  end
  return state
end

function Index:count(dir, number)
  local day = day_of(dir)
  self.days[day] = (self.days[day] or 0) + number
end

-- Lists files of a dir that it does not list yet: `records` of `number` files between min and max.
function Index:add(dir, records, number, min, max)
  local state = self:state(dir)
  if state.bytes >= CELL_BYTES or state.tail == 0 then
    state.tail, state.bytes = state.tail + 1, 0
  end
  local member = string.format('%.0f:', state.tail) .. dir
  local key, before = self.prefix .. member, nil
  if state.bytes == 0 then
    -- Whatever stands there was left over when other keys were lost.
    redis.call('SET', key, records)
    state.bytes, state.min, state.max = #records, min, max
    self.cells = self.cells + 1
  else
    before = score_of(state.min, state.max)
    local bytes = redis.call('APPEND', key, records)
    if bytes ~= state.bytes + #records then
      self:count(dir, BROKEN) -- a cell was lost
    end
    state.bytes = bytes
    state.min, state.max = math.min(state.min, min), math.max(state.max, max)
  end
  local score = score_of(state.min, state.max)
  if score ~= before then
    redis.call('ZADD', self.keys.cells, score, member)
  end
  state.records = state.records + number
  self:count(dir, number)
end

-- Calls visit(min, max, name, record) for each record of a cell.
local function each_record(cell, visit)
  local at, length = 1, #cell
  while at <= length do
    local min, max, size = struct.unpack(RECORD, cell, at)
    local stop = at + RECORD_HEAD + size
    visit(min, max, string.sub(cell, at + RECORD_HEAD, stop - 1), at, stop - 1)
    at = stop
  end
end

-- Takes the files out whose names are keys of `names`, as far as they are listed.
function Index:remove(dir, names)
  local state, left = self:state(dir), 0
  for _ in pairs(names) do
    left = left + 1
  end
  for number = state.tail, 1, -1 do
    if left == 0 then
      break
    end
    local member = string.format('%.0f:', number) .. dir
    local cell = redis.call('GET', self.prefix .. member)
    if cell then
      local kept, low, high, gone = {}, math.huge, -math.huge, 0
      each_record(cell, function(min, max, name, first, last)
        if names[name] then
          gone = gone + 1
        else
          kept[#kept + 1] = string.sub(cell, first, last)
          low, high = math.min(low, min), math.max(high, max)
        end
      end)
      if gone > 0 then
        local rest = table.concat(kept)
        if #kept > 0 then
          redis.call('SET', self.prefix .. member, rest)
          redis.call('ZADD', self.keys.cells, score_of(low, high), member)
        else
          redis.call('DEL', self.prefix .. member)
          self.cells = self.cells - redis.call('ZREM', self.keys.cells, member)
        end
        if number == state.tail then
          state.bytes, state.min, state.max = #rest, low, high
        end
        state.records = state.records - gone
        left = left - gone
        self:count(dir, -gone)
      end
    end
  end
end

-- The count of a dir in folders: went from one number to another.
function Index:recount(dir, before, after)
  local state = self:state(dir)
  state.seen = state.seen + math.max(after, 0) - math.max(before, 0)
end

-- folders: by how many fields folders: has grown.
function Index:finish(folders)
  local changed = {}
  for dir, state in pairs(self.states) do
    if state.records == 0 and state.seen == 0 then
      redis.call('HDEL', self.keys.state, dir)
    else
      changed[#changed + 1] = dir
      changed[#changed + 1] = pack_state(state)
    end
  end
  for first = 1, #changed, 4000 do
    redis.call('HSET', self.keys.state, unpack(changed, first, math.min(first + 3999, #changed)))
  end
  for day, number in pairs(self.days) do
    if number ~= 0 then
      if redis.call('HINCRBY', self.keys.indexed, day, string.format('%.0f', number)) == 0 then
        redis.call('HDEL', self.keys.indexed, day)
      end
    end
  end
  if self.cells ~= 0 then
    redis.call('HINCRBY', self.keys.indexed, '/cells', self.cells)
  end
  if folders ~= 0 then
    redis.call('HINCRBY', self.keys.indexed, '/folders', folders)
  end
end
