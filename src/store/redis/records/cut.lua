-- Cuts a stream before an entry. What stays is written anew, because an entry that is deleted stands in its node, and in Redis' files, until
-- all entries of the node are.
--
-- Keys: the stream. Arguments: the first entry that stays; how many may stay.
-- Answers: 0 and the time. 1 and the time: more would stay, and nothing is done.

local call = redis.call
local time = call('TIME')
time = time[1] * 1000 + math.floor(time[2] / 1000)
local rest = call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2] + 1)
if #rest > tonumber(ARGV[2]) then return { 1, time } end
call('DEL', KEYS[1])
for _, entry in ipairs(rest) do call('XADD', KEYS[1], entry[1], unpack(entry[2])) end
return { 0, time }
