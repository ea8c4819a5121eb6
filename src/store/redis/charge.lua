-- Adds charges to one window that were made elsewhere, whatever its limits are: what a node sent alone, or a history that moves here.
--
-- Arguments: the time, or '' for the server's own; the form of the numbers, and the numbers; the time to live; then, oldest first, at how
-- many milliseconds from now charges count, negative for the past, each time with how many. Numbers: until when the caller waits,
-- by the server's clock, or 0; the margin; the history.
-- Answers: 0 and the time. 1 and the time: it came too late, and nothing was done.

local waits_until, margin, history = numbers[1], numbers[2], numbers[3]
if waits_until > 0 and time + EPOCH >= waits_until then return { 1, time + EPOCH } end
local w = windows[1]
if w.earliest > 0 and now >= w.earliest then seldom().expire(w, margin, history) end
for at = 5, #ARGV, 2 do
    local from_now = tonumber(ARGV[at])
    -- Rounded up, so that no slot opens early.
    if -from_now < history then record(w, now + 1 + from_now, tonumber(ARGV[at + 1]), history) end
end
if w.changed then save(w, history, ARGV[4], time + ARGV[4] - 3600000) end
return { 0, time + EPOCH }
