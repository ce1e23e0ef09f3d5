#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""dash-test.py BUILD - "cachemax dash": the metrics, read by a strict parser of both formats, and
the page's data against the counters; who may ask for what; limits; and the page in a browser if
there is Chromium. With CM_PICTURES=DIR pictures of it stay there. The last line is "N passed, N
failed, N skipped"; status 77 if nothing can run.

The test itself owns the pool, so counters move only when it reads. The server looks at the pools
every two seconds: a figure is waited for, and then has to be exact.
"""
import base64
import hashlib
import html.parser
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

from live import PATIENCE, Bed, Owner, Results, StatsPage, run_all
from prometheus import Prometheus

HERE = os.path.dirname(os.path.realpath(__file__))
r = Results()
bed = Bed(sys.argv[1])
DASH = os.path.join(bed.build, "src/tool/cachemax-dash")
ODD = "q\"uo\\te\nand more"  # a pool's name that needs each escape of a label
EVIL = "<img src=x onerror=alert(1)><b>"
OPEN_METRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


class Server:
    def __init__(self, *args):
        self.process = subprocess.Popen([bed.cm, "dash", *args], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=open("dash.err", "wb"))
        line = self.process.stdout.readline().decode()
        m = re.match(r"listening on http://(.*):(\d+)/$", line)
        self.address, self.port = (m[1], int(m[2])) if m else (None, None)

    def ask(self, path, method="GET", host=None, **headers):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        c.putrequest(method, path, skip_host=host is not None, skip_accept_encoding=True)
        if host:
            c.putheader("Host", host)
        for k, v in headers.items():
            c.putheader(k, v)
        c.endheaders()
        reply = c.getresponse()
        body = reply.read()
        c.close()
        return reply.status, dict(reply.getheaders()), body

    def text(self, path, **headers):
        return self.ask(path, **headers)[2].decode()

    def data(self):
        return json.loads(self.text("/stats.json"))

    def wait(self, condition):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if condition():
                return True
            time.sleep(0.1)
        return False

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.stdout.close()
        return self.process.wait(PATIENCE)


# ---- The formats ---------------------------------------------------------------------------------

LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(r"(%s)\{(%s(?:,%s)*)\} ([-+.0-9eEInfa]+)$" % (NAME, LABEL, LABEL))


def parse(text, open_metrics):
    """{sample name: {labels: value}}, {family: {"type": .., "help": .., "unit": ..}}. Raises at
    whatever the format does not allow: an order, a name, a second TYPE, a family in two parts."""
    samples, families, current, done = {}, {}, None, set()
    assert text.endswith("\n"), "no newline at the end"
    lines = text[:-1].split("\n")
    if open_metrics:
        assert lines.pop() == "# EOF", "no EOF"
    assert "# EOF" not in lines, "an EOF too early"
    for line in lines:
        m = re.match(r"# (HELP|TYPE|UNIT) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$", line)
        if m:
            kind, name = m[1].lower(), m[2]
            if name != current:
                assert name not in done, "in two parts: " + name
                done.add(name)
                current, families[name] = name, {}
            assert kind not in families[name], "twice: " + line
            assert not any(s.startswith(name + suffix) for s in samples for suffix in ("{",)), line
            families[name][kind] = m[3]
            if kind == "unit":
                assert open_metrics and name.endswith("_" + m[3]), line
            continue
        m = SAMPLE.match(line)
        assert m, "no sample: " + line
        family, kind = families[current], families[current]["type"]
        suffix = m[1][len(current):]
        assert m[1].startswith(current), "of another family: " + line
        allowed = {"gauge": [""], "counter": ["_total"] if open_metrics else [""],
                   "histogram": ["_bucket"] if open_metrics else ["_bucket", "_count"]}[kind]
        assert suffix in allowed, line
        assert kind != "counter" or m[1].endswith("_total"), line
        assert "help" in family, line
        labels = tuple((k, v.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\"))
                       for k, v in re.findall(LABEL, m[2]))
        assert len({k for k, _ in labels}) == len(labels), line
        assert labels not in samples.setdefault(m[1], {}), "twice: " + line
        samples[m[1]][labels] = float(m[m.lastindex])
    return samples, families


def check_metrics(server, name, open_metrics):
    headers = {"Accept": OPEN_METRICS} if open_metrics else {}
    status, got, body = server.ask("/metrics", **headers)
    kind = "application/openmetrics-text; version=1.0.0; charset=utf-8" if open_metrics else \
        "text/plain; version=0.0.4; charset=utf-8"
    r.equal(name + "-type", (status, got["Content-Type"]), (200, kind))
    try:
        samples, families = parse(body.decode(), open_metrics)
    except AssertionError as e:
        r.check(name + "-parses", False, e)
        return
    r.check(name + "-parses", True)
    stats = bed.json("stats", "p")
    texts = server.data()["texts"]
    pool, wrong, helps = (("pool", "p"),), [], []
    for counter, text in texts.items():
        metric, by = "cachemax_%s" % counter, 1
        if counter.endswith("_us"):
            metric, by = "cachemax_%s_seconds" % counter[:-3], 1e6
        if samples[metric + "_total"][pool] != stats[counter] / by:
            wrong.append((counter, samples[metric + "_total"][pool], stats[counter]))
        helped = families[metric + ("" if open_metrics else "_total")]["help"]
        if helped != text.replace("microseconds", "seconds"):
            helps.append((helped, text))
    r.equal(name + "-counters", wrong, [])
    r.equal(name + "-help", helps, [])
    r.check(name + "-all-counters", len(texts) >= 40 and stats["hit_blocks"] > 0, texts)
    for latency in "hit_latency", "origin_latency":
        buckets = [(dict(k)["le"], v) for k, v in
                   samples["cachemax_%s_seconds_bucket" % latency].items() if k[0] == pool[0]]
        bounds = [float(b) for b, _ in buckets]
        counts = [v for _, v in buckets]
        sums = [sum(stats[latency][:i + 1]) for i in range(32)]
        r.equal("%s-%s" % (name, latency), counts, sums)
        r.check("%s-%s-bounds" % (name, latency), bounds == sorted(bounds) and
                bounds[-1] == float("inf") and bounds[0] == 2e-9, bounds)
    r.equal(name + "-odd-name", samples["cachemax_up"][(("pool", ODD),)], 1)
    r.equal(name + "-size", samples["cachemax_size_bytes"][pool], os.path.getsize("p"))
    r.equal(name + "-units", families["cachemax_size_bytes"].get("unit"),
            "bytes" if open_metrics else None)


def test_metrics(server):
    stats = bed.json("stats", "p")
    seen = 'cachemax_hit_blocks_total{pool="p"} %d\n' % stats["hit_blocks"]
    r.check("metrics-sees-all", server.wait(lambda: seen in server.text("/metrics")))
    check_metrics(server, "classic", False)
    check_metrics(server, "openmetrics", True)
    for accept, want in [("text/plain", False), ("*/*", False), (OPEN_METRICS, True),
                         ("application/openmetrics-text;q=0", False),
                         ("application/openmetrics-text;q=0.0,text/plain", False),
                         ("text/plain;q=0.5,application/openmetrics-text;version=1.0.0", True)]:
        kind = server.ask("/metrics", Accept=accept)[1]["Content-Type"]
        r.equal("accept-%s" % accept, kind.startswith("application/openmetrics"), want)
    if shutil.which("promtool"):
        tool = subprocess.run(["promtool", "check", "metrics"], capture_output=True,
                              input=server.ask("/metrics")[2])
        r.check("promtool", tool.returncode in (0, 3), tool.stderr.decode())  # 3: matters of style
    else:
        r.skip("promtool", "not installed (Debian package prometheus)")


def queries(dashboard):
    """(what, query, labels of its legend) of each panel, annotation and variable."""
    for panel in dashboard["panels"]:
        for t in panel["targets"]:
            yield panel["title"], t["expr"], re.findall(r"\{\{(\w+)\}\}", t["legendFormat"])
    for a in dashboard["annotations"]["list"]:
        yield a["name"], a["expr"], re.findall(r"\{\{(\w+)\}\}", a["titleFormat"])
    for v in dashboard["templating"]["list"]:
        m = re.match(r"label_values\((\w+), (\w+)\)$", v.get("definition", ""))
        if m:
            yield "variable " + v["name"], m[1] + "{}", [m[2]]


def test_dashboard(server):
    """Grafana's dashboard asks for nothing that /metrics does not have."""
    path = os.path.join(HERE, "../../examples/grafana/cachemax.json")
    dashboard = json.load(open(path, encoding="utf-8"))
    samples, families = parse(server.text("/metrics"), False)
    labels = {n: {k for series in found for k, _ in series} for n, found in samples.items()}
    asked = list(queries(dashboard))
    r.check("grafana-queries", len(asked) > 30, len(asked))
    used, wrong = set(), []
    for what, query, shown in asked:
        names = set(re.findall(r"\bcachemax_\w+", query))
        used |= names
        wrong += [(what, n, "no such metric") for n in names if n not in samples]
        if not names <= set(samples):
            continue
        have = set.union(*(labels[n] for n in names)) if names else set()
        by = {w for part in re.findall(r"\bby \(([^)]*)\)", query) for w in part.split(", ")}
        wanted = set(re.findall(r"(\w+)=~?\"", query)) | by | set(shown)
        wrong += [(what, n, "no such label") for n in wanted - have]
        if by:
            wrong += [(what, n, "not in the legend's result") for n in set(shown) - by]
        for n in names:  # what counts is never shown as it is, and only what counts has a rate
            counts = n.endswith(("_total", "_bucket"))
            rated = re.search(r"\b(rate|increase)\(%s\{" % n, query) is not None
            if counts != rated and n != "cachemax_lifetime_pool_bytes_total":
                wrong.append((what, n, "a rate of no counter, or a counter without"))
    r.equal("grafana-metrics", wrong, [])
    r.check("grafana-uses", len(used) > 25, used)
    ids = [p["id"] for p in dashboard["panels"]]
    r.check("grafana-ids", len(set(ids)) == len(ids) > 10, ids)
    if shutil.which("promtool"):
        rules = [{"record": "q:%d" % i, "expr": q.replace("$__rate_interval", "5m").replace(
            "$pool", ".*")} for i, (_, q, _) in enumerate(asked)]
        with open("rules.yml", "w") as f:  # JSON is YAML
            json.dump({"groups": [{"name": "g", "rules": rules}]}, f)
        tool = subprocess.run(["promtool", "check", "rules", "rules.yml"], capture_output=True)
        r.check("grafana-promtool", tool.returncode == 0, tool.stderr.decode())
    else:
        r.skip("grafana-promtool", "not installed (Debian package prometheus)")


