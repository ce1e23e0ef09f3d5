# SPDX-License-Identifier: BSD-2-Clause
#
# http2_origin.py - an origin server for http-proxy-test.py that speaks HTTP/2 without TLS, or
# HTTP/2 and HTTP/1.1 with it: what the client likes. It has one object, at every path, does not
# tell its length, and knows no ranges. It knows just enough of HTTP/2 for libcurl: of a request's
# head it reads the method only, and a body goes out without a look at windows, which are much
# larger.
import socketserver
import ssl
import threading

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6
END_STREAM, END_HEADERS, ACK, PADDED, PRIORITY = 1, 4, 1, 8, 32
STATUS_200, METHOD_GET = b"\x88", 0x82  # of the static table of HPACK
NO_ERROR = bytes(4)
PIECE = 16384  # the longest frame that needs no leave
FIELDS = ((b"etag", b'"v1"'), (b"cache-control", b"max-age=600"))


def field(name, value):
    """A literal of HPACK that goes into no table."""
    return b"\0%c%s%c%s" % (len(name), name, len(value), value)


class Handler(socketserver.StreamRequestHandler):
    def setup(self):
        if self.server.tls:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def pieces(self, is_get):
        """Of the body, and whether each is the last one. A body that is cut has no last one."""
        body = self.server.body if is_get else b""
        for at in range(0, len(body) // (2 if self.server.cut else 1), PIECE):
            yield body[at:at + PIECE], at + PIECE >= len(body)

    def frame(self, kind, flags, stream, payload=b""):
        self.wfile.write(len(payload).to_bytes(3, "big") + bytes([kind, flags]) +
                         stream.to_bytes(4, "big") + payload)

    def is_get(self, flags, payload):
        payload = payload[1 if flags & PADDED else 0:]
        payload = payload[5 if flags & PRIORITY else 0:]
        while payload[0] & 0xe0 == 0x20:  # a new size of the table
            payload = payload[1:]
        return payload[0] == METHOD_GET

    def answer(self, stream, is_get):
        """False: the connection breaks in the middle of the body."""
        self.frame(HEADERS, END_HEADERS | (0 if is_get else END_STREAM), stream,
                   STATUS_200 + b"".join(field(*f) for f in FIELDS))
        for piece, last in self.pieces(is_get):
            self.frame(DATA, END_STREAM if last else 0, stream, piece)
        if is_get and self.server.cut == "rst0":  # as stream.close() of Node
            self.frame(RST_STREAM, 0, stream, NO_ERROR)
        return not is_get or self.server.cut in (None, "rst0")

    def answer_http1(self, is_get):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n%s\r\n" %
                         b"".join(b"%s: %s\r\n" % f for f in FIELDS))
        for piece, last in self.pieces(is_get):
            self.wfile.write(b"%x\r\n%s\r\n%s" % (len(piece), piece, b"0\r\n\r\n" if last else b""))
        return not is_get or not self.server.cut

    def handle_http1(self):
        more = True
        while more and (line := self.rfile.readline()):
            while self.rfile.readline().rstrip():
                pass
            is_get = line.startswith(b"GET ")
            self.server.gets += is_get
            more = self.answer_http1(is_get)

    def handle(self):
        self.server.connections += 1
        if self.server.tls and self.request.selected_alpn_protocol() != "h2":
            return self.handle_http1()
        if self.rfile.read(len(PREFACE)) != PREFACE:
            return
        self.frame(SETTINGS, 0, 0)
        more = True
        while more and len(head := self.rfile.read(9)) == 9:
            kind, flags = head[3], head[4]
            payload = self.rfile.read(int.from_bytes(head[:3], "big"))
            if kind in (SETTINGS, PING) and not flags & ACK:
                self.frame(kind, ACK, 0, payload if kind == PING else b"")
            elif kind == HEADERS:
                is_get = self.is_get(flags, payload)
                self.server.gets += is_get
                more = self.answer(int.from_bytes(head[5:], "big"), is_get)


class Http2Origin(socketserver.ThreadingTCPServer):
    """cut: None, or how a GET ends in the middle of the body: "rst0": its stream of HTTP/2 is reset
    without an error, or its connection of HTTP/1.1 ends. "break": its connection ends.
    `certificate`, with its key: the name of a file. None: without TLS."""
    daemon_threads = allow_reuse_address = True

    def __init__(self, body, certificate=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.port, self.body, self.cut, self.tls = self.server_address[1], body, None, None
        self.gets = self.connections = 0
        if certificate:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(certificate)
            self.tls.set_alpn_protocols(["h2", "http/1.1"])
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return "http%s://127.0.0.1:%d" % ("s" if self.tls else "", self.port)

    def handle_error(self, request, client_address):
        pass  # a client that had enough
