-- What the scripts have in common: a window as Redis keeps it, and the questions that rules::window asks of it.
--
-- A key's text is: stamps, oldest first, STAMP octets each; open reservations, ENTRY octets each (name, charges, deadline);
-- room, which says nothing but in its last octets until when the key lives, if it is long enough; a tail of TAIL octets. It is read from its end and written in place where it has room, so a long log
-- costs no more than a short one, and none is rewritten for each charge: Redis hashes every text that a script holds. Charges beyond
-- the newest RECENT_MAX are in buckets under a key of their own, BUCKET octets each (oldest, newest, charges before it). Times are
-- milliseconds since 2020, in 5 octets until 2054. codec.rs reads the same form, and a test holds every answer equal to that of
-- rules::window.
--
-- What costs: a call of a command, a text by its length, a function by being made and by what it takes from outside, a table that
-- grows, a text that becomes a number or the other way round. So numbers come in one text (ARGV[3], as ARGV[2] says), and what is
-- seldom needed is made when it is, by `seldom`.

local STAMP, ENTRY, TAIL = 5, 17, 42
local TAIL_FORM = '>I2I5I5I4I4I4I4I4I4I6'
-- With what stands before it in the room.
local LIVES, LIVES_FORM = 5, '>I5I2I5I5I4I4I4I4I4I4I6'
local EPOCH = 1577836800000
-- How many reservations of one window may be open.
local OPEN_MAX = 8192

local call, pack, unpack, sub = redis.call, struct.pack, struct.unpack, string.sub
local numbers = { unpack(ARGV[2], ARGV[3]) }

local time = call('TIME')
time = time[1] * 1000 + math.floor(time[2] / 1000) - EPOCH
-- Only tests tell the time.
local now = time
if ARGV[1] ~= '' then now = ARGV[1] - EPOCH end