def check_scraped(prometheus, server, owner):
    """What /metrics says is there, with the right values and names."""
    r.check("prometheus-scrapes", prometheus.wait(lambda: (prometheus.value(
        "count_over_time(up[1h])") or 0) >= 3), prometheus.text()[-500:])
    owner.read(1, 0, 300)
    hits = bed.json("stats", "p")["hit_blocks"]
    r.check("prometheus-counts", prometheus.wait(lambda: prometheus.value(
        'cachemax_hit_blocks_total{pool="p"}') == hits), hits)
    pools = {labels["pool"] for labels, _ in prometheus.query("cachemax_up")[1]}
    r.equal("prometheus-odd-name", pools, {"p", ODD})
    r.check("prometheus-rate", prometheus.wait(lambda: (prometheus.value(
        'rate(cachemax_hit_blocks_total{pool="p"}[1m])') or 0) > 0), "no rate")
    def target():
        t = prometheus.target()
        return t.get("health"), t.get("lastError")
    r.check("prometheus-target", prometheus.wait(lambda: target() == ("up", "")), target())
    samples = parse(server.text("/metrics", Accept=OPEN_METRICS), True)[0]
    def missing():
        return [n for n in samples if not prometheus.query("count(%s)" % n)[1]]
    r.check("prometheus-has-all", prometheus.wait(lambda: not missing()), missing())


