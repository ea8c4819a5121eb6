-- Lets one node of all do something for a while.
--
-- Keys: the lease, the number of the last one. Arguments: the node, and for how long. Answers: 0, the time, the lease's number, which
-- no other lease has, not even the same node's next one. 1 and the time: another node has it.

local call = redis.call
local time = call('TIME')
time = time[1] * 1000 + math.floor(time[2] / 1000)
local node, held = ARGV[1] .. '/', call('GET', KEYS[1])
if not held then
    local number = call('INCR', KEYS[2])
    call('SET', KEYS[1], node .. string.format('%d', number), 'PX', ARGV[2])
    return { 0, time, number }
end
if string.sub(held, 1, #node) ~= node then return { 1, time } end
call('PEXPIRE', KEYS[1], ARGV[2])
return { 0, time, tonumber(string.sub(held, #node + 1)) }
