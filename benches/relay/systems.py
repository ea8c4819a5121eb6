"""The systems under test and the sinks behind them, each in a folder of its own on loopback ports of its own."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

START_WAIT_SECONDS = 20


def start(name: str, folder: pathlib.Path, options):
    """Starts one system with its sink and returns it when it answers."""
    folder.mkdir()
    kinds = {"haproxy": Haproxy, "postfix": Postfix, "tollgate-normal": Tollgate, "tollgate-full": Tollgate,
             "tollgate-before": Before, "tollgate-watched": Watched, "tollgate-redis": Shared}
    return kinds[name](name, folder, options)


class Sink:
    """Postfix's smtp-sink, which counts what it gets."""

    def __init__(self, folder: pathlib.Path):
        self.port, self.counters = free_port(), folder / "sink.out"
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen(
            ["smtp-sink", *user, "-c", f"127.0.0.1:{self.port}", "1000"],
            stdout=self.counters.open("wb"), stderr=subprocess.STDOUT)
        wait_for_port(self.port)

    def messages(self) -> int:
        """How many messages it has got in all: the last counter that it wrote."""
        with self.counters.open("rb") as file:
            file.seek(max(0, self.counters.stat().st_size - 256))
            counters = re.findall(rb"mesg=(\d+)", file.read())
        return int(counters[-1]) if counters else 0

    def stop(self) -> None:
        stop_process(self.process)


class System:
    """What all systems have: a name, a port, a sink and the process at the root of the tree."""

    def __init__(self, name: str, folder: pathlib.Path, options):
        self.name, self.folder, self.options = name, folder, options
        self.sink, self.port = Sink(folder), free_port()
        try:
            self.pid = self.launch()
            wait_for_port(self.port)
        except BaseException:
            self.stop()
            raise

    def wrong_counts(self, sent: dict[str, int]) -> list[str]:
        """What the system tells of these senders that is not what each sent; only a gate tells anything."""
        return []

    def stop(self) -> None:
        self.halt()
        self.sink.stop()


class Haproxy(System):
    """TCP pass-through: what merely carrying the octets costs."""

    process = None

    def launch(self) -> int:
        config = self.folder / "haproxy.cfg"
        config.write_text(f"""\
global
    maxconn 4096
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
listen relay
    bind 127.0.0.1:{self.port}
    server sink 127.0.0.1:{self.sink.port}
""")
        self.process = subprocess.Popen(["haproxy", "-db", "-f", str(config)])
        return self.process.pid

    def halt(self) -> None:
        stop_process(self.process)


class Postfix(System):
    """Debian's Postfix as a relay with its own defaults, its queue on the same disk as everything else."""

    def launch(self) -> int:
        config, queue, data = (self.folder / name for name in ("config", "queue", "data"))
        for folder in (config, queue, data):
            folder.mkdir()
        subprocess.run(["chown", "postfix", str(data)], check=True)
        (config / "main.cf").write_text(f"""\
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
maillog_file = {self.folder}/mail.log
maillog_file_prefixes = {self.folder}
myhostname = relay.example
mydestination =
local_transport = error:no local mail
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:{self.sink.port}
alias_maps =
alias_database =
disable_dns_lookups = yes
smtp_host_lookup = native
smtp_tls_security_level = none
smtpd_tls_security_level = none
""")
        (config / "master.cf").write_text(f"127.0.0.1:{self.port} inet n - n - - smtpd\n" + MASTER_CF)
        subprocess.run(["postfix", "-c", str(config), "start"], check=True, stderr=subprocess.DEVNULL)
        return int((queue / "pid" / "master.pid").read_text())

    def halt(self) -> None:
        subprocess.run(["postfix", "-c", str(self.folder / "config"), "stop"], stderr=subprocess.DEVNULL)


class Tollgate(System):
    """The gate with its limits on: 50 an hour and 600 a day for each account and each tenant."""

    process = None

    def launch(self) -> int:
        config = self.folder / "tollgate.toml"
        synchronous = "full" if self.name == "tollgate-full" else "normal"
        config.write_text(TOLLGATE_TOML.format(
            port=self.port, sink=self.sink.port, synchronous=synchronous) + self.more())
        self.process = subprocess.Popen(
            [self.binary(), "serve", "--config", str(config)],
            cwd=self.folder, stderr=(self.folder / "tollgate.log").open("wb"))
        return self.process.pid

    def binary(self) -> str:
        return self.options.binary

    def more(self) -> str:
        """Further sections of the configuration."""
        return HTTP_TOML.format(http="none", api="none")

    def wrong_counts(self, sent: dict[str, int]) -> list[str]:
        wrong = []
        for sender, count in sent.items():
            for command in ("usage", "explain"):
                for limit in self.limits_of(sender, command):
                    wanted = {"sent": count, "open": 0, "used": count, "remaining": limit["max"] - count}
                    told = {key: limit[key] for key in wanted}
                    if told != wanted:
                        wrong.append(f"{command} {sender}: {limit['scope']} in {limit['window']}: {told}, not {wanted}")
        return wrong

    def limits_of(self, sender: str, command: str) -> list[dict]:
        said = subprocess.run([self.binary(), command, "--config", "tollgate.toml", sender, "--json"],
                              cwd=self.folder, check=True, stdout=subprocess.PIPE, text=True)
        limits = [limit for limit in json.loads(said.stdout)["limits"] if limit["unit"] == "recipients"]
        if len(limits) != PLAN_LIMITS:
            raise SystemExit(f"{command} {sender} tells {len(limits)} limits, the plan has {PLAN_LIMITS}")
        return limits

    def halt(self) -> None:
        stop_process(self.process)


