#!/usr/bin/env python3
"""Makes inputs for the fuzz targets out of this project's own tests, and a dictionary for each target out of its inputs.

    fuzz/seeds.py FOLDER      writes FOLDER/<target>/… and FOLDER/<target>.dict

Inputs are the string literals of the tests beside the code, the dialogs in tests/dialogs (as programs in the form of
fuzz/src/program.rs) and the configurations. Nothing here is kept: fuzz/run makes it afresh each time.
"""

import ast
import hashlib
import io
import json
import pathlib
import re
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Target: the sources whose tests have its inputs, and what stands before each input (see the target).
LITERALS = {
    "command": (["src/smtp/command.rs", "src/smtp/path.rs"], [b"\x7f\x7f", b"\x7f\x00", b"\x07\x7f"]),
    "path": (["src/smtp/path.rs", "src/types/address.rs"], [b""]),
    "reply": (["src/smtp/client.rs", "src/smtp/reply.rs"], [b"\x00\x0a", b"\x02\x01"]),
    "data": (["src/smtp/data.rs", "src/smtp/recode.rs"], [b"\x00", b"\x02"]),
    "proxy_header": (["src/smtp/proxy_header.rs"], [b""]),
    "xclient": (["src/smtp/xclient.rs", "src/smtp/xtext.rs"], [b"\x00", b"\x01"]),
    "message": (["src/message/evidence.rs", "src/message/header.rs"], [b"\x00", b"\x00Received: "]),
    "facts": (["src/message/facts/tests.rs"], [b"", b"From: a@b.example\r\n", b"Content-Type: text/html\r\n\r\n", b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"]),
    "feedback": (["src/message/feedback.rs"], [b""]),
    "config": (["src/config/tests.rs"], [b""]),
    "sasl": (["src/smtp/sasl.rs"], [bytes([mechanism, initial]) for mechanism in range(3) for initial in range(2)]),
    "passwd_file": (["src/auth/passwd_file.rs", "src/auth/scheme.rs", "src/auth/scram.rs"], [b"", b"a@b.example:", b"a:{SCRAM-SHA-256}"]),
    "dovecot": (["src/auth/dovecot/protocol.rs"], [b"\x00", b"\x02"]),
}

SPLIT, TLS_READY, CLOSE, DRAIN, WAIT, PLAN, REPEAT, RAW = 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFC, 0xFD

# The bits of the first octet of a session's program.
FLAGS = {"tls": 1, "starttls": 2, "auth": 4, "scram": 4, "require-tls": 8, "require-auth": 16, "plaintext-auth": 32, "xclient": 64, "xforward": 64}
ALL_EXTENSIONS = 128


def literals(source):
    """The string literals of a file's tests, as octets."""
    text = source.read_text()
    tests = text.split("#[cfg(test)]")[-1]
    for raw in re.findall(r'b?r#"(.*?)"#', tests, re.S):
        yield raw.encode()
    for raw in re.findall(r'(?<!#)"((?:[^"\\]|\\.)*)"', tests, re.S):
        raw = re.sub(r"\\u\{([0-9a-fA-F]+)\}", lambda found: chr(int(found[1], 16)), raw)
        raw = re.sub(r"\\\n\s*", "", raw)
        try:
            yield ast.literal_eval('b"' + raw.encode("unicode_escape").decode().replace("\\\\", "\\").replace('\\n"', '"') + '"')
        except (SyntaxError, ValueError):
            yield raw.encode()


def proxy_headers():
    """Version 2, which no literal of the tests spells out."""
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    four, six = bytes([192, 0, 2, 7, 198, 51, 100, 1, 0xDC, 4, 0, 25]), bytes(32) + bytes([0, 7, 0, 25])
    for command, family, fields in [(0x21, 0x11, four), (0x21, 0x21, six), (0x20, 0, b""), (0x21, 0x11, four + bytes([4, 0, 1, 0]))]:
        yield signature + bytes([command, family]) + len(fields).to_bytes(2, "big") + fields + b"EHLO x\r\n"


def unescape(text):
    """The octets of a `C:` line (tests/wire.rs)."""
    out, at = bytearray(), 0
    while at < len(text):
        found = re.match(r"\\(?:x([0-9a-fA-F]{2})|\*(\d+)\*(.)|(.))", text[at:])
        if not found:
            octets = text[at].encode()
            at += 1
        else:
            octets = escaped(found)
            at += found.end()
        for octet in octets:
            out += bytes([RAW, octet]) if octet >= SPLIT else bytes([octet])
    return bytes(out)


def escaped(found):
    code, times, repeated, letter = found.groups()
    if code:
        return bytes([int(code, 16)])
    if times:
        # Nearly as often: the marks of a repetition would be escaped.
        return (repeated * min(int(times), 3000)).encode()
    return {"r": b"\r", "n": b"\n", "0": b"\0"}.get(letter, b"?")


def program(dialog):
    """A dialog of tests/dialogs as a program."""
    text = dialog.read_text()
    flags, numbers, texts = ALL_EXTENSIONS, 0, 0
    for word in " ".join(re.findall(r"^set: (.*)$", text, re.M)).split():
        flags |= FLAGS.get(word, 0)
        flags &= ~ALL_EXTENSIONS if word == "bare-extensions" else 0xFF
        numbers |= {"recipients": 4, "errors": 32, "size": 1, "login-failures": 128}.get(word.split("=")[0], 0)
        texts |= {"normalise": 1, "line": 4}.get(word.split("=")[0], 0)
    out = bytes([flags, numbers, texts])
    for block in text.split("\n\n")[1:]:
        for answer in re.findall(r"^R: ?(.*)$", block, re.M):
            out += bytes([PLAN, {"4": 1, "5": 2, "r": 2, "t": 2, "u": 1}.get(answer[:1], 0)])
        for mark, line in re.findall(r"^C([:|]) ?(.*)$", block, re.M):
            out += unescape(line) + (b"\r\n" if mark == ":" else b"")
        out += bytes([SPLIT])
        for happening in re.findall(r"^I: ?(.*)$", block, re.M):
            out += happened(happening)
    return out


def happened(happening):
    name, _, seconds = happening.partition(" ")
    if name == "wait":
        return bytes([WAIT, 255]) * (int(seconds) // 2040) + bytes([WAIT, int(seconds) % 2040 // 8 + 1])
    return {"tls-ready": bytes([TLS_READY]), "closed": bytes([CLOSE]), "drain": bytes([DRAIN])}.get(name, b"")


def backups():
    """Small ones, as src/store/backup.rs writes them: whole, altered, and with parts that have no place in one."""
    def pack(parts, end=None, **said):
        listed = [{"name": name, "bytes": len(octets), "sha256": hashlib.sha256(octets).hexdigest()} for name, octets in parts]
        manifest = {"format": 1, "program": "tollgate", "made": "2026-11-27T19:06:12.000Z", "last": False, "audit": "1 00", "parts": listed} | said
        first = json.dumps(manifest, indent=2).encode()
        whole = [("manifest.json", first), *parts, ("manifest.sha256", end or hashlib.sha256(first).hexdigest().encode())]
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for name, octets in whole:
                entry = tarfile.TarInfo(name)
                entry.size = len(octets)
                tar.addfile(entry, io.BytesIO(octets))
        return packed.getvalue().rstrip(b"\0") + bytes(1024)
    parts = [("tollgate.db", b"windows"), ("erasures", b"")]
    yield pack(parts)
    yield pack(parts, last=True)
    yield pack(parts, end=b"0" * 64)
    yield pack(parts, format=2)
    yield pack([*parts, ("../elsewhere", b"x")])
    yield pack(parts[:1])[:-1500]


def sections(text):
    """A configuration whole and table by table, without its comments."""
    bare = re.sub(rb"^\s*#.*\n|\s+#[^\"\n]*$", b"", text, flags=re.M)
    yield bare
    yield from re.split(rb"\n(?=\[)", bare)


def inputs():
    """All pairs of a target and an input."""
    for target, (sources, heads) in LITERALS.items():
        for source in sources:
            for text in literals(ROOT / source):
                for head in heads:
                    yield target, head + text
    for header in proxy_headers():
        yield "proxy_header", header
    for dialog in sorted((ROOT / "tests/dialogs").glob("*.smtp")):
        yield "session", program(dialog)
        for line in re.findall(r"^C[:|] ?(.*)$", dialog.read_text(), re.M):
            yield "command", b"\x7f\x7f" + unescape(line)[:2100]
    for message in re.findall(r'"""\n(.*?)"""', (ROOT / "config/content.toml").read_text(), re.S):
        yield "facts", message.replace("\n", "\r\n").encode()
    for backup in backups():
        yield "backup", backup
    yield "config", b"plaintext_auth = true\n"
    for file in sorted((ROOT / "config").glob("*.toml")):
        for text in sections(file.read_bytes()):
            yield "config", text


def words(texts):
    """What a dictionary is made of: whole short lines, and the words of all."""
    found = set()
    for text in texts:
        found.update(line + b"\r\n" for line in text.split(b"\r\n") if 2 < len(line) < 60)
        found.update(re.findall(rb"[A-Za-z][A-Za-z0-9_.-]{2,30}[:=]?", text))
    return sorted(found)


def write(folder, everything):
    texts = {}
    for target, text in everything:
        texts.setdefault(target, set()).add(text)
        place = folder / target
        place.mkdir(parents=True, exist_ok=True)
        (place / hashlib.sha1(text).hexdigest()).write_bytes(text)
    for target, known in texts.items():
        escape = lambda word: "".join(chr(o) if 32 < o < 127 and o not in b'"\\' else f"\\x{o:02x}" for o in word)
        lines = [f'"{escape(word)}"\n' for word in words(known)]
        (folder / f"{target}.dict").write_text("".join(lines))


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]), inputs())
