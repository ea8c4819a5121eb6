-- Appends what one node tells all, once, and lets go what is oldest beyond a bound.
--
-- Keys: the stream, its head, the last number of the origin. Arguments: the form's version, the origin, its node, its number, its
-- events before, when it was put on its way (milliseconds), the body, a mark, how many octets the stream may hold, how long it
-- may hold anything (milliseconds), how long an origin is remembered (milliseconds), the entry from which to count on in a server
-- without a stream, whether it is the oldest of its origin that waits. Answers: 0, the time, the entry's number. 1, the time: it is
-- there already. 2, the time: those before it are not there any more, and have to come first.

local call = redis.call
local time = call('TIME')
time = time[1] * 1000 + math.floor(time[2] / 1000)
local number = tonumber(ARGV[4])
local last = tonumber(call('GET', KEYS[3]) or '0')
if number <= last then return { 1, time } end
if number > last + 1 and ARGV[13] == '0' then return { 2, time } end

-- The head: the last entry's number, its mark, and the octets of all entries up to it.
local at, mark, total
local head = call('GET', KEYS[2])
if head then
    at, mark, total = string.match(head, '^(%d+):(-?%d+):(%d+)$')
else
    local newest = call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
    at, mark, total = ARGV[12], '0', '0'
    if newest then at = string.format('%d', math.max(tonumber(at), tonumber(string.match(newest[1], '^%d+')))) end
end
local before = at .. ':' .. mark
at, total = tonumber(at) + 1, tonumber(total) + #ARGV[7] + 128
call('XADD', KEYS[1], string.format('%d-0', at), 'v', ARGV[1], 'origin', ARGV[2], 'node', ARGV[3], 'number', ARGV[4],
    'events', ARGV[5], 'at', ARGV[6], 'before', before, 'mark', ARGV[8], 'total', string.format('%d', total), 'noted',
    string.format('%d', time), 'body', ARGV[7])
call('SET', KEYS[2], string.format('%d:%s:%d', at, ARGV[8], total))
call('SET', KEYS[3], ARGV[4], 'PX', ARGV[11])

-- A few at a time, so that a bound that was made lower is no long call.
for _ = 1, 64 do
    local oldest = call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
    if not oldest then break end
    local fields = {}
    for i = 1, #oldest[2], 2 do fields[oldest[2][i]] = oldest[2][i + 1] end
    local held = total - (tonumber(fields.total) or 0) + #(fields.body or '') + 128
    if held <= tonumber(ARGV[9]) and time - (tonumber(fields.noted) or 0) <= tonumber(ARGV[10]) then break end
    call('XDEL', KEYS[1], oldest[1])
end
return { 0, time, at }
