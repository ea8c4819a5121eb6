-- Closes a window of an account that is being erased, if it is what its caller copied: nothing is decided in it from then on.
--
-- Keys: the window, its buckets. Arguments: the window as the caller saw it, '' for none; what a closed one holds.
-- Answers: 0 and the time. 1 and the time: it has changed.

local call = redis.call
local time = call('TIME')
time = time[1] * 1000 + math.floor(time[2] / 1000)
if (call('GET', KEYS[1]) or '') ~= ARGV[1] then return { 1, time } end
call('SET', KEYS[1], ARGV[2])
call('DEL', KEYS[2])
return { 0, time }
