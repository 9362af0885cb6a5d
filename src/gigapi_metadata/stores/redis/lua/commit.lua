-- Adds entries, removes entries and ends a plan: all of it or nothing (FORMAT, "What adding a file
-- does", "What removing a file does", "Leasing and ending a plan").
--
-- KEYS[1]  receipt   (string)      KEYS[3]  ended     (sorted set)
-- KEYS[2]  folders   (hash)        KEYS[4]  attempts  (hash)     KEYS[5]  targets  (hash)
-- KEYS[6…] files hashes and queue lists, by the indices in ARGV[1]
-- ARGV[1]  JSON:
--   token, receipt_s        the receipt and how long to keep it
--   seed                    random; the ids made here are drawn from it
--   groups                  [{files, dir, count, queue?, max_size?, timeout_s?}]: `count` entries of one
--                           dir for one queue; `files`, `queue` index KEYS. max_size: it is a merge queue
--   removals                [{files, dir, count}]
--   drop                    {prefix, database, table, grace_s}; queues are <prefix><layer>:<writer>:idle
--   ends?                   {queue, id, lease_s, mark, path_to, memory_s}: `queue` indexes the processing list
-- ARGV[2…] for each entry of each group: path, document, and its size (merge) or item (move), or ''
--          then for each removal: path
-- Returns  'OK' | 'LOST' (lease) | 'GONE' and the path of a source that is not there
--
-- Drop queues follow from the stored documents, so they can't be declared; they lie beside the rest.

local job = cjson.decode(ARGV[1])
local answer = receipt_read(KEYS[1], job.token)
if answer then
  return { answer }
end
local now = server_time()

-- 1. Read and decide. Nothing is written before everything has been read: Redis does not roll back.

local ending
if job.ends then
  local _, item = find_leased(KEYS[job.ends.queue], job.ends.id, job.ends.lease_s)
  if not item then
    if redis.call('ZSCORE', KEYS[3], job.ends.mark) then
      return { 'OK' }
    end
    return { 'LOST' }
  end
  ending = item
end

local next_id = 0
local function draw_id()
  next_id = next_id + 1
  return uuid(job.seed, next_id)
end

-- The last waiting merge plan of a queue, as {head, size}: head is its text up to the last path.
local function open_plan(key)
  local item = redis.call('LINDEX', key, -1)
  if not item then
    return nil
  end
  local head, size = string.match(item, '^(.*")%],"size":([%d%.eE%+%-]+)}$')
  if head then
    return { head = head, size = tonumber(size) }
  end
  local fields = decode_item(item, key)
  if type(fields.paths) ~= 'table' or type(fields.size) ~= 'number' or #fields.paths == 0 then
    return nil
  end
  local paths = cjson.encode(fields.paths)
  return {
    head = '{"id":' .. cjson.encode(text_of(fields.id))
      .. string.format(',"time_s":%.0f', due_of(item))
      .. ',"paths":' .. string.sub(paths, 1, -2),
    size = fields.size,
  }
end

local arg = 2
for _, group in ipairs(job.groups) do
  local files = KEYS[group.files]
  local pairs_to_set, new = {}, {}
  for _ = 1, group.count do
    local path, extra = ARGV[arg], ARGV[arg + 2]
    pairs_to_set[#pairs_to_set + 1] = path
    pairs_to_set[#pairs_to_set + 1] = ARGV[arg + 1]
    if redis.call('HEXISTS', files, path) == 0 then
      new[#new + 1] = { path = path, extra = extra }
    end
    arg = arg + 3
  end
  group.pairs, group.new = pairs_to_set, #new
  group.pushes = {}
  if #new > 0 then
    group.held = tonumber(redis.call('HGET', KEYS[2], group.dir) or 0) or 0
  end
  if group.queue and #new > 0 then
    if group.max_size then
      local plan = open_plan(KEYS[group.queue])
      local pieces, extended
      local function close()
        if pieces then
          local text = table.concat(pieces) .. string.format('],"size":%.0f}', plan.size)
          if extended then
            group.last = text
          else
            group.pushes[#group.pushes + 1] = text
          end
        end
      end
      for _, file in ipairs(new) do
        local size = tonumber(file.extra)
        if plan and plan.size + size <= group.max_size then
          if not pieces then
            pieces, extended = { plan.head }, true
          end
          pieces[#pieces + 1] = ','
          plan.size = plan.size + size
        else
          close()
          plan, extended = { size = size }, false
          pieces = { string.format('{"id":"%s","time_s":%.0f,"paths":[', draw_id(), now + group.timeout_s) }
        end
        pieces[#pieces + 1] = cjson.encode(file.path)
      end
      close()
    else
      redis.call('LLEN', KEYS[group.queue]) -- a key of another type shows here, not half-way through
      for _, file in ipairs(new) do
        group.pushes[#group.pushes + 1] = file.extra
      end
    end
  end
end

local drops, drop_order = {}, {}
for _, group in ipairs(job.removals) do
  group.paths = {}
  for _ = 1, group.count do
    local path = ARGV[arg]
    local document = redis.call('HGET', KEYS[group.files], path)
    if document then
      group.paths[#group.paths + 1] = path
      local layer, writer = place_of(document)
      local key = job.drop.prefix .. layer .. ':' .. writer .. ':idle'
      if not drops[key] then
        redis.call('LLEN', key)
        drops[key] = {}
        drop_order[#drop_order + 1] = key
      end
      drops[key][#drops[key] + 1] = '{"id":"' .. draw_id() .. '"'
        .. string.format(',"time_s":%.0f', now + job.drop.grace_s)
        .. ',"writer_id":' .. cjson.encode(writer)
        .. ',"database":' .. cjson.encode(job.drop.database)
        .. ',"table":' .. cjson.encode(job.drop.table)
        .. ',"layer":' .. cjson.encode(layer)
        .. ',"path":' .. cjson.encode(path) .. '}'
    elseif job.ends then
      return { 'GONE', path }
    end
    arg = arg + 1
  end
  if #group.paths > 0 then
    redis.call('HGET', KEYS[2], group.dir)
  end
end

-- 2. Write.

local CHUNK = 4000 -- arguments to one call; Lua's stack takes under 8,000

local function in_chunks(command, key, values)
  for first = 1, #values, CHUNK do
    redis.call(command, key, unpack(values, first, math.min(first + CHUNK - 1, #values)))
  end
end

for _, group in ipairs(job.groups) do
  in_chunks('HSET', KEYS[group.files], group.pairs)
  if group.new > 0 then
    -- GigAPI can leave a count below zero; what is counted from there would stay wrong.
    redis.call('HSET', KEYS[2], group.dir, string.format('%.0f', math.max(group.held, 0) + group.new))
  end
  if group.last then
    redis.call('LSET', KEYS[group.queue], -1, group.last)
  end
  if #group.pushes > 0 then
    in_chunks('RPUSH', KEYS[group.queue], group.pushes)
  end
end

for _, group in ipairs(job.removals) do
  if #group.paths > 0 then
    in_chunks('HDEL', KEYS[group.files], group.paths)
    if redis.call('HINCRBY', KEYS[2], group.dir, -#group.paths) <= 0 then
      redis.call('HDEL', KEYS[2], group.dir)
    end
  end
end
for _, key in ipairs(drop_order) do
  in_chunks('RPUSH', key, drops[key])
end

if ending then
  redis.call('LREM', KEYS[job.ends.queue], 1, ending)
  redis.call('ZADD', KEYS[3], now, job.ends.mark)
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - job.ends.memory_s)
  redis.call('HDEL', KEYS[4], job.ends.id)
  redis.call('HDEL', KEYS[5], job.ends.path_to)
end
receipt_write(KEYS[1], job.token, 'OK', job.receipt_s)
return { 'OK' }