def test_prometheus(server, owner):
    """A Prometheus reads the metrics, and answers each query of Grafana's dashboard."""
    if not shutil.which("prometheus"):
        r.skip("prometheus", "not installed (Debian package prometheus)")
        return
    prometheus = Prometheus("127.0.0.1:%d" % server.port)
    try:
        if not r.check("prometheus-runs", prometheus.failed is None, prometheus.failed):
            return
        check_scraped(prometheus, server, owner)
        path = os.path.join(HERE, "../../examples/grafana/cachemax.json")
        for what, query, shown in queries(json.load(open(path, encoding="utf-8"))):
            asked = query.replace("$__rate_interval", "1m").replace("$pool", ".*")
            conditional = " > " in asked or " >= " in asked  # and may be false
            ok = prometheus.wait(lambda: prometheus.query(asked)[0] is None and
                                 (prometheus.query(asked)[1] or conditional))
            error, found = prometheus.query(asked)
            r.check("prometheus-query-" + what, ok, "%s: %s" % (asked, error or "nothing"))
            unnamed = [labels for labels, _ in found if not set(shown) <= set(labels)]
            r.equal("prometheus-legend-" + what, unnamed, [])
    finally:
        prometheus.end()


def test_data(server, owner):
    """What happened in the intervals sums up to what the test did."""
    def sums():
        h = server.data()["pools"][0]["history"]
        return {k: sum(v) for k, v in h.items() if k != "seconds"}
    before, a = sums(), bed.json("stats", "p")
    owner.read(1, 0, 600)
    owner.read(2, 900, 150)
    b = bed.json("stats", "p")
    want = {"hits": b["hit_blocks"] - a["hit_blocks"],
            "misses": b["miss_blocks"] - a["miss_blocks"],
            "hit_bytes": b["hit_bytes"] - a["hit_bytes"],
            "origin_reads": b["origin_reads"] - a["origin_reads"],
            "origin_bytes": b["origin_bytes"] - a["origin_bytes"],
            "fills": b["fill_blocks"] - a["fill_blocks"],
            "pool_bytes": b["pool_bytes"] - a["pool_bytes"],
            "evictions": b["evicted"] + b["displaced"] - a["evicted"] - a["displaced"]}
    r.check("history-happened", want["hits"] > 0 and want["misses"] > 0, want)
    r.check("history-sums", server.wait(lambda: {k: v - before[k] for k, v in sums().items()} ==
                                        want), "%s instead of %s" % (sums(), want))
    one = server.data()["pools"][0]["history"]["hits"]
    r.check("history-goes-on", server.wait(
        lambda: len(server.data()["pools"][0]["history"]["hits"]) > len(one)))
    two = server.data()["pools"][0]["history"]["hits"]
    r.equal("history-oldest-first", two[:len(one)], one)
    p = server.data()["pools"][0]
    r.equal("data-counters", p["counters"], {k: b[k] for k in p["counters"]})
    seconds = p["history"]["seconds"]
    r.check("data-seconds", all(s >= 1.5 for s in seconds) and len(seconds) > 0, seconds)
    r.equal("data-owner", (p["owned"], p["owner_pid"]), (True, os.getpid()))
    r.check("data-wear", "needs 24 h" in p["wear"]["text"] and "needs 1 h" in
            p["wear"]["session_text"], p["wear"])
    r.check("data-files", server.wait(lambda: server.data()["pools"][0]["files_known"]))
    names = {f["name"] for f in server.data()["pools"][0]["files"]}
    r.check("data-file-names", {"/srv/big.img", EVIL} <= names, names)


