-- The times of a stored document in microseconds, rounded down, for the scripts that look at documents by
-- their times. Nanoseconds would not fit a number of Lua's.

local NUMBER = '"(%-?%d+)"'
local OURS = '"str_min_time":' .. NUMBER .. ',"str_max_time":' .. NUMBER
  .. ',"str_chunk_time":"%-?%d*","min_time":0,"max_time":0,"chunk_time":0,"cmd":"ADD"}$'

-- Of digits, by cutting three of them off. Rounded once, as the client rounds: centuries away, where not
-- every microsecond is a number, one that is taken off what was rounded already would be lost.
local function microseconds(text)
  if string.sub(text, 1, 1) ~= '-' or string.sub(text, -3) == '000' then
    return tonumber(string.sub(text, 1, -4)) or 0
  end
  local digits = string.sub(text, 2, -4)
  local seconds, rest = tonumber(string.sub(digits, 1, -7)) or 0, tonumber(string.sub(digits, -6)) or 0
  return -(seconds * 1e6 + (rest + 1))
end

-- Of a number that may have been rounded: `to` is -1 for what is surely not later, 1 for not earlier.
local function about(number, to)
  return math.floor((tonumber(number) or 0) / 1000) + 2 * to
end

local function bound(text, number, to)
  if type(text) == 'string' and string.find(text, '^%-?%d+$') then
    return microseconds(text)
  end
  if type(text) == 'string' and text ~= '' then
    return nil
  end
  return about(number ~= cjson.null and number or 0, to)
end

-- The times of a document, whoever wrote it. One that can't be read overlaps everything: whoever asks is
-- to be told of it.
local function times_of(document)
  local min, max = string.match(document, OURS, -260)
  if min then
    return microseconds(min), microseconds(max)
  end
  local ok, entry = pcall(cjson.decode, document)
  if ok and type(entry) == 'table' then
    min, max = bound(entry.str_min_time, entry.min_time, -1), bound(entry.str_max_time, entry.max_time, 1)
  end
  if min and max then
    return min, max
  end
  return -math.huge, math.huge
end
