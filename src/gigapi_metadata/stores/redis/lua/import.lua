-- Queues plans of another catalog, behind those that wait. One that its queue holds already, waiting or
-- handed out, is left alone: doing it again has no effect.
--
-- KEYS[1]  receipt (string)   KEYS[2]  attempts (hash)   KEYS[3]  dropping (sorted set)
-- KEYS[4…] idle and processing lists, ready sorted sets of merges: by index below
-- ARGV[1]  MessagePack: token, receipt_s,
--   groups   [{idle, processing, plans, ready?, dir?}], one for each queue; ready and dir of merges:
--            plans [{id, item, due_s, record?, dropped?}]: item as it is to stand in the list, record
--            what to keep in `attempts`, dropped a member of `dropping`
-- Returns  how many plans were new, as text

local job = cmsgpack.unpack(ARGV[1])
local answer = receipt_read(KEYS[1], job.token)
if answer then
  return answer
end

-- 1. Read and decide. Whatever can fail fails here: Redis does not roll back.

read('HLEN', KEYS[2])
read('ZCARD', KEYS[3])
local function note_ids(known, key)
  for _, item in ipairs(redis.call('LRANGE', key, 0, -1)) do
    known[text_of(decode_item(item, key).id)] = true
  end
end
for _, group in ipairs(job.groups) do
  local known, new = {}, {}
  note_ids(known, KEYS[group.idle])
  note_ids(known, KEYS[group.processing])
  for _, plan in ipairs(group.plans) do
    if not known[plan.id] then
      known[plan.id] = true
      new[#new + 1] = plan
    end
  end
  group.new = new
  if group.ready then
    read('ZSCORE', KEYS[group.ready], group.dir)
  end
end

-- 2. Write.

local added = 0
for _, group in ipairs(job.groups) do
  local due
  for _, plan in ipairs(group.new) do
    redis.call('RPUSH', KEYS[group.idle], plan.item)
    due = math.min(due or plan.due_s, plan.due_s)
    if plan.record then
      redis.call('HSET', KEYS[2], plan.id, plan.record)
    end
    if plan.dropped then
      -- Of a file that was removed more than once, the last grace counts.
      redis.call('ZADD', KEYS[3], 'GT', plan.due_s, plan.dropped)
    end
    added = added + 1
  end
  if group.ready and due then
    redis.call('ZADD', KEYS[group.ready], 'LT', due, group.dir)
  end
end
answer = string.format('%.0f', added)
receipt_write(KEYS[1], job.token, answer, job.receipt_s)
return answer