def test_requests(server):
    for host, status in [
            ("127.0.0.1", 200), ("127.0.0.1:1", 200), ("localhost:9843", 200), ("LOCALHOST", 200),
            ("localhost.", 200), ("[::1]:80", 200), ("[::1]", 200), ("10.1.2.3", 200),
            ("cache1.example", 200), ("Cache1.Example:80", 200), ("other", 200),
            ("evil.example", 421), ("localhost.evil.example", 421), ("127.0.0.1.evil.example", 421),
            ("127.0.0.1x", 421), ("1.2.3", 421), ("1.2.3.4.5", 421), ("1.2.3.256", 421),
            ("1.2.3.4.", 421), ("[evil]", 421), ("[::1", 421), ("[::1]x", 421), ("other,", 421),
            ("localhost:x", 421), ("localhost:", 421), ("cache1", 421), ("", 421), (".", 421),
            ("2130706433", 421), ("0x7f.1", 421), ("cache1.example,other", 421)]:
        r.equal("host-%s" % host, server.ask("/metrics", host=host or " ")[0] if host else
                raw(server, b"GET /metrics HTTP/1.1\r\nHost:\r\n\r\n"), status)
    r.equal("host-none", raw(server, b"GET / HTTP/1.0\r\n\r\n"), 421)
    r.check("host-none-1.1", raw(server, b"GET / HTTP/1.1\r\n\r\n") in (400, 421))
    for path in "/", "/metrics", "/stats.json", "/health":
        status, headers, body = server.ask(path)
        r.equal("get-" + path, (status, len(body)), (200, int(headers["Content-Length"])))
        status, headers, none = server.ask(path, "HEAD")
        r.check("head-" + path, status == 200 and none == b"" and
                int(headers["Content-Length"]) > 0, headers)
        r.equal("headers-" + path, [headers.get(h) for h in (
            "X-Content-Type-Options", "Cache-Control", "Referrer-Policy",
            "Cross-Origin-Resource-Policy")], ["nosniff", "no-store", "no-referrer", "same-origin"])
        r.check("no-cors-" + path, not any(h.startswith("Access-Control") for h in headers))
    for method in "POST", "PUT", "DELETE", "OPTIONS", "TRACE":
        status, headers, _ = server.ask("/metrics", method, **{"Content-Length": "0"})
        r.equal("method-" + method, (status, headers.get("Allow")), (405, "GET, HEAD"))
    for path in "/x", "/metrics/", "/../p", "//", "/p":
        r.equal("path-" + path, server.ask(path)[0], 404)


