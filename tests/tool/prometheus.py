# SPDX-License-Identifier: BSD-2-Clause
"""prometheus.py - a Prometheus of the test's own that scrapes one address every two seconds."""
import json
import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from live import PATIENCE


class Prometheus:
    """`failed` says why it does not run; None if it does."""

    def __init__(self, target):
        self.data = tempfile.TemporaryDirectory(prefix="prometheus.")
        config = os.path.join(self.data.name, "config.yml")
        with open(config, "w") as f:  # JSON is YAML
            json.dump({"global": {"scrape_interval": "2s", "scrape_timeout": "2s"},
                       "scrape_configs": [{"job_name": "cachemax",
                                           "static_configs": [{"targets": [target]}]}]}, f)
        self.log = open(os.path.join(self.data.name, "log"), "w+b")
        self.process = subprocess.Popen(
            ["prometheus", "--config.file=" + config,
             "--storage.tsdb.path=" + os.path.join(self.data.name, "tsdb"),
             "--web.listen-address=127.0.0.1:0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.log)
        self.port = None
        self.failed = None if self.wait(self.is_ready) else self.text()[-500:]

    def text(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def is_ready(self):
        """The system chooses its port, and the list of sockets tells it."""
        if self.port is None:
            with open("/proc/net/tcp", encoding="ascii") as f:
                sockets = {line.split()[9]: line.split()[1] for line in list(f)[1:]
                           if line.split()[3] == "0A"}
            fds = "/proc/%d/fd" % self.process.pid
            for fd in os.listdir(fds):
                try:
                    m = re.match(r"socket:\[(\d+)\]$", os.readlink(os.path.join(fds, fd)))
                except OSError:  # closed meanwhile
                    continue
                if m and m[1] in sockets:
                    self.port = int(sockets[m[1]].split(":")[1], 16)
        return self.port is not None and self.get("/-/ready") is not None

    def wait(self, condition):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self.process.poll() is None:
            if condition():
                return True
            time.sleep(0.1)
        return False

    def get(self, path, **parameters):
        """None: it gives no answer."""
        url = "http://127.0.0.1:%d%s?%s" % (self.port, path, urllib.parse.urlencode(parameters))
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as reply:
                return reply.read()
        except urllib.error.HTTPError as e:
            return e.read() if e.code < 500 else None
        except OSError:
            return None

    def query(self, query):
        """(error or None, [(labels, value)])"""
        answer = json.loads(self.get("/api/v1/query", query=query) or "{}")
        if answer.get("status") != "success":
            return answer.get("error", "no answer"), []
        return None, [(v["metric"], float(v["value"][1])) for v in answer["data"]["result"]]

    def value(self, query):
        """The only value; None if there is another number of them."""
        found = self.query(query)[1]
        return found[0][1] if len(found) == 1 else None

    def target(self):
        answer = json.loads(self.get("/api/v1/targets") or "{}")
        return answer["data"]["activeTargets"][0] if answer else {}

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.log.close()
        self.data.cleanup()
