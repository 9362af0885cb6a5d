-- The times of a stored document, for the scripts that look at documents by their times.

local NUMBER = '"(%-?%d+)"'
local OURS = '"str_min_time":' .. NUMBER .. ',"str_max_time":' .. NUMBER
  .. ',"str_chunk_time":"%-?%d*","min_time":0,"max_time":0,"chunk_time":0,"cmd":"ADD"}$'

local function exact(text, rounded)
  if type(text) == 'string' and text ~= '' then
    return tonumber(text)
  end
  return rounded == cjson.null and 0 or tonumber(rounded or 0)
end

-- The times of a document, whoever wrote it. One that can't be read overlaps everything: whoever asks is
-- to be told of it.
local function times_of(document)
  local min, max = string.match(document, OURS, -260)
  if min then
    return tonumber(min), tonumber(max)
  end
  local ok, entry = pcall(cjson.decode, document)
  if ok and type(entry) == 'table' then
    min, max = exact(entry.str_min_time, entry.min_time), exact(entry.str_max_time, entry.max_time)
  end
  if min and max then
    return min, max
  end
  return -math.huge, math.huge
end
