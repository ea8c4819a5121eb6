-- Erases an account: its windows go under other names, its record under another, and all nodes are told in the same moment, so that none of
-- them asks for a window under the old name afterwards.
--
-- Keys: the records, their head, the changes; then for each window its name, that of its buckets, and the new names of both. Arguments: until when the
-- caller waits, by the server's clock; the subject; its new name; the record under it, '' for none; what the audit is told; the marks of the two changes;
-- how many changes are kept.
-- Answers: 0, the time, the number of the last change. 1 and the time: it came too late. 2: there are no records. 4: a window has open reservations.

local call = redis.call
local TAIL, TAIL_FORM = 42, '>I2I5I5I4'
local time = call('TIME')
time = time[1] * 1000 + math.floor(time[2] / 1000)
if time >= tonumber(ARGV[1]) then return { 1, time } end
local head = call('GET', KEYS[2])
if not head then return { 2, time } end
-- Who was erased before has mail under way under the new name.
for at = 4, #KEYS, 2 do
    local tail = call('GETRANGE', KEYS[at], -TAIL, -1)
    if #tail == TAIL then
        local _, _, _, open = struct.unpack(TAIL_FORM, tail)
        if open > 0 then return { 4, time } end
    end
end
for at = 4, #KEYS, 4 do
    if call('EXISTS', KEYS[at]) == 1 then
        call('RENAME', KEYS[at], KEYS[at + 2])
        call('DEL', KEYS[at + 3])
        if call('EXISTS', KEYS[at + 1]) == 1 then call('RENAME', KEYS[at + 1], KEYS[at + 3]) end
    end
end
local number = tonumber(string.match(head, '^%d+'))
local function change(subject, record, mark)
    number = number + 1
    if record == '' then call('HDEL', KEYS[1], subject) else call('HSET', KEYS[1], subject, record) end
    call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[8], string.format('%d-0', number), 'before', head, 'mark', mark,
        'subject', subject, 'record', record, 'change', ARGV[5])
    head = string.format('%d:%s', number, mark)
    call('SET', KEYS[2], head)
end
change(ARGV[3], ARGV[4], ARGV[6])
change(ARGV[2], '', ARGV[7])
return { 0, time, number }
