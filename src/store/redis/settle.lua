-- Gives charges of a reservation back or stamps them as sent: store::windows::Windows::settle and release, in Redis. What
-- is not open is left alone, so a call that is made twice counts once.
--
-- Arguments: the time, or '' for the server's own; the form of the numbers, and the numbers; the reservation's name; the time to live.
-- Numbers: the margin; the history; whether it is known when it was sent (1) or not (0); then for each window how many charges are
-- stamped, how many stay open, how many limits it has, and of each its length and how many it allows.
-- Answers: 0, the time, the time that counted; then, for each limit of which four fifths are used by what was stamped:
-- window, limit, charges sent, charges open.

local name, margin, history = ARGV[4], numbers[1], numbers[2]
-- Rounded up, so that no slot opens early.
local moment = now + 1
if numbers[3] == 0 then moment = now + margin end
local answer, at = { 0, time + EPOCH, now + EPOCH }, 4

for place = 1, #windows do
    local w = windows[place]
    if w.earliest > 0 and now >= w.earliest then seldom().expire(w, margin, history) end
    local entry, had, deadline
    if w.entries ~= '' then entry, had, deadline = find(w, name) end
    if entry then
        local stamped, stays = numbers[at], numbers[at + 1]
        local kept = ''
        if stays > 0 then kept = pack('>c8I4I5', name, stays, deadline) end
        if #w.entries == ENTRY then
            w.entries = kept
        else
            w.entries = sub(w.entries, 1, entry - 1) .. kept .. sub(w.entries, entry + ENTRY)
        end
        if w.entries == '' then w.earliest = 0 end
        w.open, w.changed = w.open - had + stays, true
        if stamped > 0 then
            record(w, moment, stamped, history)
            for n = 1, numbers[at + 2] do
                local max = numbers[at + 2 + 2 * n]
                local before = math.ceil(max * 8 / 10) - 1
                -- The charges in the window, if they are four fifths of the limit: if so many are behind one that is in it.
                if max > 0 and (before < w.stamps or w.buckets > 0) then
                    local cutoff = now - numbers[at + 1 + 2 * n]
                    local must_be_there
                    if before < w.stamps then
                        must_be_there = stamp(w, w.stamps - 1 - before)
                    else
                        must_be_there = seldom().nth_newest(w, before)
                    end
                    if must_be_there and must_be_there > cutoff then
                        for _, value in ipairs({ place, n, seldom().used(w, cutoff), w.open }) do answer[#answer + 1] = value end
                    end
                end
            end
        end
    end
    at = at + 3 + 2 * numbers[at + 2]
    if w.changed then save(w, history, ARGV[5], time + margin + history) end
end
return answer