class Before(Tollgate):
    """An older build, for what has become of it since: without an API, an archive or anybody who watches."""

    def binary(self) -> str:
        return self.options.before

    def more(self) -> str:
        return '[http]\nlisten = "none"\n'


class Shared(Tollgate):
    """Limits and what happened in a Redis on loopback, which writes to the same disk once a second; its processor time is not counted."""

    redis = None

    def launch(self) -> int:
        self.redis_port = free_port()
        self.redis = subprocess.Popen(
            ["redis-server", "--bind", "127.0.0.1", "--port", str(self.redis_port), "--dir", str(self.folder),
             "--save", "", "--appendonly", "yes", "--appendfsync", "everysec"],
            stdout=(self.folder / "redis.log").open("wb"), stderr=subprocess.STDOUT)
        ask = ["redis-cli", "-p", str(self.redis_port), "ping"]
        deadline = time.monotonic() + START_WAIT_SECONDS
        while subprocess.run(ask, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            if time.monotonic() > deadline:
                raise SystemExit("Redis does not answer")
            time.sleep(0.05)
        return super().launch()

    def more(self) -> str:
        return f'redis = "redis://127.0.0.1:{self.redis_port}"\n' + super().more()

    def halt(self) -> None:
        super().halt()
        stop_process(self.redis)


class Watched(Tollgate):
    """Everything turned on and looked at all the time: metrics, API, dashboards, live events, alerts to a webhook."""

    watchers = None

    def launch(self) -> int:
        self.http, self.api, self.hook = free_port(), free_port(), free_port()
        pid = super().launch()
        wait_for_port(self.port)
        token = subprocess.run(
            [self.binary(), "token", "create", "bench", "--role", "operator", "--config", "tollgate.toml", "--json"],
            cwd=self.folder, check=True, stdout=subprocess.PIPE, text=True)
        secret = json.loads(token.stdout)["secret"]
        script = pathlib.Path(__file__).resolve().parent / "watchers.py"
        self.watchers = subprocess.Popen(
            [sys.executable, str(script), str(self.http), str(self.api), str(self.hook), secret],
            stdout=subprocess.PIPE, text=True)
        return pid

    def more(self) -> str:
        listening = HTTP_TOML.format(http=f"127.0.0.1:{self.http}", api=f"127.0.0.1:{self.api}")
        return listening + ALERTS_TOML.format(hook=self.hook)

    def watched(self) -> dict:
        """Ends the watchers; says what they saw."""
        self.watchers.send_signal(signal.SIGTERM)
        return json.loads(self.watchers.communicate(timeout=10)[0] or "{}")

    def halt(self) -> None:
        stop_process(self.watchers)
        super().halt()


PLAN_LIMITS = 4
HTTP_TOML = """
[http]
listen = "{http}"

[api]
listen = "{api}"
"""
# A limit that reaches 80 % raises an alert: a hundred senders of 40 messages under a limit of 50 do so, each of them.
ALERTS_TOML = """
[alerts]
webhook = [{{ name = "bench", url = "http://127.0.0.1:{hook}/", severity = "info" }}]
"""
# The limits of the plan that Tollgate ships, for the account and for its tenant; and the trusted server's own, which must
# not be what stops the run but is charged for each message too, because MAIL FROM is weak evidence.
TOLLGATE_TOML = """\
[server]
hostname = "relay.example"
state_dir = "var"

[[listener]]
name = "smarthost"
kind = "smarthost"
address = "127.0.0.1:{port}"
evidence = ["mail-from"]
connections_max = 20000
connections_per_client_max = 20000

[limits]
default_plan = "shared-hosting"
new_accounts_per_hour = 1000000

[plan.shared-hosting]
limits = [
    {{ scope = "tenant", max = 50, window = "1h" }},
    {{ scope = "tenant", max = 600, window = "1d" }},
    {{ scope = "account", max = 50, window = "1h" }},
    {{ scope = "account", max = 600, window = "1d" }},
]

[[trust]]
name = "local"
networks = ["127.0.0.1"]
relay = true
limits = [{{ max = 10000000, window = "1h" }}]

[next_hop]
kind = "smarthost"
hosts = [{{ host = "127.0.0.1:{sink}", tls = "none", connections_max = 200 }}]

[store]
synchronous = "{synchronous}"
"""

MASTER_CF = """\
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + START_WAIT_SECONDS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                if connection.recv(4):
                    return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing answers on port {port}")
        time.sleep(0.05)


def stop_process(process: subprocess.Popen | None) -> None:
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
