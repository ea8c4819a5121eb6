-- Writes records into a server that has none, some at a time, for whoever has the lease to do so.
--
-- Keys: the lease, the records, their head, the changes. Arguments: the lease as it must stand there, for how long it holds from
-- now on, 'begin' or 'go-on' or the head that ends it; then subjects, each with its record. Answers: 0 and the time. 1: the lease is
-- another's, or there are records by now.

local call = redis.call
local time = call('TIME')
time = time[1] * 1000 + math.floor(time[2] / 1000)
if call('GET', KEYS[1]) ~= ARGV[1] or call('EXISTS', KEYS[3]) == 1 then return { 1, time } end
call('PEXPIRE', KEYS[1], ARGV[2])
-- What somebody left behind who did not come to the end.
if ARGV[3] == 'begin' then call('UNLINK', KEYS[2], KEYS[4]) end
for at = 4, #ARGV, 2 do call('HSET', KEYS[2], ARGV[at], ARGV[at + 1]) end
if ARGV[3] ~= 'begin' and ARGV[3] ~= 'go-on' then
    call('SET', KEYS[3], ARGV[3])
    call('DEL', KEYS[1])
end
return { 0, time }
