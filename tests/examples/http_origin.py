# SPDX-License-Identifier: BSD-2-Clause
#
# http_origin.py - the origin server of http-proxy-*test.py.
import functools
import itertools
import socketserver
import threading
import time

CONTROL = {"fresh": "public, max-age=600", "seconds": "max-age=3", "second": "max-age=2",
           "nostore": "no-store"}
REASONS = {200: "OK", 203: "Non-Authoritative Information", 204: "No Content", 205: "Reset Content",
           206: "Partial Content", 300: "Multiple Choices", 301: "Moved Permanently", 302: "Found",
           303: "See Other", 304: "Not Modified", 307: "Temporary Redirect",
           308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
           404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 410: "Gone",
           412: "Precondition Failed", 416: "Range Not Satisfiable", 429: "Too Many Requests",
           500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable"}
# Words of HOW for fields of each answer, or of those to a GET only.
CODINGS = {"gzip": (None, "GZip"), "gzipget": ("GET", "GZip"), "brget": ("GET", "br"),
           "identity": (None, "Identity")}
CHANGE_EVERY = 6  # requests
CUTS = {"its first line": lambda head: head[:head.index(b"\n") + 1],
        "a half of a head": lambda head: head[:len(head) // 2],
        "a head without its end": lambda head: head[:-2]}
# Heads and bodies of a 206, by words of HOW, of the usual Content-Range and body. The first two are
# right, though unusual. All others are not, or say nothing that can be relied on.
PARTS = {
    "unit": lambda field, body: ([field.replace("bytes", "Bytes")], body),
    "star": lambda field, body: ([field[:field.index("/") + 1] + "*"], body),
    "multipart": lambda field, body: (["Content-Type: Multipart/ByteRanges; boundary=x"],
                                      b"--x\r\n%s\r\n\r\n%s\r\n--x--" % (field.encode(), body)),
    "multifield": lambda field, body: ([field, "Content-Type: multipart/byteranges; boundary=x"],
                                       body),
    "nofield": lambda field, body: ([], body),
    "twofields": lambda field, body: ([field, field.replace("bytes 0", "bytes 9")], body),
    "lines": lambda field, body: ([field.replace("bytes", "lines")], body),
    "begin": lambda field, body: (["Content-Range: bytes 0"], body),
    "minus": lambda field, body: ([field.replace("bytes 0", "bytes -0")], body),
    "after": lambda field, body: ([field + " x"], body),
    "total": lambda field, body: ([field + "0"], body),
    "small": lambda field, body: (["Content-Range: bytes 0-9/10"], body),
    # Two that are wrong for the first part only: no other guard than the one for it sees them.
    "other": lambda field, body: ([field.replace("bytes 0-", "bytes 5-")],
                                  body[5 * (" 0-" in field):]),
    "more": lambda field, body: ([field.replace(" 0-%d/" % (len(body) - 1),
                                                " 0-%d/" % (len(body) // 2 - 1))],
                                 body[:len(body) // 2] + b"x" * (len(body) // 2)
                                 if " 0-" in field else body),
}


# A HEAD, a GET and the client want the same one, and a large one takes time.
@functools.lru_cache(maxsize=2)
def body_of(path, version):
    size = int(path.split("/")[1])
    word = b"%08d" % (version % 100000 * 1000 + sum(path.encode()) % 1000)
    return (word * (size // 8 + 1))[:size]


class Origin(socketserver.ThreadingTCPServer):
    """Objects are named /SIZE/HOW/NAME; HOW: words of CONTROL and of answer(), with commas."""
    daemon_threads = allow_reuse_address = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        self.url = "http://127.0.0.1:%d" % self.port
        self.lock = threading.Lock()
        self.requests = self.connections = 0
        self.asked = {}  # (method, path): how often
        self.versions = {}  # path: number
        self.if_match = {}  # path: the If-Match of each GET, or None
        self.changing = []  # paths; every few requests one of them gets another version
        self.control = {}  # path: its Cache-Control from now on
        self.field = {}  # path: one more field
        self.down = {}  # path: the status of all answers
        self.cut = {}  # (method, path): how many bytes of an answer are sent, see sent()
        self.told = {}  # path: the length that a HEAD tells
        self.hangs = {}  # (method, path): an event; there is no answer until it is set
        self.fails_from = {}  # path: parts from there on get 500
        self.after_head = {}  # path: what follows the head of an answer to HEAD, ...
        self.late = {}  # path: ... when this event is set
        self.slow = set()  # paths of which the next body comes slowly
        self.late_parts = {}  # path: seconds between the head and the body of an answer
        self.delay = 0
        self.tokens = itertools.count(1)  # what bodies of "token" consist of
        self.sent = {}  # path: bytes of bodies
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # a client that had enough

    def body(self, path, version):
        return body_of(path, version)

    def gets(self, method="GET", path=None):
        with self.lock:
            return sum(n for (m, p), n in self.asked.items() if m == method and path in (None, p))

    def change(self, path):
        with self.lock:
            self.versions[path] = self.versions.get(path, 0) + 1

    def note(self, method, path):
        """A request came. The version that it gets."""
        with self.lock:
            self.asked[method, path] = self.asked.get((method, path), 0) + 1
            self.requests += 1
            if self.changing and self.requests % CHANGE_EVERY == 0:
                other = self.changing[self.requests // CHANGE_EVERY % len(self.changing)]
                self.versions[other] = self.versions.get(other, 0) + 1
            return self.versions.get(path, 0)

    def answer(self, method, path, version, fields):
        """Status, fields, body; a body that is a list is sent in chunks."""
        if method == "GET":
            self.if_match.setdefault(path, []).append(fields.get("if-match"))
        if path.startswith("/missing") or path in self.down:
            return self.down.get(path, 404), [], b""
        how = path.split("/")[2].split(",")
        etag = '"%040d"' % version if "long" in how else '"v%d"' % version
        for word in how:  # so many bytes: etag300
            if word.startswith("etag"):
                etag = '"%0*d"' % (int(word[4:]) - 2, version)
        if "twoetags" in how:
            etag = '"v%d-%s"' % (version, method)
        head = ["ETag: " + etag]
        control = [self.control[path]] if path in self.control else [CONTROL.get(w) for w in how]
        head += ["Cache-Control: " + c for c in control if c]
        head += [self.field[path]] if path in self.field else []
        head += ["Content-Encoding: " + CODINGS[word][1] for word in how if word in CODINGS and
                 CODINGS[word][0] in (None, method)]
        for word in how:  # a method that is refused: get403
            if word.startswith(method.lower()) and word[len(method):].isdigit():
                return int(word[len(method):]), head, b""
        if fields.get("if-match", etag) != etag:
            return 412, head, b""
        body, status = self.body(path, version), 200
        if "token" in how and method == "GET":  # for one client alone
            head += ["Cache-Control: private, no-store"]
            body = b"%08d" % next(self.tokens) * (len(body) // 8)
        if "range" in fields and "norange" not in how:
            first, last = (int(n) for n in fields["range"][6:].split("-"))
            if first >= self.fails_from.get(path, first + 1):
                return 500, head, b""
            if first >= len(body) and "no416" in how:
                return 404, head, b""
            if first >= len(body):
                return 416, head + ["Content-Range: bytes */%d" % len(body)], b""
            size = "*" if "chunked" in how else len(body)
            body, status = body[first:last + 1], 206
            if "short" in how:  # a server may send less than it is asked for
                body = body[:50001]
            part = ["Content-Range: bytes %d-%d/%s" % (first, first + len(body) - 1, size)]
            for word in PARTS.keys() & how:
                part, body = PARTS[word](part[0], body)
            head += part
        if "chunked" in how or method == "GET" and "chunkedget" in how:
            return status, head, [body[i:i + 50000] for i in range(0, len(body), 50000)]
        return status, head, body


class Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self):
        with self.server.lock:
            self.server.connections += 1
        while line := self.rfile.readline():
            method, path, _ = line.decode().split()
            fields = {}
            while line := self.rfile.readline().rstrip():
                name, value = line.decode().split(": ", 1)
                fields[name.lower()] = value
            version = self.server.note(method, path)
            time.sleep(self.server.delay)
            if (method, path) in self.server.hangs:
                self.server.hangs[method, path].wait()
            status, head, body = self.server.answer(method, path, version, fields)
            how = (path + "/").split("/")[2].split(",")
            if isinstance(body, list):
                head += ["Transfer-Encoding: chunked"]
                body = b"".join(b"%x\r\n%s\r\n" % (len(b), b) for b in body + [b""]
                                if method != "HEAD")
            elif "open" not in how and (method == "HEAD" or "openget" not in how):
                told = self.server.told if method == "HEAD" else {}
                head += ["Content-Length: %d" % told.get(path, len(body))]
            head = "HTTP/1.1 %d %s\r\n%s\r\n\r\n" % (status, REASONS[status], "\r\n".join(head))
            body = b"" if method == "HEAD" else body
            with self.server.lock:
                self.server.sent[path] = self.server.sent.get(path, 0) + len(body)
            cut = self.server.cut.get((method, path))
            slow = "slow" in how or path in self.server.slow
            if ("drip" in how or slow) and body:  # 500 bytes a second, or 20000
                self.server.slow.discard(path)
                some, seconds = (1000, 2) if "drip" in how else (2000, 0.1)
                self.wfile.write(head.encode())
                for at in range(0, len(body), some):
                    time.sleep(seconds)
                    self.wfile.write(body[at:at + some])
                continue
            if body and path in self.server.late_parts:
                self.wfile.write(head.encode())
                head = ""
                time.sleep(self.server.late_parts[path])
            self.wfile.write(self.sent(head.encode(), body, cut))
            if method == "HEAD" and path in self.server.after_head:
                if path in self.server.late:
                    self.server.late[path].wait()
                self.wfile.write(self.server.after_head[path])
                del self.server.after_head[path]
            if cut or "open" in how or "openget" in how:
                return  # the connection ends

    @staticmethod
    def sent(head, body, cut):
        """What comes of an answer. cut: None, or one of CUTS, or "body"."""
        if cut == "body":
            return head + body[:len(body) // 2]
        return CUTS[cut](head) if cut else head + body
