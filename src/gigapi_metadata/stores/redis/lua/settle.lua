-- Settles a write whose answer never came. If it was made, its answer is there; if not, it is void: should
-- it still arrive, it finds this answer and does nothing.
--
-- KEYS[1]  receipt (string) of that write
-- ARGV[1]  MessagePack: token (of that write), receipt_s
-- Returns  that write's answer | 'VOID'

local job = cmsgpack.unpack(ARGV[1])
local answer = receipt_read(KEYS[1], job.token)
if answer then
  return answer
end
receipt_write(KEYS[1], job.token, 'VOID', job.receipt_s)
return 'VOID'
