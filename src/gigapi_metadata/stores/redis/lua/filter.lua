-- The files of one day that overlap a window, read off the documents themselves. Read-only.
--
-- KEYS[1]  files (hash)
-- ARGV[1]  MessagePack: after, before (microseconds, rounded down), folder, suffix ('' for any)
-- Returns  {document, ...}; some may miss the window by less than a microsecond

local job = cmsgpack.unpack(ARGV[1])
local after, before = job.after, job.before
local folder, suffix = job.folder, job.suffix
local flat, found = redis.call('HGETALL', KEYS[1]), {}
for at = 1, #flat, 2 do
  local path = flat[at]
  if (folder == '' or string.sub(path, 1, #folder) == folder)
      and (suffix == '' or string.sub(path, -#suffix) == suffix) then
    local min, max = times_of(flat[at + 1])
    if min <= before and max >= after then
      found[#found + 1] = flat[at + 1]
    end
  end
end
return found
