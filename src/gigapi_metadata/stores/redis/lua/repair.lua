-- Mends entries and queue items, each only while it is still as it was when that was decided, and counts
-- dirs anew. Made again it has no effect.
--
-- KEYS[1]  folders (hash)   KEYS[2]  indexed (hash)   KEYS[3]  set aside (hash)
-- KEYS[4…] files hashes, queue lists, ready sorted sets: by index below
-- ARGV[1]  MessagePack:
--   entries  [{files, path, old, keep, to?, to_path?, new?}]: `old` is the document under `path` in KEYS[files];
--            `new` goes to KEYS[to] under `to_path`, which must be the same place or free
--   path, old and dir are [offset, length] in ARGV[2]: they need not be valid text
--   items    [{list, old, keep, layer, living, dead, new?, idle?, ready?, dir?, day?}]: living, dead: [{files,
--            path}]; with idle, the new item goes to the head of that list; day: of a drop's file
--   days     [{files}]: whose dirs to count, beside those that lose or get a file
--   wrong    [{key, command}]: keys of our own to remove if they are of another type than `command` reads;
--            nothing else is done with them
-- ARGV[2]  what these stand for
-- Returns  [0 or 1 for each of wrong, or else of entries and then of items]

local job = cmsgpack.unpack(ARGV[1])
local done, recount, changed = {}, {}, {}
for _, each in ipairs(job.wrong) do
  local reply = redis.pcall(each.command, KEYS[each.key])
  local wrong = type(reply) == 'table' and reply.err and string.find(reply.err, 'WRONGTYPE', 1, true)
  done[#done + 1] = wrong and redis.call('DEL', KEYS[each.key]) or 0
end
if #done > 0 then
  return done
end
for at = 1, 3 do
  read('HLEN', KEYS[at])
end
local now = server_time()

local function text_at(part)
  return string.sub(ARGV[2], part[1] + 1, part[1] + part[2])
end

local function put_aside(name, text)
  local field, number = name, 1
  while true do
    local kept = redis.call('HGET', KEYS[3], field)
    if kept == text then
      return
    end
    if not kept then
      redis.call('HSET', KEYS[3], field, text)
      return
    end
    number = number + 1
    field = name .. '#' .. number
  end
end

local function day_in(key)
  return string.match(KEYS[key], '^files:[^:]*:[^:]*:(.*)$')
end

for _, each in ipairs(job.entries) do
  local path = text_at(each.path)
  local stored = redis.call('HGET', KEYS[each.files], path)
  local moves = each.new and (each.to ~= each.files or each.to_path ~= path)
  if stored ~= text_at(each.old) then
    done[#done + 1] = 0
  else
    local taken = moves and redis.call('HEXISTS', KEYS[each.to], each.to_path) == 1
    if each.keep or taken then
      put_aside(path, stored)
    end
    if moves or not each.new then
      redis.call('HDEL', KEYS[each.files], path)
    end
    if each.new and not taken then
      redis.call('HSET', KEYS[each.to], each.to_path, each.new)
      recount[each.to] = day_in(each.to)
    end
    recount[each.files] = day_in(each.files)
    done[#done + 1] = 1
  end
end

local function is_living(layer, place)
  local document = redis.call('HGET', KEYS[place.files], place.path)
  return document and place_of(document) == layer
end

local function holds(each)
  for _, place in ipairs(each.living) do
    if not is_living(each.layer, place) then
      return false
    end
  end
  for _, place in ipairs(each.dead) do
    if is_living(each.layer, place) then
      return false
    end
  end
  return true
end

local function position_of(key, item)
  for at, text in ipairs(redis.call('LRANGE', key, 0, -1)) do
    if text == item then
      return at - 1
    end
  end
end

for _, each in ipairs(job.items) do
  local old = text_at(each.old)
  local at = holds(each) and position_of(KEYS[each.list], old)
  if not at then
    done[#done + 1] = 0
  else
    if each.keep then
      put_aside(KEYS[each.list], old)
    end
    if each.new and not each.idle then
      redis.call('LSET', KEYS[each.list], at, each.new)
    else
      redis.call('LREM', KEYS[each.list], 1, old)
      if each.new then
        redis.call('LPUSH', KEYS[each.idle], each.new)
      end
    end
    if each.ready then
      -- Whoever asks for a plan next looks into this dir and notes what is really due.
      redis.call('ZADD', KEYS[each.ready], 'LT', now, text_at(each.dir))
    end
    if each.day then
      changed[each.day] = true -- the index may have yet to notice the removal by this very item
    end
    done[#done + 1] = 1
  end
end

for _, each in ipairs(job.days) do
  recount[each.files] = day_in(each.files)
end
if next(recount) then
  local counted = redis.call('HKEYS', KEYS[1])
  for key, day in pairs(recount) do
    local files = {}
    for _, path in ipairs(redis.call('HKEYS', KEYS[key])) do
      local dir = string.match(path, '^(.*)/[^/]*$') or ''
      if string.match(dir, '^[^/]*') == day then
        files[dir] = (files[dir] or 0) + 1
      end
    end
    for _, dir in ipairs(counted) do
      if string.match(dir, '^[^/]*') == day and not files[dir] then
        redis.call('HDEL', KEYS[1], dir)
      end
    end
    for dir, number in pairs(files) do
      redis.call('HSET', KEYS[1], dir, string.format('%.0f', number))
    end
    changed[day] = true
  end
end

-- The time index knows nothing of this: whoever asks it next is to make these days anew.
for day in pairs(changed) do
  redis.call('HSET', KEYS[2], day, string.format('%.0f', BROKEN), '/folders', '-1')
end
return done
