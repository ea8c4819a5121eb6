"""The gate under attack, with a next hop that takes everything."""

import dataclasses
import os
import pathlib
import subprocess
import urllib.request

import proc
import systems


@dataclasses.dataclass
class Level:
    """What a gate holds at a moment."""

    descriptors: int
    sessions: int
    spool_files: int


class Gate:
    """One gate with a sink of its own."""

    def __init__(self, folder: pathlib.Path, binary: str, options):
        self.options, self.folder = options, folder
        folder.chmod(0o755)
        self.sink = systems.Sink(folder)
        self.port, self.tls_port, self.http = (systems.free_port() for _ in range(3))
        config = folder / "tollgate.toml"
        config.write_text(CONFIG.format(port=self.port, tls=self.tls_port, http=self.http, sink=self.sink.port,
                                        spool=options.spool_mb))
        password = subprocess.run(["openssl", "passwd", "-6", "nobody"], check=True, stdout=subprocess.PIPE, text=True).stdout
        (folder / "users").write_text(f"nobody@example.org:{{SHA512-CRYPT}}{password.strip()}::::::\n")
        self.log = folder / "tollgate.log"
        self.process = subprocess.Popen([binary, "serve", "--config", str(config)], cwd=folder, stderr=self.log.open("wb"))
        try:
            systems.wait_for_port(self.port)
        except SystemExit:
            print(self.log.read_text()[-2000:])
            raise

    def memory_mib(self) -> float:
        return proc.tree_memory_kib(self.process.pid) / 1024

    def watched(self) -> proc.PeakMemory:
        return proc.PeakMemory(self.process.pid)

    def level(self) -> Level:
        folder = f"/proc/{self.process.pid}/fd"
        links = []
        for name in os.listdir(folder):
            try:
                links.append(os.readlink(f"{folder}/{name}"))
            except FileNotFoundError:
                pass  # closed meanwhile
        spool = sum("/spool/" in link for link in links)
        return Level(len(links), int(self.metric("tollgate_sessions_open")), spool)

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def stop(self) -> None:
        systems.stop_process(self.process)
        self.sink.stop()


CONFIG = """\
[server]
hostname = "relay.example"
state_dir = "var"

[http]
listen = "127.0.0.1:{http}"

[api]
listen = "none"

[tls]
self_signed = true

[auth]
passwd_file = "users"

[[listener]]
name = "smarthost"
kind = "smarthost"
address = "127.0.0.1:{port}"
evidence = ["mail-from"]
connections_per_client_max = 8000

[[listener]]
name = "submissions"
kind = "submissions"
address = "127.0.0.1:{tls}"
connections_per_client_max = 8000

[limits]
default_plan = "free"
new_accounts_per_hour = 1000000

[plan.free]
limits = []

[[trust]]
name = "local"
networks = ["127.0.0.0/8"]
relay = true
limits = [{{ max = 10000000, window = "1h" }}]

[next_hop]
kind = "smarthost"
hosts = [{{ host = "127.0.0.1:{sink}", tls = "none" }}]

[store]
synchronous = "normal"

[spool]
total_bytes_max = "{spool} MB"
"""
