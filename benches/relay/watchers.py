#!/usr/bin/env python3
"""Whoever watches a gate at work: Prometheus, scripts that poll the API, open dashboards, readers of live events, a webhook.

    watchers.py HTTP_PORT API_PORT HOOK_PORT TOKEN

Runs until SIGTERM and then prints how often each was answered, as JSON. Any answer but 200 is printed as wrong. Watchers are
not counted in what a message costs; what the gate spends on them is.
"""

import collections
import http.client
import http.server
import json
import signal
import sys
import threading
import time
import urllib.parse

DASHBOARDS = 3
STREAMS = 3
WAIT_SECONDS = 60


def main() -> int:
    http_port, api_port, hook_port, token = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    counts, wrong, done = collections.Counter(), [], threading.Event()
    bearer = {"Authorization": f"Bearer {token}"}
    watchers = [
        ("metrics", poll, http_port, ["/metrics", "/health/ready"], {}, 1),
        ("api", poll, api_port, ["/api/v1/me", "/api/v1/availability", "/api/v1/events?max=100"], bearer, 2),
    ]
    cookie = sign_in(api_port, token)
    for _ in range(DASHBOARDS):
        watchers.append(("pages", poll, api_port, ["/", "/accounts", "/events"], cookie, 5))
    for number in range(STREAMS):
        path, headers = ("/api/v1/events/live", bearer) if number else ("/live", cookie)
        watchers.append(("stream", follow, api_port, [path], headers, 0))
    hook = http.server.ThreadingHTTPServer(("127.0.0.1", hook_port), hook_handler(counts))
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    for name, work, port, paths, headers, pause in watchers:
        arguments = (name, port, paths, headers, pause, counts, wrong, done)
        threading.Thread(target=work, args=arguments, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: done.set())
    while not done.wait(0.2):
        pass
    print(json.dumps({"counts": counts, "wrong": wrong[:5]}), flush=True)
    return 0


def sign_in(port: int, token: str) -> dict:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
    form = urllib.parse.urlencode({"token": token})
    origin = f"http://127.0.0.1:{port}"
    connection.request("POST", "/login", form, {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin})
    answer = connection.getresponse()
    cookie = answer.getheader("Set-Cookie")
    if not cookie:
        raise SystemExit(f"the dashboard let nobody in: {answer.status}")
    return {"Cookie": cookie.split(";")[0]}


def poll(name, port, paths, headers, pause, counts, wrong, done) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
    while not done.wait(pause):
        for path in paths:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            counts[name] += 1
            if answer.status != 200:
                wrong.append(f"{path}: {answer.status}")


def follow(name, port, paths, headers, _pause, counts, wrong, done) -> None:
    """Reads a stream of events; begins anew where the gate ends it."""
    while not done.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
        connection.request("GET", paths[0], headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            wrong.append(f"{paths[0]}: {answer.status}")
            return
        while line := answer.readline():
            counts[name] += line.startswith(b"data:")
        time.sleep(1)


def hook_handler(counts):
    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            counts["webhook"] += 1
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    return Hook


if __name__ == "__main__":
    sys.exit(main())