-- All windows of the call; the time that counts is the latest that any of them has seen.
local windows = {}
for at = 1, #KEYS, 2 do
    -- As much as a window has behind its log where few reservations are open.
    local text = call('GETRANGE', KEYS[at], '-192', '-1')
    local lives, version, high, earliest, open, stamps, entries, room, buckets, merged, total = 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0
    local length, octets = 0, ''
    if text ~= '' then
        if #text < LIVES + TAIL then
            version, high, earliest, open, stamps, entries, room, buckets, merged, total =
                unpack(TAIL_FORM, text, #text - TAIL + 1)
        else
            lives, version, high, earliest, open, stamps, entries, room, buckets, merged, total =
                unpack(LIVES_FORM, text, #text - LIVES - TAIL + 1)
            if room < LIVES then lives = 0 end
        end
        if version ~= 1 then error('a window of version ' .. version) end
        if high > now then now = high end
        length = stamps * STAMP + entries + room + TAIL
        if entries > 0 then
            local behind = entries + room + TAIL
            if behind > #text then text = call('GETRANGE', KEYS[at], -behind, -1) end
            octets = sub(text, #text - behind + 1, #text - room - TAIL)
        end
    end
    -- The log is in memory from its charge number `first` on, as a text, and is written from there; of what is before that, `text`
    -- has what it has.
    windows[#windows + 1] = { at = at, text = text, length = length, log = '', first = stamps, stamps = stamps, entries = octets,
        open = open, earliest = earliest, buckets = buckets, merged = merged, total = total,
        lives = lives, changed = false, anew = false, facts = 0 }
end

-- The stamp at a place of the log; the oldest has number 0.
local function stamp(w, place)
    if place >= w.first then return (unpack('>I5', w.log, (place - w.first) * STAMP + 1)) end
    local at = place * STAMP - w.length + #w.text
    if at >= 0 then return (unpack('>I5', w.text, at + 1)) end
    at = place * STAMP
    return (unpack('>I5', call('GETRANGE', KEYS[w.at], at, at + STAMP - 1)))
end

local made
local function seldom()
    if made then return made end

    local BUCKET = 16
    local RECENT_MAX, FOLD_MAX = 4096, 256
    local SUB_WINDOWS = 1000
    local COMPACT_MIN = 64

    -- The log from a place on is in memory afterwards.
    local function load_from(w, place)
        if place < w.first then
            w.log = call('GETRANGE', KEYS[w.at], place * STAMP, w.first * STAMP - 1) .. w.log
            w.first = place
        end
    end

    -- How many of `size` things in their order are not after the cutoff; `at` tells the time of one.
    local function count_left(size, cutoff, at)
        if size == 0 or at(0) > cutoff then return 0 end
        if at(size - 1) <= cutoff then return size end
        local low, high = 1, size - 1
        while low < high do
            local middle = math.floor((low + high) / 2)
            if at(middle) <= cutoff then low = middle + 1 else high = middle end
        end
        return low
    end

    local function left(w, cutoff)
        return count_left(w.stamps, cutoff, function(place) return stamp(w, place) end)
    end

    -- The oldest and newest stamp of a bucket, and how many charges are in those before it.
    local function bucket(w, place)
        local at = place * BUCKET
        return unpack('>I5I5I6', call('GETRANGE', KEYS[w.at + 1], at, at + BUCKET - 1))
    end

    local function older_used(w, cutoff)
        local gone = count_left(w.buckets, cutoff, function(place)
            local _, newest = bucket(w, place)
            return newest
        end)
        if gone == w.buckets then return 0 end
        local _, _, before = bucket(w, gone)
        return w.total - before
    end

    -- Charges after the cutoff.
    local function used(w, cutoff)
        local gone = left(w, cutoff)
        if gone > 0 or w.buckets == 0 then return w.stamps - gone end
        return w.stamps + older_used(w, cutoff)
    end

    local function nth_newest(w, n)
        if n < w.stamps then return stamp(w, w.stamps - 1 - n) end
        -- It is in the last bucket with fewer charges before it than that.
        local behind = w.total - (n - w.stamps)
        local place = count_left(w.buckets, behind - 1, function(place)
            local _, _, before = bucket(w, place)
            return before
        end)
        if place == 0 then return nil end
        local _, newest = bucket(w, place - 1)
        return newest
    end

    -- When the wanted charges would pass if everything open were settled now; nil if never.
    local function next_slot(w, window, max, open, wanted)
        local keep = max - wanted
        if keep < 0 then return nil end
        local settled = now + 1
        local later = used(w, settled)
        local must_leave
        if keep < later then
            must_leave = nth_newest(w, keep)
        elseif keep - later < open then
            must_leave = settled
        else
            must_leave = nth_newest(w, keep - open)
        end
        if not must_leave then return now end
        return math.max(must_leave + window, now)
    end

    local function pack_bucket(b) return pack('>I5I5I6', b.first, b.newest, b.before) end

    -- A bucket takes the next one if the two together are no wider than a thousandth of their age.
    local function may_take(b, newest) return (newest - b.first) * SUB_WINDOWS <= math.max(now - newest, 1000) end

    local function read_buckets(w)
        local text, all = call('GET', KEYS[w.at + 1]) or '', {}
        for at = 1, #text, BUCKET do
            local first, newest, before = unpack('>I5I5I6', text, at)
            if #all > 0 then all[#all].count = before - all[#all].before end
            all[#all + 1] = { first = first, newest = newest, before = before, count = w.total - before }
        end
        return all
    end

    local function write_buckets(w, all)
        local texts, before = {}, 0
        for place, b in ipairs(all) do
            b.before = before
            before = before + b.count
            texts[place] = pack_bucket(b)
        end
        w.buckets, w.total, w.anew = #all, before, true
        if #all == 0 then call('DEL', KEYS[w.at + 1]) else call('SET', KEYS[w.at + 1], table.concat(texts)) end
    end

    -- Merges buckets that have become old enough, once their number has doubled, and forgets what no window sees.
    local function compact(w, history)
        if w.buckets < 2 * w.merged + COMPACT_MIN then return end
        local all = {}
        for _, b in ipairs(read_buckets(w)) do
            local last = all[#all]
            if b.newest <= now - history then
                -- It has left.
            elseif last and may_take(last, b.newest) then
                last.newest, last.count = b.newest, last.count + b.count
            else
                all[#all + 1] = b
            end
        end
        write_buckets(w, all)
        w.merged = #all
    end

    -- Forgets what no window sees; the whole log is in memory afterwards.
    local function prune(w, history)
        load_from(w, 0)
        local gone = left(w, now - history)
        if gone == 0 then return end
        w.log, w.stamps, w.anew = sub(w.log, gone * STAMP + 1), w.stamps - gone, true
        if w.buckets > 0 then
            call('DEL', KEYS[w.at + 1])
            w.buckets, w.merged, w.total = 0, 0, 0
        end
    end

    -- Puts the oldest exact charges into buckets.
    local function fold(w, history)
        prune(w, history)
        local surplus = w.stamps - RECENT_MAX
        if surplus <= FOLD_MAX then return end
        local last, kept, texts = nil, w.buckets, {}
        if w.buckets > 0 then
            kept = w.buckets - 1
            local first, newest, before = bucket(w, kept)
            last = { first = first, newest = newest, before = before }
        end
        for place = 0, surplus - 1 do
            local moment = stamp(w, place)
            if last and may_take(last, moment) then
                last.newest = moment
            else
                if last then texts[#texts + 1] = pack_bucket(last) end
                last = { first = moment, newest = moment, before = w.total }
            end
            w.total = w.total + 1
        end
        texts[#texts + 1] = pack_bucket(last)
        call('SETRANGE', KEYS[w.at + 1], kept * BUCKET, table.concat(texts))
        w.buckets = kept + #texts
        w.log, w.stamps, w.anew = sub(w.log, surplus * STAMP + 1), w.stamps - surplus, true
        compact(w, history)
    end

    -- Adds charges that are not newer than the newest bucket.
    local function add_between(w, moment, count)
        local all = read_buckets(w)
        local at = 1
        while at <= #all and all[at].newest < moment do at = at + 1 end
        if all[at] and all[at].first <= moment then
            all[at].count = all[at].count + count
        else
            table.insert(all, at, { first = moment, newest = moment, count = count })
        end
        write_buckets(w, all)
    end

    -- Adds charges with one stamp, wherever it belongs.
    local function record(w, moment, count, history)
        w.changed = true
        while count > 0 do
            local some = math.min(count, FOLD_MAX)
            local _, newest
            if w.buckets > 0 then _, newest = bucket(w, w.buckets - 1) end
            if newest and moment < newest then
                add_between(w, moment, some)
            else
                local place = left(w, moment)
                load_from(w, place)
                local at = (place - w.first) * STAMP
                local new = string.rep(pack('>I5', moment), some)
                w.log = sub(w.log, 1, at) .. new .. sub(w.log, at + 1)
                w.stamps = w.stamps + some
                if w.stamps > RECENT_MAX + FOLD_MAX then fold(w, history) end
            end
            count = count - some
        end
    end

    -- Stamps as sent what its node left open beyond the deadline, later by the margin because it may have gone on until then.
    local function expire(w, margin, history)
        local kept, earliest = {}, 0
        for at = 1, #w.entries, ENTRY do
            local charges, deadline = unpack('>I4I5', w.entries, at + 8)
            if deadline <= now then
                record(w, deadline + margin, charges, history)
                w.open = w.open - charges
            else
                kept[#kept + 1] = sub(w.entries, at, at + ENTRY - 1)
                if earliest == 0 or deadline < earliest then earliest = deadline end
            end
        end
        w.entries, w.earliest, w.changed = table.concat(kept), earliest, true
    end

    -- Writes a window anew, without what no window sees and with room for what comes, and renews its time to live.
    local function rewrite(w, history, ttl)
        if w.stamps > 0 and stamp(w, 0) <= now - history then prune(w, history) end
        load_from(w, 0)
        local room = 64
        if #w.log > 512 then room = 128 end
        local text
        if w.stamps == 0 and w.entries == '' and w.buckets == 0 then
            -- A key without charges is kept for the time that it has seen.
            text, ttl = pack(TAIL_FORM, 1, now, 0, 0, 0, 0, 0, 0, 0, 0), '3600000'
        else
            text = w.log .. w.entries .. string.rep('\0', room - LIVES) .. pack(LIVES_FORM, time + ttl, 1, now, w.earliest, w.open,
                w.stamps, #w.entries, room, w.buckets, w.merged, w.total)
        end
        call('SET', KEYS[w.at], text, 'PX', ttl)
        if w.buckets > 0 then call('PEXPIRE', KEYS[w.at + 1], ttl) end
    end

    made = { left = left, older_used = older_used, used = used, nth_newest = nth_newest, next_slot = next_slot,
        record = record, expire = expire, rewrite = rewrite }
    return made
end

-- True if the wanted charges fit into a limit.
local function admits(w, window, max, open, wanted)
    local allowance = max - open - wanted
    if allowance < 0 then return false end
    if allowance < w.stamps then return stamp(w, w.stamps - 1 - allowance) <= now - window end
    return w.buckets == 0 or seldom().older_used(w, now - window) <= allowance - w.stamps
end

-- Adds charges with one stamp, which is rarely before another.
local function record(w, moment, count, history)
    if count == 0 then return end
    local is_last = w.buckets == 0
    if w.stamps > 0 then is_last = stamp(w, w.stamps - 1) <= moment end
    if not is_last or w.stamps + count > 4352 then return seldom().record(w, moment, count, history) end
    local new = pack('>I5', moment)
    if count > 1 then new = string.rep(new, count) end
    w.log, w.stamps, w.changed = w.log .. new, w.stamps + count, true
end

-- Where the reservation of this name begins among the open ones, with what it has charged and its deadline.
local function find(w, name)
    local from = 1
    while true do
        local at = string.find(w.entries, name, from, true)
        if not at then return nil end
        if (at - 1) % ENTRY == 0 then return at, unpack('>I4I5', w.entries, at + 8) end
        from = at + 1
    end
end

-- Writes a window that was changed: where it is, while it has room there, and not too much. It gets the time to live where it would
-- not live until then as it is, which is so once in an hour: a command for each change costs as much as reading it.
local function save(w, history, ttl, until_then)
    local room = w.length - w.stamps * STAMP - #w.entries - TAIL
    if w.anew or room < LIVES or room > 256 or (w.stamps == 0 and w.entries == '') then
        return seldom().rewrite(w, history, ttl)
    end
    local lives = w.lives
    if lives < until_then then lives = time + ttl end
    call('SETRANGE', KEYS[w.at], w.first * STAMP, w.log .. w.entries .. string.rep('\0', room - LIVES) .. pack(LIVES_FORM,
        lives, 1, now, w.earliest, w.open, w.stamps, #w.entries, room, w.buckets, w.merged, w.total))
    if lives == w.lives then return end
    call('PEXPIRE', KEYS[w.at], ttl)
    if w.buckets > 0 then call('PEXPIRE', KEYS[w.at + 1], ttl) end
end
