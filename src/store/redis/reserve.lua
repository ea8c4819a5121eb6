-- Adds recipients to a reservation as far as all its windows have room: store::windows::Windows::reserve, in Redis.
--
-- Arguments: the time, or '' for the server's own; until when the caller waits, by the server's clock, or 0; the
-- reservation's name; how long it may stay open; the margin; the history; the time to live; the recipients asked for and
-- had, and how many may be granted; 'all' or 'in-order'; where the last change of records stands, and which it must be, or '' and
-- ''; then for each window 'recipient' or 'transaction', 'enforce' or 'observe', and its limits.
-- Answers: 0, the time, the time that counted, recipients granted; unless all were and no limit is observed to be full, the
-- limit hit (window, limit, used, next slot), recipients that an observed limit would have refused, and that limit. 1 and the time: it came too late, and nothing was
-- done. 2 and the time: too many reservations are open. 3 and the time: the records have changed.

local waits_until, name = tonumber(ARGV[2]), ARGV[3]
if waits_until > 0 and time + EPOCH >= waits_until then return { 1, time + EPOCH } end
if ARGV[12] ~= '' and call('GET', ARGV[12]) ~= ARGV[13] then return { 3, time + EPOCH } end
local lifetime, margin = tonumber(ARGV[4]), tonumber(ARGV[5])
local history, ttl = tonumber(ARGV[6]), ARGV[7]
local wanted, had, most, in_order = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), ARGV[11] == 'in-order'
local at, any_observed = 14, false
for _, w in ipairs(windows) do
    w.per_recipient, w.observed = ARGV[at] == 'recipient', ARGV[at + 1] == 'observe'
    any_observed = any_observed or w.observed
    w.limits, at = read_limits(at + 2)
    if w.earliest > 0 and now >= w.earliest then seldom().expire(w, margin, history) end
end

-- What more recipients cost when there are some already.
local function cost(w, there, more)
    if w.per_recipient then return more end
    if there == 0 and more > 0 then return 1 end
    return 0
end

-- How many of the recipients fit into all windows of a kind.
local function fitting(observed)
    local fits = wanted
    for _, w in ipairs(windows) do
        local charges = cost(w, had, wanted)
        if w.observed == observed and charges > 0 then
            for _, limit in ipairs(w.limits) do
                if not admits(w, limit, w.open, charges) then
                    fits = math.min(fits, math.max(0, limit.max - w.open - seldom().used(w, now - limit.window)))
                end
            end
        end
    end
    return fits
end

local none = { 0, 0, 0, 0 }

-- Of the limits that have no room for those that come next, the one that opens last.
local function latest_hit(observed, before, asked)
    local hit, hit_opens
    for place, w in ipairs(windows) do
        if w.observed == observed then
            local open = w.open + cost(w, had, before)
            local charges = cost(w, had + before, asked)
            for number, limit in ipairs(w.limits) do
                if charges > 0 and not admits(w, limit, open, charges) then
                    local slot = seldom().next_slot(w, limit, open, charges)
                    local opens = slot or math.huge
                    if not hit or opens > hit_opens then
                        hit = { place, number, seldom().used(w, now - limit.window) + open, slot and slot + EPOCH or -1 }
                        hit_opens = opens
                    end
                end
            end
        end
    end
    return hit or none
end

local granted = fitting(false)
if granted < wanted and not in_order then granted = 0 end
if most < granted then granted = most end
local asked = in_order and 1 or wanted
local hit, observed_hit, observed = none, none, 0
if granted < wanted then hit = latest_hit(false, granted, asked) end
local fits = granted
if any_observed then fits = math.min(fitting(true), granted) end
if fits < granted then
    observed_hit = latest_hit(true, fits, asked)
    observed = granted - fits
end
if granted > 0 then
    for _, w in ipairs(windows) do
        local place, charges = find(w, name)
        if not place and #w.entries >= OPEN_MAX * ENTRY then return { 2, time + EPOCH } end
        w.place, w.charges = place, charges or 0
    end
    for _, w in ipairs(windows) do
        put(w, w.place, w.charges, name, w.charges + cost(w, had, granted), now + lifetime)
    end
end
for _, w in ipairs(windows) do save(w, history, ttl) end
if granted == wanted and observed == 0 then return { 0, time + EPOCH, now + EPOCH, granted } end
return { 0, time + EPOCH, now + EPOCH, granted, hit[1], hit[2], hit[3], hit[4],
    observed, observed_hit[1], observed_hit[2], observed_hit[3], observed_hit[4] }
