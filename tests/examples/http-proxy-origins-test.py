#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
#
# http-proxy-origins-test.py BUILD - see http-proxy-test.sh. Origins that hang, drip, fail in the
# middle, or contradict themselves, and clients that meet them at the same time, or leave.
import os
import socket
import sys
import threading
import time

from http_origin import Origin
from http_proxy import check, run


def leave(proxy, path):
    """A client that asks, and goes away."""
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
        time.sleep(0.3)


def until(condition, seconds=15):
    end = time.time() + seconds
    while not condition() and time.time() < end:
        time.sleep(0.1)
    return condition()


# ---- Waiting -------------------------------------------------------------------------------------

def test_clients_leave(pool, start):
    """The origin is not asked for clients that have left, nor after SIGTERM."""
    origin = Origin()
    proxy = start(pool, origin)
    paths = ["/9000/%s/leave" % how for how in ("fresh", "nostore", "stale")]
    asked = [("GET", paths[0]), ("GET", paths[1]), ("HEAD", paths[2])]
    for key in asked:
        origin.hangs[key] = threading.Event()
    before = len(os.listdir("/proc/%d/task" % proxy.process.pid))
    for path in paths:
        leave(proxy, path)
    check("clients leave while the origin hangs: their threads end",
          until(lambda: len(os.listdir("/proc/%d/task" % proxy.process.pid)) <= before),
          os.listdir("/proc/%d/task" % proxy.process.pid))
    check("clients leave while the origin hangs: it was asked",
          all(origin.gets(*key) == 1 for key in asked))
    clients = []
    for path in paths:
        clients.append(socket.create_connection(("127.0.0.1", proxy.port)))
        clients[-1].sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
    until(lambda: all(origin.gets(*key) == 2 for key in asked))
    began = time.time()
    status = proxy.end()
    check("SIGTERM while the origin hangs: it ends at once",
          status == 0 and time.time() - began < 10, "%.1f s" % (time.time() - began))
    for c in clients:
        c.close()
    for event in origin.hangs.values():
        event.set()


# ---- What the log says ---------------------------------------------------------------------------

def test_all(pool, start):
    test_clients_leave(pool, start)


sys.exit(run(test_all))
