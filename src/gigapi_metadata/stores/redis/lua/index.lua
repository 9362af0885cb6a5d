-- The time index: which files of a table may overlap a window, without reading a document. Put after
-- lib.lua, before the scripts that use it.
--
-- The files of a dir are listed in *cells*, strings of up to some hundred records, each a file's times
-- and its name. Cells are found through one sorted set by the class of their span and the second they
-- begin in, so that no cell's length need be known: one of class c is shorter than 2^c seconds, so
-- those that overlap [a, b] begin in (a - 2^c, b].
--
--   cells    sorted set   {n}:{dir} -> class and first second
--   cell     string       bounds, then records, of cell {n}:{dir}; cell 0 takes new files, 1… are full
--   full     hash         dir -> number of its full cells, where there are any
--   seen     hash         dir -> its count in folders:, as far as that is accounted for
--   indexed  hash         day -> number of files indexed; /folders -> fields of folders:, /cells -> members
--                         of cells, /noted -> fields of noted
--   noted    hash         {layer}:{writer} -> mark of the last item of that drop queue that is accounted for
--
-- Whatever a foreign writer adds or removes shows in one of: the number of files in a day (HLEN against
-- `indexed`), the count of a folder (`folders:` against `seen`), the number of folders, and the end of
-- a drop queue (`noted`). Our own writes move both sides by the same amount and so keep a difference.
--
-- Times are whole microseconds, rounded down, as doubles. Rounding keeps their order, so comparing them
-- finds every file that overlaps, and at most some that miss the window by less than a microsecond.

local CELL_BYTES = 32768 -- a cell that holds so much is full
local CLASS_WIDTH = 2 ^ 36
local SECOND_OFFSET = 2 ^ 34 -- what makes a second of any 64-bit time a number above 0
local WIDEST = 35

-- A record: min_time, max_time, the length of the name, the name. A cell's bounds: two times.
local RECORD = '<ddH'
local RECORD_HEAD = 18
local BOUNDS = '<dd'
local BOUNDS_BYTES = 16

-- Added to a day's count, it keeps that from being right until it is mended.
local BROKEN = -2 ^ 40

local function second_of(us)
  return math.max(-SECOND_OFFSET, math.min(math.floor(us / 1e6), SECOND_OFFSET))
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

local function day_of(dir)
  return string.match(dir, '^[^/]*')
end

-- The count of a folder as a number. GigAPI can leave it below zero; it changes with what is added all the
-- same. At zero it is as good as none.
local function counted(text)
  return tonumber(text or 0) or 0
end

-- What tells a queue item from others, '' for none. Not its id: GigAPI gives many items the same.
local function mark_of(item)
  return item and redis.sha1hex(item) or ''
end

local function map_of(key)
  local map, flat = {}, redis.call('HGETALL', key)
  for at = 1, #flat, 2 do
    map[flat[at]] = flat[at + 1]
  end
  return map
end

-- What others have put into drop queues since these were noted: calls `gone` with each path. Returns the
-- marks that are to be noted, by place.
local function foreign_drops(noted, drop_prefix, gone)
  local ends = {}
  for place, mark in pairs(noted) do
    local key = drop_prefix .. place .. ':idle'
    local last = redis.call('LINDEX', key, -1)
    if last and mark_of(last) ~= mark then
      local items = redis.call('LRANGE', key, 0, -1)
      for at = #items, 1, -1 do
        if mark_of(items[at]) == mark then
          break
        end
        local ok, fields = pcall(cjson.decode, items[at])
        if ok and type(fields) == 'table' then
          gone(text_of(fields.path))
        end
      end
      ends[place] = mark_of(last)
    end
  end
  return ends
end

local function member_of(number, dir)
  return string.format('%.0f:', number) .. dir
end

-- The changes that a script makes to the index. Cells are written at once, counts by `finish`.
local Index = {}
Index.__index = Index

-- keys: {cells, full, seen, indexed, noted}, prefix: of the cells' keys
local function open_index(keys, prefix)
  local index = { keys = keys, prefix = prefix, open = {}, looked = {}, seen = {}, dirs = {}, days = {} }
  index.cells, index.places = 0, 0
  return setmetatable(index, Index)
end

