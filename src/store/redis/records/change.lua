-- Writes a record that still is what its caller saw, and tells all nodes of it.
--
-- Keys: the records, their head, the changes. Arguments: until when the caller waits, by the server's clock; the subject; its
-- record as the caller saw it, and as it becomes, '' where nothing is recorded; what the audit is told; the mark of the change;
-- how many changes are kept.
-- Answers: 0, the time, the number of the change. 1 and the time: it came too late. 2: there are no records. 3: the record is
-- another.

local call = redis.call
local time = call('TIME')
time = time[1] * 1000 + math.floor(time[2] / 1000)
if time >= tonumber(ARGV[1]) then return { 1, time } end
local head = call('GET', KEYS[2])
if not head then return { 2, time } end
local subject, seen, record = ARGV[2], ARGV[3], ARGV[4]
if (call('HGET', KEYS[1], subject) or '') ~= seen then return { 3, time } end
local number = tonumber(string.match(head, '^%d+')) + 1
if record == '' then call('HDEL', KEYS[1], subject) else call('HSET', KEYS[1], subject, record) end
call('SET', KEYS[2], string.format('%d:%s', number, ARGV[6]))
-- Each change names the one before it, so that nobody follows a history that is not its own.
call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[7], string.format('%d-0', number), 'before', head, 'mark', ARGV[6],
    'subject', subject, 'record', record, 'change', ARGV[5])
return { 0, time, number }