def test_bodies(server):
    """Nobody wants the body of a request. It is read all the same: what follows is the next one."""
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    c.connect()
    first = c.sock
    for i, (method, path, wanted, body) in enumerate((
            ("POST", "/metrics", 405, b"x" * 300000), ("GET", "/health", 200, b"x" * 10),
            ("GET", "/stats.json", 200, b"x" * 100000), ("HEAD", "/health", 200, b"x" * 5000),
            ("PUT", "/x", 405, [b"x" * 70000] * 3), ("GET", "/health", 200, None))):
        chunked = isinstance(body, list)
        try:
            c.request(method, path, body, {"Transfer-Encoding": "chunked"} if chunked else {},
                      encode_chunked=chunked)
            reply = c.getresponse()
            n, length = len(reply.read()), int(reply.headers["Content-Length"])
            got = reply.status, c.sock is first, n == (0 if method == "HEAD" else length)
        except (OSError, http.client.HTTPException) as e:
            got = e
        r.equal("body-%d-of-%s-%s" % (i, method, path), got, (wanted, True, True))
    c.close()


def raw(server, request):
    """Status of the answer; None if the connection was closed without one."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as s:
        try:
            s.sendall(request)
            s.shutdown(socket.SHUT_WR)
            got = s.recv(4096)
        except OSError:  # it was closed before all was sent
            return None
    return int(got.split()[1]) if got else None


def test_limits(server):
    status = raw(server, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200000 + b"\r\n\r\n")
    r.check("long-header", status in (None, 413, 431), status)
    status = raw(server, b"GET /" + b"x" * 200000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    r.check("long-path", status in (None, 404, 414, 431), status)
    r.check("junk", raw(server, b"\x16\x03\x01\x02\x00\x01\x00" + b"\xff" * 100) in (None, 400))
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
    for s in slow:
        s.sendall(b"GET / HTTP/1.1\r\nHost: local")  # and no more
    r.equal("slow-clients-hold-up-nobody", server.ask("/health")[0], 200)
    more = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(60)]
    fds = "/proc/%d/fd" % server.process.pid
    r.check("connections-bounded", not os.path.isdir(fds) or
            server.wait(lambda: len(os.listdir(fds)) < 64 + 20), "")
    # Clients that send a line now and then, as many as there may be, keep nobody out.
    for s in slow + more:
        s.close()
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
    for s in slow:
        try:
            s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        except ConnectionError:
            pass  # it was ended for another one
    r.check("slow-clients-keep-nobody-out", server.wait(lambda: answers(server)))
    body = socket.create_connection(("127.0.0.1", server.port))
    body.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
    began, took = time.monotonic(), {}
    going = {"a-slow-request-ends": slow[-1], "a-slow-body-ends": body}
    while going and time.monotonic() - began < PATIENCE:
        time.sleep(2)
        for name, s in list(going.items()):
            try:
                s.sendall(b"X: y\r\n")  # it is not idle
            except ConnectionError:
                took[name] = time.monotonic() - began
                del going[name]
    for name in "a-slow-request-ends", "a-slow-body-ends":
        r.check(name, 10 < took.get(name, PATIENCE) < PATIENCE, took)
    body.close()
    for s in slow:
        s.close()
    r.check("serves-again", server.wait(lambda: answers(server)))
    # Nor do clients that have sent requests, and take no answers.
    deaf = [deaf_client(server) for _ in range(70)]
    r.check("clients-that-take-no-answers-keep-nobody-out",
            all(answers(server) for _ in range(5)))  # at once: in the end they are idle
    for s in deaf:
        s.close()


def deaf_client(server):
    """An answer has begun to come, and more are on their way than what lies between takes."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    s.settimeout(PATIENCE)
    s.connect(("127.0.0.1", server.port))
    try:
        s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
        s.recv(1, socket.MSG_PEEK)
    except ConnectionError:
        pass  # it was ended for another one
    return s


