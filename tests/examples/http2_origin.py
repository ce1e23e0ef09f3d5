# SPDX-License-Identifier: BSD-2-Clause
#
# http2_origin.py - an origin server that speaks HTTP/2 without TLS, for http-proxy-test.py. It has
# one object, at every path, does not tell its length, and knows no ranges. It knows just enough of
# HTTP/2 for libcurl: of a request's head it reads the method only, and a body goes out without a
# look at windows, which are much larger.
import socketserver
import threading

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING = 0, 1, 4, 6
END_STREAM, END_HEADERS, ACK, PADDED, PRIORITY = 1, 4, 1, 8, 32
STATUS_200, METHOD_GET = b"\x88", 0x82  # of the static table of HPACK
PIECE = 16384  # the longest frame that needs no leave


def field(name, value):
    """A literal of HPACK that goes into no table."""
    return b"\0%c%s%c%s" % (len(name), name, len(value), value)


class Handler(socketserver.StreamRequestHandler):
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
        body = self.server.body if is_get else b""
        cut = is_get and self.server.cut
        if cut:
            body = body[:len(body) // 2]
        self.frame(HEADERS, END_HEADERS if body else END_HEADERS | END_STREAM, stream,
                   STATUS_200 + field(b"etag", b'"v1"') +
                   field(b"cache-control", b"max-age=600"))
        for at in range(0, len(body), PIECE):
            last = at + PIECE >= len(body) and not cut
            self.frame(DATA, END_STREAM if last else 0, stream, body[at:at + PIECE])
        return not cut

    def handle(self):
        if self.rfile.read(len(PREFACE)) != PREFACE:
            return
        self.server.connections += 1
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
    daemon_threads = allow_reuse_address = True

    def __init__(self, body):
        super().__init__(("127.0.0.1", 0), Handler)
        self.port, self.body, self.cut = self.server_address[1], body, False
        self.gets = self.connections = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # a client that had enough
