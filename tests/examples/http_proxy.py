# SPDX-License-Identifier: BSD-2-Clause
#
# http_proxy.py - what the tests of examples/http-proxy share: checks, the proxy, and its clients.
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

build = sys.argv[1]
proxy_program = os.path.join(build, "examples/http-proxy/http-proxy")
held_program = proxy_program + "-held"
tool = os.path.join(build, "src/tool/cachemax")
clock_ahead, curl_options = (os.path.realpath(os.path.join(build, "tests", so)) for so in (
    "clock_ahead.so", "curl_options.so"))
passed = failed = skipped = 0


def check(name, right, why=""):
    global passed, failed
    if right:
        passed += 1
        print("ok " + name, flush=True)
    else:
        failed += 1
        print("FAIL %s: %s" % (name, why), flush=True)


def skip(name, why):
    global skipped
    skipped += 1
    print("skip %s: %s" % (name, why), flush=True)


# ---- The proxy -----------------------------------------------------------------------------------

def loads(library):
    """Can the proxy have it by LD_PRELOAD? Not if a sanitizer has to come first."""
    usage = subprocess.run([proxy_program], env=dict(os.environ, LD_PRELOAD=library),
                           stderr=subprocess.DEVNULL)
    return os.path.exists(library) and usage.returncode == 2


class Client:
    """A connection to a proxy."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.file = self.socket.makefile("rb", 1 << 18)
        self.open_end, self.coding, self.etag, self.fields = False, None, None, {}

    def get(self, path, method="GET", version="1.1", fields=()):
        """fields: what follows the Host, a line each."""
        self.socket.sendall("\r\n".join((
            "%s %s HTTP/%s" % (method, path, version), "Host: x", *fields, "", "")).encode())
        return self.answer(method)

    def answer(self, method="GET"):
        """Status and body. If the response ends early: None, and what came of it. open_end: it
        ends with the connection, and tells nothing of its end else. fields: its fields, with names
        in small letters."""
        head = self.file.readline()
        status, length = int(head.split()[1]) if head else None, None
        self.open_end, self.coding, self.etag, self.fields = bool(head), None, None, {}
        while (line := self.file.readline()).rstrip():
            name, _, value = line.decode().partition(":")
            self.fields[name.lower()] = value.strip()
            line = line.lower()
            if line.startswith(b"content-length:"):
                length = int(line[15:])
            if line.startswith(b"content-encoding:"):
                self.coding = line[17:].decode().strip()
            if line.startswith(b"etag:"):
                self.etag = line[5:].decode().strip()
            self.open_end &= not line.startswith((b"content-length:", b"transfer-encoding:"))
        if line and (method == "HEAD" or status == 304):
            return status, b""
        body, whole = self.body(length) if line else (b"", False)  # else the head broke
        return status if whole else None, body

    def body(self, length):
        if self.open_end:
            return self.file.read(), True
        if length is not None:
            body = self.file.read(length)
            return body, len(body) == length
        chunks, length = [], 1
        while length:  # a chunk of 0 bytes is the last one
            line = self.file.readline()
            if not line:
                return b"".join(chunks), False
            length = int(line, 16)
            chunks.append(self.file.read(length))
            if len(chunks[-1]) < length or self.file.readline() != b"\r\n":
                return b"".join(chunks), False
        return b"".join(chunks), True

    def close(self):
        self.file.close()
        self.socket.close()


class SlowClient:
    """It has the head of a response, and reads the rest later."""

    def __init__(self, proxy, path):
        self.socket = socket.socket()
        self.socket.settimeout(60)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", proxy.port))
        self.socket.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                            % path.encode())
        self.got = len(self.socket.recv(100))

    def rest(self):
        """How many bytes came."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        while part := self.socket.recv(1 << 20):
            self.got += len(part)
        self.socket.close()
        return self.got


class Proxy:
    def __init__(self, pool, origin, env=None, log=None, files=None,
                 program=proxy_program):
        def limit():
            if files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        self.process = subprocess.Popen(
            [program, pool, "0", origin.url], stderr=log,
            stdout=subprocess.PIPE, text=True, env=env and dict(os.environ, **env),
            preexec_fn=limit)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])
        self.open_end, self.coding, self.etag, self.fields = False, None, None, {}

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(20)

    def get(self, path, method="GET", version="1.1", fields=()):
        client = Client(self.port)
        try:
            return client.get(path, method, version, fields)
        finally:
            self.open_end, self.coding, self.etag = client.open_end, client.coding, client.etag
            self.fields = client.fields
            client.close()


def wrong_ones(proxy, origin, paths):
    """The paths whose body is wrong."""
    return [p for p in paths if proxy.get(p) != (200, origin.body(p, origin.versions.get(p, 0)))]


def at_once(proxy, path, clients):
    """What so many clients get that come at the same time."""
    results = []
    threads = [threading.Thread(target=lambda: results.append(proxy.get(path)))
               for _ in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


def run(tests):
    """Calls tests(pool, start) with a new pool; start() begins a proxy, which ends with the tests.
    The last line says how many checks there were. Returns the exit status."""
    work = tempfile.mkdtemp(prefix="cachemax-http-proxy.",
                            dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    pool = os.path.join(work, "pool")
    subprocess.run([tool, "create", pool, "--size", "64M", "-q"], check=True)
    proxies = []

    def start(its_pool, origin, env=None, log=None, files=None, program=proxy_program):
        proxies.append(Proxy(its_pool, origin, env, log, files, program))
        return proxies[-1]

    try:
        tests(pool, start)
    finally:
        for p in proxies:
            if p.process.poll() is None:
                p.process.kill()
                p.process.wait()
        shutil.rmtree(work)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed else 0
