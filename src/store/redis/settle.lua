-- Gives charges of a reservation back or stamps them as sent: store::windows::Windows::settle and release, in Redis. What
-- is not open is left alone, so a call that is made twice counts once.
--
-- Arguments: the time, or '' for the server's own; the reservation's name; the margin; the history; the time to live;
-- 'sent', 'unknown' or 'refunded'; then for each window how many charges are stamped, how many stay open, and its limits.
-- Answers: 0, the time, the time that counted; then, for each limit of which four fifths are used by what was stamped:
-- window, limit, charges sent, charges open.

local name, margin, history, ttl = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
-- Rounded up, so that no slot opens early.
local moment = now + 1
if ARGV[6] == 'unknown' then moment = now + margin end
local answer, at = { 0, time + EPOCH, now + EPOCH }, 7

-- The charges in the window, if they are four fifths of the limit; one look where they are not.
local function near(w, limit)
    local cutoff, n = now - limit.window, math.ceil(limit.max * 8 / 10) - 1
    local must_be_there
    if limit.max == 0 then return nil end
    if n < w.stamps then
        must_be_there = stamp(w, w.stamps - 1 - n)
    elseif w.buckets > 0 then
        must_be_there = seldom().nth_newest(w, n)
    end
    if not must_be_there or must_be_there <= cutoff then return nil end
    return seldom().used(w, cutoff)
end

for place, w in ipairs(windows) do
    local stamped, stays = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
    local limits
    limits, at = read_limits(at + 2)
    if w.earliest > 0 and now >= w.earliest then seldom().expire(w, margin, history) end
    local entry, had, deadline = find(w, name)
    if entry then
        put(w, entry, had, name, stays, deadline)
        if stamped > 0 then record(w, moment, stamped, history) end
        for number, limit in ipairs(limits) do
            local sent = stamped > 0 and near(w, limit)
            if sent then
                for _, value in ipairs({ place, number, sent, w.open }) do answer[#answer + 1] = value end
            end
        end
    end
    save(w, history, ttl)
end
return answer
