-- Adds recipients to a reservation as far as all its windows have room: store::windows::Windows::reserve, in Redis.
--
-- Arguments: the time, or '' for the server's own; the form of the numbers, and the numbers; the reservation's name; the time to live;
-- where the last change of records stands, and which it must be, or '' and ''. Numbers: until when the caller waits, by the server's
-- clock, or 0; how long it may stay open; the margin; the history; the recipients asked for and had, and how many may be granted;
-- whether they are granted in order (1) or all or none (0); then for each window whether it is charged for each recipient (1) or once
-- (0), whether it is observed (1) or enforced (0), how many limits it has, and of each its length and how many it allows.
-- Answers: 0, the time, the time that counted, recipients granted; unless all were and no limit is observed to be full, the
-- limit hit (window, limit, used, next slot), recipients that an observed limit would have refused, and that limit. 1 and the time: it came too late, and nothing was
-- done. 2 and the time: too many reservations are open. 3 and the time: the records have changed.

local waits_until, name = numbers[1], ARGV[4]
if waits_until > 0 and time + EPOCH >= waits_until then return { 1, time + EPOCH } end
if ARGV[6] ~= '' and call('GET', ARGV[6]) ~= ARGV[7] then return { 3, time + EPOCH } end
local history, wanted, had = numbers[4], numbers[5], numbers[6]

-- Whether all of them fit, as they mostly do.
local at, fit, fit_observed = 9, true, true
for place = 1, #windows do
    local w = windows[place]
    if w.earliest > 0 and now >= w.earliest then seldom().expire(w, numbers[3], history) end
    local charges = wanted
    if numbers[at] == 0 and had > 0 then charges = 0 elseif numbers[at] == 0 and wanted > 0 then charges = 1 end
    w.facts = at
    local limit = at + 3
    at = limit + 2 * numbers[at + 2]
    while limit < at and charges > 0 do
        if not admits(w, numbers[limit], numbers[limit + 1], w.open, charges) then
            if numbers[w.facts + 1] == 0 then fit = false else fit_observed = false end
        end
        limit = limit + 2
    end
end

local granted, hit, observed, observed_hit = math.min(wanted, numbers[7]), nil, 0, nil
if not (fit and fit_observed) then
    -- What more recipients cost when there are some already.
    local function cost(w, there, more)
        if numbers[w.facts] == 1 then return more end
        if there == 0 and more > 0 then return 1 end
        return 0
    end

    -- How many of the recipients fit into all windows of a kind.
    local function fitting(kind)
        local fits = wanted
        for _, w in ipairs(windows) do
            local charges = cost(w, had, wanted)
            if numbers[w.facts + 1] == kind and charges > 0 then
                for n = 1, numbers[w.facts + 2] do
                    local window, max = numbers[w.facts + 1 + 2 * n], numbers[w.facts + 2 + 2 * n]
                    if not admits(w, window, max, w.open, charges) then
                        fits = math.min(fits, math.max(0, max - w.open - seldom().used(w, now - window)))
                    end
                end
            end
        end
        return fits
    end

    -- Of the limits that have no room for those that come next, the one that opens last.
    local function latest_hit(kind, before, asked)
        local latest, latest_opens
        for place, w in ipairs(windows) do
            local open, charges = w.open + cost(w, had, before), cost(w, had + before, asked)
            if numbers[w.facts + 1] == kind and charges > 0 then
                for n = 1, numbers[w.facts + 2] do
                    local window, max = numbers[w.facts + 1 + 2 * n], numbers[w.facts + 2 + 2 * n]
                    if not admits(w, window, max, open, charges) then
                        local slot = seldom().next_slot(w, window, max, open, charges)
                        local opens = slot or math.huge
                        if not latest or opens > latest_opens then
                            latest = { place, n, seldom().used(w, now - window) + open, slot and slot + EPOCH or -1 }
                            latest_opens = opens
                        end
                    end
                end
            end
        end
        return latest
    end

    local in_order = numbers[8] == 1
    local asked = in_order and 1 or wanted
    granted = fitting(0)
    if granted < wanted and not in_order then granted = 0 end
    granted = math.min(granted, numbers[7])
    if granted < wanted then hit = latest_hit(0, granted, asked) end
    local fits = math.min(fitting(1), granted)
    if fits < granted then
        observed, observed_hit = granted - fits, latest_hit(1, fits, asked)
    end
end

-- What is reserved has to be there beyond its deadline; the time to live is an hour longer than that.
local until_then = time + ARGV[5] - 3600000
local full = false
if granted > 0 then
    for place = 1, #windows do
        full = full or #windows[place].entries >= OPEN_MAX * ENTRY and not find(windows[place], name)
    end
end
if granted > 0 and not full then
    local deadline = now + numbers[2]
    for place = 1, #windows do
        local w = windows[place]
        local entry, charges
        if w.entries ~= '' then entry, charges = find(w, name) end
        local more = granted
        if numbers[w.facts] == 0 then more = had == 0 and 1 or 0 end
        charges = (charges or 0) + more
        w.open, w.changed = w.open + more, true
        if charges > 0 then
            local new = pack('>c8I4I5', name, charges, deadline)
            w.entries = entry and sub(w.entries, 1, entry - 1) .. new .. sub(w.entries, entry + ENTRY) or w.entries .. new
            if w.earliest == 0 or deadline < w.earliest then w.earliest = deadline end
        end
    end
end
-- Of a full one, what had run out may be written in part already.
for place = 1, #windows do
    if windows[place].changed then save(windows[place], history, ARGV[5], until_then) end
end
if full then return { 2, time + EPOCH } end
if granted == wanted and observed == 0 then return { 0, time + EPOCH, now + EPOCH, granted } end
local none = { 0, 0, 0, 0 }
hit, observed_hit = hit or none, observed_hit or none
return { 0, time + EPOCH, now + EPOCH, granted, hit[1], hit[2], hit[3], hit[4],
    observed, observed_hit[1], observed_hit[2], observed_hit[3], observed_hit[4] }