local function check_numbers(key, fields, found)
  for at, text in ipairs(found) do
    if text and (not string.match(text, '^%-?%d+$') or #text > 15) then
      error('CORRUPT ' .. key .. ' counts ' .. fields[at] .. ' as ' .. string.sub(text, 1, 40), 0)
    end
  end
end

-- Reads what a change of this dir will write to, so that a key of another type, or a count that is none,
-- fails before any write. removes: files will be taken out of its cells.
function Index:look(dir, removes)
  local keys, member = self.keys, '0:' .. dir
  self.open[dir] = {
    bounds = read('GETRANGE', self.prefix .. member, 0, BOUNDS_BYTES - 1),
    listed = read('ZSCORE', keys.cells, member),
  }
  local full = read('HGET', keys.full, dir)
  check_numbers(keys.seen, { dir }, { read('HGET', keys.seen, dir) })
  check_numbers(keys.full, { dir }, { full })
  local day = day_of(dir)
  if not self.looked[day] then
    local totals = { day, '/cells', '/noted', '/folders' }
    check_numbers(keys.indexed, totals, read('HMGET', keys.indexed, unpack(totals)))
    self.looked[day] = true
  end
  for number = 1, removes and tonumber(full or 0) or 0 do
    read('STRLEN', self.prefix .. member_of(number, dir))
  end
end

function Index:count(dir, number)
  local day = day_of(dir)
  self.days[day] = (self.days[day] or 0) + number
end

-- Lists files of a dir that it does not list yet: `records` of `number` files between min and max.
function Index:add(dir, records, number, min, max)
  local member = '0:' .. dir
  local key = self.prefix .. member
  if not self.open[dir] then
    self:look(dir)
  end
  local bounds, listed = self.open[dir].bounds, self.open[dir].listed
  local size, score
  self.open[dir] = nil
  if #bounds < BOUNDS_BYTES or not listed then
    size, score = BOUNDS_BYTES + #records, score_of(min, max)
    redis.call('SET', key, struct.pack(BOUNDS, min, max) .. records)
    self.cells = self.cells + redis.call('ZADD', self.keys.cells, score, member)
    if listed or #bounds > 0 then
      self:count(dir, BROKEN) -- this cell was lost, or which there are
    end
  else
    local low, high = struct.unpack(BOUNDS, bounds)
    size = redis.call('APPEND', key, records)
    min, max = math.min(low, min), math.max(high, max)
    score = score_of(min, max)
    if min ~= low or max ~= high then
      redis.call('SETRANGE', key, 0, struct.pack(BOUNDS, min, max))
      if score ~= score_of(low, high) then
        redis.call('ZADD', self.keys.cells, score, member)
      end
    end
  end
  if size >= CELL_BYTES then
    local full = member_of(redis.call('HINCRBY', self.keys.full, dir, 1), dir)
    redis.call('SET', self.prefix .. full, redis.call('GET', key))
    redis.call('DEL', key)
    redis.call('ZREM', self.keys.cells, member)
    if redis.call('ZADD', self.keys.cells, score, full) == 0 then
      self:count(dir, BROKEN) -- the number of full cells was lost, and now a cell is
    end
  end
  self:count(dir, number)
end

-- Takes the named files out of a cell, if they are there. names: a set. Returns how many were.
function Index:take_out(number, dir, names)
  self.open[dir] = nil
  local member = member_of(number, dir)
  local key = self.prefix .. member
  local cell = redis.call('GET', key)
  if not cell then
    return 0
  end
  local kept, low, high, gone = {}, math.huge, -math.huge, 0
  local at, length = BOUNDS_BYTES + 1, #cell
  while at <= length do
    local min, max, size, stop
    if at + RECORD_HEAD - 1 <= length then
      min, max, size = struct.unpack(RECORD, cell, at)
      stop = at + RECORD_HEAD + size
    end
    if not stop or stop - 1 > length then
      self:count(dir, BROKEN) -- this cell was cut off
      return 0
    end
    if names[string.sub(cell, at + RECORD_HEAD, stop - 1)] then
      gone = gone + 1
    else
      kept[#kept + 1] = string.sub(cell, at, stop - 1)
      low, high = math.min(low, min), math.max(high, max)
    end
    at = stop
  end
  if gone > 0 and #kept > 0 then
    redis.call('SET', key, struct.pack(BOUNDS, low, high) .. table.concat(kept))
    redis.call('ZADD', self.keys.cells, score_of(low, high), member)
  elseif gone > 0 then
    redis.call('DEL', key)
    self.cells = self.cells - redis.call('ZREM', self.keys.cells, member)
  end
  return gone
end

-- Takes the files out whose names are keys of `names`, as far as they are listed.
function Index:remove(dir, names)
  local left, gone = 0, 0
  for _ in pairs(names) do
    left = left + 1
  end
  local full = tonumber(redis.call('HGET', self.keys.full, dir) or 0)
  for number = full, 0, -1 do
    gone = gone + self:take_out((number + 1) % (full + 1), dir, names)
    if gone == left then
      break
    end
  end
  self:count(dir, -gone)
end

-- The count of a dir in folders: went from one number to another.
function Index:recount(dir, before, after)
  if not self.seen[dir] then
    self.dirs[#self.dirs + 1] = dir
  end
  self.seen[dir] = (self.seen[dir] or 0) + after - before
end

-- The drop queue of a place is accounted for up to the item of this mark.
function Index:note(place, mark)
  self.places = self.places + redis.call('HSET', self.keys.noted, place, mark)
end

-- folders: by how many fields folders: has grown.
function Index:finish(folders)
  local function add(key, field, number)
    if number ~= 0 and redis.call('HINCRBY', key, field, string.format('%.0f', number)) == 0 then
      redis.call('HDEL', key, field)
    end
  end
  -- In the order in which folders: got them: what has one order is compared quickly.
  for _, dir in ipairs(self.dirs) do
    add(self.keys.seen, dir, self.seen[dir])
  end
  for day, number in pairs(self.days) do
    add(self.keys.indexed, day, number)
  end
  add(self.keys.indexed, '/cells', self.cells)
  add(self.keys.indexed, '/noted', self.places)
  add(self.keys.indexed, '/folders', folders)
end
