"""The senders: smtp-source for cost and throughput, a small client of our own for latency.

What the senders and the sinks use themselves is not counted: only the process tree of the system between them.
"""

import asyncio
import subprocess
import time

import proc

MESSAGES_WAIT_SECONDS = 180
LATENCY_CONNECTIONS = 20
LATENCY_MESSAGES_EACH = 20  # of each sender; below every limit
SAMPLE = 5


def throughput(system, mode: str, tag: str, options) -> dict:
    """All senders at once; ends when the sink has everything."""
    expected = options.senders * options.messages
    got_before = system.sink.messages()
    with proc.PeakMemory(system.pid) as memory:
        before, began = proc.tree_cpu(system.pid), time.monotonic()
        senders = [subprocess.Popen(source(system, mode, tag, number, options), stderr=subprocess.PIPE, text=True)
                   for number in range(options.senders)]
        complaints = {line for sender in senders for line in sender.communicate()[1].splitlines()}
        got = wait_for(system.sink, got_before + expected) - got_before
        took, after = time.monotonic() - began, proc.tree_cpu(system.pid)
    for complaint in sorted(complaints)[:3]:
        print(f"  {system.name}: {complaint}", flush=True)
    user, kernel = (1000 * (a - b) / expected for a, b in zip(after, before))
    return {"cpu_ms": user + kernel, "user_ms": user, "kernel_ms": kernel, "rate": got / took,
            "lost": expected - got, "peak_mib": memory.peak_mib}


def source(system, mode: str, tag: str, number: int, options) -> list:
    kept = ["-d"] if mode == "kept" else []
    return ["smtp-source", *kept, "-s", "1", "-m", str(options.messages), "-l", str(options.size),
            "-f", throughput_sender(number, tag), "-t", "someone@remote.example", f"127.0.0.1:{system.port}"]


def throughput_sender(number: int, tag: str) -> str:
    return f"a@s{number}.{tag}.example"


def latency_sender(number: int, tag: str) -> str:
    return f"a@l{number // LATENCY_MESSAGES_EACH}.{tag}.example"


def sent_by_sample(tag: str, options) -> dict[str, int]:
    """Some of the senders of both measurements, with what each has sent."""
    sent = {throughput_sender(number, tag): options.messages for number in sample(options.senders)}
    for first in sample(options.latency_messages // LATENCY_MESSAGES_EACH):
        sent[latency_sender(first * LATENCY_MESSAGES_EACH, tag)] = LATENCY_MESSAGES_EACH
    return sent


def sample(count: int) -> range:
    """A few of so many numbers, evenly spread."""
    return range(0, count, max(1, count // SAMPLE))


def wait_for(sink, expected: int) -> int:
    deadline = time.monotonic() + MESSAGES_WAIT_SECONDS
    while sink.messages() < expected and time.monotonic() < deadline:
        time.sleep(0.02)
    return sink.messages()


async def latency(system, mode: str, tag: str, options) -> dict:
    """Messages that come at a steady rate, whether or not the earlier ones are done; each wait counts from when it was due."""
    expected = system.sink.messages() + options.latency_messages
    idle: asyncio.Queue = asyncio.Queue()
    for _ in range(LATENCY_CONNECTIONS if mode == "kept" else 0):
        idle.put_nowait(await Connection.open(system.port))
    began = time.monotonic()

    async def send(number: int) -> float:
        due = began + number / options.latency_rate
        await asyncio.sleep(due - time.monotonic())
        connection = await idle.get() if mode == "kept" else await Connection.open(system.port)
        await connection.message(latency_sender(number, tag), options.size)
        wait = time.monotonic() - due
        if mode == "kept":
            idle.put_nowait(connection)
        else:
            await connection.quit()
        return wait * 1000

    waits = await asyncio.gather(*(send(number) for number in range(options.latency_messages)))
    while not idle.empty():
        await idle.get_nowait().quit()
    wait_for(system.sink, expected)
    return {"waits_ms": waits}


async def accepted_of(system, sender: str, count: int) -> int:
    """How many of so many messages of one fresh sender pass."""
    connection = await Connection.open(system.port)
    accepted = 0
    for _ in range(count):
        await connection.command(f"MAIL FROM:<{sender}>", "250")
        if await connection.command("RCPT TO:<someone@remote.example>", "250", "450") == "250":
            await connection.command("DATA", "354")
            await connection.command("Subject: limit\r\n\r\ntext\r\n.", "250")
            accepted += 1
        else:
            await connection.command("RSET", "250")
    await connection.quit()
    return accepted


async def idle_sessions(system, count: int) -> float:
    """KiB that the system's process grows by for each session that has said EHLO and then nothing."""
    before = proc.tree_memory_kib(system.pid)
    sessions = [await Connection.open(system.port) for _ in range(count)]
    after = proc.tree_memory_kib(system.pid)
    for session in sessions:
        session.writer.close()
    return (after - before) / count


class Connection:
    """One SMTP connection in lock-step, as most mail programs speak."""

    @classmethod
    async def open(cls, port: int) -> "Connection":
        self = cls()
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        await self.reply("220")
        await self.command("EHLO client.example", "250")
        return self

    async def message(self, sender: str, size: int) -> None:
        await self.command(f"MAIL FROM:<{sender}>", "250")
        await self.command("RCPT TO:<someone@remote.example>", "250")
        await self.command("DATA", "354")
        line = "x" * 78 + "\r\n"
        await self.command("Subject: latency\r\n\r\n" + line * (size // len(line)) + ".", "250")

    async def quit(self) -> None:
        await self.command("QUIT", "221")
        self.writer.close()

    async def command(self, line: str, *codes: str) -> str:
        self.writer.write(line.encode() + b"\r\n")
        return await self.reply(*codes)

    async def reply(self, *codes: str) -> str:
        line = await self.reader.readline()
        while line[3:4] == b"-":
            line = await self.reader.readline()
        code = line[:3].decode()
        if code not in codes:
            raise RuntimeError(f"wanted {codes}, got {line!r}")
        return code