def answers(server):
    try:
        return server.ask("/health")[0] == 200
    except OSError:
        return False


# ---- The page ------------------------------------------------------------------------------------

class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.inside, self.content = [], None, {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = tag if tag in ("style", "script") else None

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside:
            self.content[self.inside] = self.content.get(self.inside, "") + data


def test_page(server):
    _, headers, body = server.ask("/")
    page, policy = Page(body.decode()), headers["Content-Security-Policy"]
    for kind in "style", "script":
        digest = base64.b64encode(hashlib.sha256(page.content[kind].encode()).digest()).decode()
        r.check("policy-" + kind, "%s-src 'sha256-%s';" % (kind, digest) in policy, policy)
    r.check("policy", policy.startswith("default-src 'none';") and "unsafe" not in policy and
            "frame-ancestors 'none'" in policy and
            "require-trusted-types-for 'script'" in policy and
            "connect-src 'self'" in policy and "http" not in policy, policy)
    outside = [a for _, a in page.tags for k, v in a.items()
               if k in ("src", "href", "action") and not re.match(r"#|/[a-z]|data:,$", v)]
    r.equal("page-self-contained", outside, [])
    r.check("page-no-address", not re.search(r"https?://(?!www\.w3\.org/2000/svg)", body.decode()))
    r.check("page-no-markup-from-data", not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(|\bon[a-z]+ *=",
        page.content["script"]))
    r.check("page-no-inline", not any(k == "style" or k.startswith("on") for _, a in page.tags
                                      for k in a))
    tags = [t for t, _ in page.tags]
    r.check("page-landmarks", all(tags.count(t) == 1 for t in ("header", "main", "footer", "h1")))
    r.check("page-language", ("html", {"lang": "en"}) in page.tags)


CONTRAST = """(() => {
  const rgb = (c) => c.match(/[\\d.]+/g).map(Number);
  const part = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (c) => 0.2126 * part(c[0]) + 0.7152 * part(c[1]) + 0.0722 * part(c[2]);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0.99) return c;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const e of document.querySelectorAll(
      "h1,h2,h3,p,dt,dd,th,td,a,summary,button,select,svg text,.legend,.line,.bar,.dot,.key")) {
    if (!e.getClientRects().length || e.classList.contains("skip")) continue;
    const s = getComputedStyle(e);
    const drawn = e.matches(".line") ? s.stroke : e.matches(".key") ? s.borderTopColor
      : e.matches(".bar,.dot,text") ? s.fill : s.color;
    const a = light(rgb(drawn)), b = light(behind(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < (e.matches(".line,.bar,.dot,.key") ? 3 : 4.5))
      bad.push(e.tagName + " " + e.textContent.slice(0, 20) + " " + ratio.toFixed(2));
  }
  return bad;
})()"""


def test_browser(server, owner):
    program = shutil.which("chromium")
    if not program:
        r.skip("browser", "no chromium (Debian package chromium)")
        return
    from chromium import Chromium
    try:
        browser = Chromium(program)
    except (OSError, EOFError, TimeoutError, RuntimeError) as e:
        r.skip("browser", "chromium cannot run here: %s" % e)
        return
    try:
        look_at_page(browser, server, owner)
    finally:
        browser.end()


def look_at_page(browser, server, owner):
    url = "http://127.0.0.1:%d/" % server.port
    r.check("browser-opens", browser.open(url))
    r.check("browser-files", browser.wait(
        "[...document.querySelectorAll('#files tbody tr')].some(t => t.cells[0].textContent === " +
        json.dumps(EVIL) + ")"))
    r.equal("browser-names-are-text", browser.value("document.querySelectorAll('td img, td b')"
                                                    ".length"), 0)
    hits = bed.json("stats", "p")
    share = "%.2f %% since open" % (100 * hits["hit_blocks"] /
                                    (hits["hit_blocks"] + hits["miss_blocks"]))
    cards = "document.querySelector('#cards').textContent"
    r.check("browser-hit-rate", browser.wait("%s.includes(%s)" % (cards, json.dumps(share))),
            browser.value(cards))
    counters = browser.value("[...document.querySelectorAll('#all tbody tr')]"
                             ".map(t => [t.cells[0].textContent, t.cells[1].textContent])")
    texts = server.data()["texts"]
    r.equal("browser-counters", {t: v for t, v in counters if "bytes" not in t},
            {t: "{:,}".format(hits[n]) for n, t in texts.items() if "bytes" not in t})
    r.equal("browser-choices", browser.value("document.querySelector('#pools').options.length"), 2)
    for width, scheme in (1200, "light"), (1200, "dark"), (400, "light"), (400, "dark"):
        name = "browser-%d-%s" % (width, scheme)
        browser.size(width, 900, scheme)
        browser.value("dispatchEvent(new Event('resize'))")
        r.equal(name + "-contrast", browser.value(CONTRAST), [])
        r.check(name + "-fits", browser.value("document.documentElement.scrollWidth") <= width)
        if os.environ.get("CM_PICTURES"):
            browser.size(width, browser.value("document.documentElement.scrollHeight"), scheme)
            browser.picture(os.path.join(os.environ["CM_PICTURES"], name + ".png"))
    r.equal("browser-figures-have-names", browser.value(
        "[...document.querySelectorAll('figure:not([hidden]) svg')].filter(s => "
        "s.getAttribute('role') !== 'img' || (s.getAttribute('aria-label') || '').length < 20)"
        ".length"), 0)
    r.equal("browser-figures-have-tables", browser.value(
        "[...document.querySelectorAll('figure')].filter(f => !f.querySelector("
        "'details table thead th[scope=col]')).length"), 0)
    browser.value("document.querySelector('#charts details').open = true")
    r.check("browser-table", browser.wait(
        "/%$/.test(document.querySelector('#charts details tbody td:nth-child(2)').textContent)"))
    # What a screen reader is told by itself: nothing, while only figures move.
    browser.value("""window.told = 0; new MutationObserver(() => told++).observe(
        document.querySelector('[role=status]'), {childList: true, characterData: true,
        subtree: true})""")
    owner.read(1, 0, 100)
    more = bed.json("stats", "p")["hit_blocks"]
    r.check("browser-live", browser.wait("document.querySelector('#all').textContent.includes(%s)"
                                         % json.dumps("{:,}".format(more))))
    r.equal("browser-live-region", (browser.value("told"), browser.value(
        "document.querySelectorAll('[aria-live],[role=status],[role=alert]').length")), (0, 1))
    browser.value("document.querySelector('#pause').focus()")
    for kind in "keyDown", "char", "keyUp":
        browser.call("Input.dispatchKeyEvent", type=kind, key=" ", code="Space", text=" ",
                     windowsVirtualKeyCode=32)
    r.equal("browser-pause-by-key", browser.value(
        "document.querySelector('#pause').getAttribute('aria-pressed')"), "true")
    r.equal("browser-complaints", browser.complaints(), [])


# ---- Begin and end -------------------------------------------------------------------------------

def test_health(server):
    """A pool goes and comes while the server runs."""
    r.equal("health", server.ask("/health")[::2], (200, b"ok\n"))
    os.rename(ODD, "away")
    r.check("health-gone", server.wait(lambda: server.ask("/health")[0] == 503))
    r.check("health-says-which", b"and more: no such file" in server.ask("/health")[2])
    samples = parse(server.text("/metrics"), False)[0]
    r.equal("health-up", samples["cachemax_up"], {(("pool", "p"),): 1, (("pool", ODD),): 0})
    r.equal("health-no-old-figures", list(samples["cachemax_size_bytes"]), [(("pool", "p"),)])
    r.equal("health-data", server.data()["pools"][1]["error"], "no such file or directory")
    os.rename("away", ODD)
    r.check("health-back", server.wait(lambda: server.ask("/health")[0] == 200))


def test_usage(server):
    for name, args, status, text in [
            ("no-pool", [], 2, "needs the name of a pool"),
            ("twice", ["p", "p"], 2, "p: is named twice"),
            ("too-many", ["p%d" % i for i in range(17)], 2, "too many arguments"),
            ("no-port", ["p", "--listen", "127.0.0.1"], 2, "no numeric address and port"),
            ("port-junk", ["p", "--listen", "127.0.0.1:http"], 2, "no numeric address and port"),
            ("port-large", ["p", "--listen", "127.0.0.1:65536"], 2, "no numeric address and port"),
            ("name", ["p", "--listen", "localhost:0"], 2, "no numeric address and port"),
            ("v6", ["p", "--listen", "::1:80"], 2, "no numeric address and port"),
            ("in-use", ["p", "--listen", "127.0.0.1:%d" % server.port], 1, "cannot listen on"),
            ("help", ["--help"], 0, "Usage: cachemax dash POOL"),
            ("option", ["p", "--lisen", "x"], 2, "did you mean '--listen'")]:
        out = bed.run("dash", *args)
        r.check("usage-" + name, out.returncode == status and text in
                (out.stdout + out.stderr).decode(), (out.returncode, out.stderr))
    os.mkdir("alone")
    shutil.copy(bed.cm, "alone/cachemax")
    out = subprocess.run(["alone/cachemax", "dash", "p"], capture_output=True,
                         env={**os.environ, "PATH": "/nonexistent"})
    r.check("usage-not-built", out.returncode == 1 and b"if libmicrohttpd is installed" in
            out.stderr, out.stderr)


def test_ends():
    for number in signal.SIGTERM, signal.SIGINT:
        s = Server("p", "--listen", "127.0.0.1:0")
        r.equal("default-names", s.ask("/health", host="cache1.example")[0], 421)
        r.equal("ends-%d" % number, s.end(number), -number)
    s = Server("p", "missing", "--listen", "0.0.0.0:0")
    err = open("dash.err").read()
    r.check("warns-others", "whoever reaches 0.0.0.0:%d sees" % s.port in err, err)
    r.check("warns-missing", "missing: no such file" in err, err)
    r.equal("missing-serves", s.ask("/health")[0], 503)
    s.end()
    s = Server("p", "--listen", "[::1]:0")
    if s.port:
        r.equal("listens-on-v6", s.address, "[::1]")
    else:
        r.skip("listens-on-v6", "no IPv6 here")
    s.end()


def test_made_up():
    """Figures that no session of a test has: each in its unit."""
    bed.run("create", "q", "--size", "4M", "-q")
    Owner("q").close()
    page = StatsPage(bed, "q")
    page.opened(1_600_000_000_250_000_000)
    page.count(checkpoint_us=2_500_000, hit_blocks=7)
    page.curve([125_000, 250_000, 400_000, 500_000, 625_000, None, None], 2000, 0)
    s = Server("q", "--listen", "127.0.0.1:0")
    samples = parse(s.text("/metrics"), False)[0]
    pool = ("pool", "q")
    r.equal("made-up-seconds", [samples["cachemax_" + name][(pool,)] for name in (
        "checkpoint_seconds_total", "opened_time_seconds", "hit_blocks_total", "open")],
            [2.5, 1_600_000_000.25, 7, 0])
    r.equal("made-up-curve", samples["cachemax_estimated_hit_ratio"],
            {(pool, ("factor", f)): v for f, v in (("0.125", 0.125), ("0.25", 0.25), ("0.5", 0.4),
                                                   ("1", 0.5), ("2", 0.625))})
    p = s.data()["pools"][0]
    r.equal("made-up-owner", (p["owned"], p["owner_pid"]), (False, 0))
    s.end()
    os.unlink("q")


def main():
    bed.run("create", "p", "--size", "4M", "--names", "-q")
    bed.run("create", ODD, "--size", "4M", "-q")
    owner = Owner("p")
    owner.file(1, name=b"/srv/big.img")
    owner.file(2, name=EVIL.encode())
    for _ in range(3):
        owner.read(1, 0, 700)
        owner.read(2, 0, 100)
    server = Server("p", ODD, "--listen", "127.0.0.1:0", "--host", "cache1.example,other")
    try:
        if not r.check("listens-here-only", server.address == "127.0.0.1" and
                       open("dash.err").read() == "", open("dash.err").read()):
            return
        test_metrics(server)
        test_dashboard(server)
        test_prometheus(server, owner)
        test_data(server, owner)
        test_page(server)
        test_browser(server, owner)
        test_requests(server)
        test_bodies(server)
        test_limits(server)
        test_health(server)
        test_usage(server)
    finally:
        r.equal("ends", server.end(), -signal.SIGTERM)
    test_ends()
    test_made_up()
    owner.close()


missing = None
if not os.path.exists(DASH) or not os.environ.get("CACHEMAX_LIBRARY") or \
        not os.path.exists(os.environ["CACHEMAX_LIBRARY"]):
    missing = "not built (Debian package libmicrohttpd-dev), or no shared library"
run_all("dash", main, bed, r, missing)
