"""The honest client and the crowds that are in its way. Each crowd ends by itself and says what it heard."""

import asyncio
import collections
import socket
import ssl
import struct
import time

HONEST_EVERY_SECONDS = 0.1
HONEST_WAIT_SECONDS = 60
TRICKLE_SECONDS = 40
IDLE_SECONDS = 10
CONNECT_AT_ONCE = 200


class Honest:
    """Sends a message ten times a second, each on a connection of its own, and tries again when told to."""

    def __init__(self, port: int):
        self.port, self.waits, self.sent, self.refused, self.lost, self.ended = port, [], 0, 0, 0, False

    async def run(self) -> None:
        running = set()
        while not self.ended:
            running.add(asyncio.create_task(self.message()))
            await asyncio.sleep(HONEST_EVERY_SECONDS)
        await asyncio.gather(*running)

    async def message(self) -> None:
        began = time.monotonic()
        while time.monotonic() < began + HONEST_WAIT_SECONDS:
            try:
                await asyncio.wait_for(send(self.port, b"Subject: honest\r\n\r\n" + b"text\r\n" * 500), HONEST_WAIT_SECONDS)
                self.sent += 1
                self.waits.append((time.monotonic() - began) * 1000)
                return
            except (Refused, OSError, asyncio.IncompleteReadError, TimeoutError):
                self.refused += 1
                await asyncio.sleep(0.2)
        self.lost += 1

    def percentile(self, percent: int) -> float:
        waits = sorted(self.waits) or [float("nan")]
        return waits[min(len(waits) - 1, len(waits) * percent // 100)]


class Refused(Exception):
    """An answer that is not the one that was hoped for."""


class Crowd:
    """Many clients of one kind."""

    def __init__(self, system, scale: float):
        self.system, self.scale, self.codes, self.wrong = system, scale, collections.Counter(), []

    def heard(self) -> str:
        return ", ".join(f"{count} x {code}" for code, count in sorted(self.codes.items()))

    def faults(self) -> list[str]:
        return self.wrong


class Idle(Crowd):
    """TLS sessions that say EHLO and then nothing."""

    COUNT = 6000

    async def run(self) -> None:
        before, count = self.system.memory_mib(), int(self.COUNT * self.scale)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        gate, sessions = asyncio.Semaphore(20), []

        async def one() -> None:
            async with gate:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.system.tls_port, ssl=context, limit=4096)
                self.codes[await code_of(reader)] += 1
                writer.write(b"EHLO idle.example\r\n")
                await code_of(reader)
                sessions.append(writer)

        await asyncio.gather(*(one() for _ in range(count)))
        await asyncio.sleep(IDLE_SECONDS)
        self.kib = (self.system.memory_mib() - before) * 1024 / max(1, len(sessions))
        self.open = int(self.system.metric("tollgate_sessions_open"))
        if self.open < count:
            self.wrong.append(f"idle: {self.open} of {count} sessions are open")
        for writer in sessions:
            writer.transport.abort()

    def heard(self) -> str:
        return f"{super().heard()}; {self.open} open, {self.kib:.1f} KiB each"


class Trickle(Crowd):
    """Half send a command, half send a text, an octet a second."""

    COUNT = 2000

    async def run(self) -> None:
        gate = asyncio.Semaphore(CONNECT_AT_ONCE)
        count = int(self.COUNT * self.scale)
        await asyncio.gather(*(self.one(gate, number) for number in range(count)))

    async def one(self, gate: asyncio.Semaphore, number: int) -> None:
        async with gate:
            try:
                reader, writer = await connect(self.system.port, number)
                self.codes[await code_of(reader)] += 1
                if number % 2:
                    writer.write(b"HELO slow.example\r\nMAIL FROM:<slow@slow.example>\r\nRCPT TO:<b@c.example>\r\nDATA\r\n")
                    for _ in range(4):
                        last = await code_of(reader)
                    self.codes[f"DATA {last}"] += 1
            except (OSError, asyncio.IncompleteReadError):
                self.codes["closed"] += 1
                return
        ends = time.monotonic() + TRICKLE_SECONDS
        while time.monotonic() < ends and not reader.at_eof():
            writer.write(b"x")
            await asyncio.sleep(1)
        writer.transport.abort()


class Large(Crowd):
    """Clients that announce a large text and send it all at the same time."""

    COUNT = 1000

    async def run(self) -> None:
        size = self.system.options.size_mb * 1_000_000
        count = int(self.COUNT * self.scale)
        await asyncio.gather(*(self.one(number, size) for number in range(count)))
        fits = self.system.options.spool_mb * 1_000_000 // size
        if self.codes["250"] < min(count, fits) or self.codes["250"] + self.codes["452"] != count:
            self.wrong.append(f"large: {self.heard()}; {fits} fit at a time")

    async def one(self, number: int, size: int) -> None:
        block = (b"x" * 998 + b"\r\n") * 100
        try:
            reader, writer = await connect(self.system.port, number)
            await expect(reader, "220")
            writer.write(b"EHLO large.example\r\n")
            await expect(reader, "250")
            writer.write(b"MAIL FROM:<l%d@large.example> SIZE=%d\r\n" % (number, size))
            await expect(reader, "250")
            writer.write(b"RCPT TO:<b@remote.example>\r\n")
            await expect(reader, "250")
            writer.write(b"DATA\r\n")
            await expect(reader, "354")
            for _ in range(size // len(block)):
                writer.write(block)
                await writer.drain()
            writer.write(b".\r\n")
            self.codes[await code_of(reader)] += 1
        except Refused as refused:
            self.codes[str(refused)] += 1
        except (OSError, asyncio.IncompleteReadError) as error:
            self.codes[type(error).__name__] += 1
            return
        writer.transport.abort()


class Flood(Crowd):
    """Connection attempts from many addresses, each gone at once, evenly over ten seconds."""

    COUNT, SECONDS = 20000, 10

    async def run(self) -> None:
        count, log_before = int(self.COUNT * self.scale), self.system.log.stat().st_size
        began, running = time.monotonic(), set()
        for number in range(count):
            due = began + number * self.SECONDS / count
            if due > time.monotonic():
                await asyncio.sleep(due - time.monotonic())
            task = asyncio.create_task(self.one(number))
            running.add(task)
            task.add_done_callback(running.discard)
        took = time.monotonic() - began
        await asyncio.gather(*running)
        self.took, self.log_kib = took, (self.system.log.stat().st_size - log_before) // 1024

    async def one(self, number: int) -> None:
        try:
            reader, writer = await connect(self.system.port, number)
            self.codes[await asyncio.wait_for(code_of(reader), 30)] += 1
            writer.transport.abort()
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self.codes[type(error).__name__] += 1

    def heard(self) -> str:
        return f"{super().heard()}; in {self.took:.1f} s, {self.log_kib} KiB of log"


async def connect(port: int, number: int):
    """A connection from one of a thousand loopback addresses; it is reset at its end, so that no port waits."""
    source = f"127.0.{1 + number // 250 % 4}.{1 + number % 250}"
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0), limit=4096)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return reader, writer


async def send(port: int, text: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await expect(reader, "220")
        for line, code in ((b"EHLO honest.example", "250"), (b"MAIL FROM:<honest@good.example>", "250"),
                           (b"RCPT TO:<b@remote.example>", "250"), (b"DATA", "354"), (text + b".", "250"), (b"QUIT", "221")):
            writer.write(line + b"\r\n")
            await expect(reader, code)
    finally:
        writer.close()


async def expect(reader: asyncio.StreamReader, wanted: str) -> None:
    code = await code_of(reader)
    if code != wanted:
        raise Refused(code)


async def code_of(reader: asyncio.StreamReader) -> str:
    line = await reader.readuntil(b"\n")
    while line[3:4] == b"-":
        line = await reader.readuntil(b"\n")
    return line[:3].decode()


CROWDS = {"idle": Idle, "trickle": Trickle, "large": Large, "flood": Flood}
