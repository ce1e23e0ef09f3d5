# SPDX-License-Identifier: BSD-2-Clause
"""serve.py - a small web server with ranges, ETags and a slow line, in a thread.

    with Server(delay=0.01, rate=10 << 20) as server:
        server.files["/name"] = (content, etag)      # etag may be None
    server.files["/namede"] = ...                # /name for "Accept-Language: de"
        server.url + "/name", server.gets            # how often content was sent
    server.sent, server.heads                    # so many bytes of it, and HEADs were answered
    server.odd = function(handler, content, etag, first, last)
                 # None, or (status, headers, data) in place of the usual answer to a GET. Without a
                 # Range first is None.
    server.head_size = 0                         # what HEAD says of the size; None: what is right
"""
import http.server
import re
import sys
import threading
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, with_content):
        server = self.server.owner
        time.sleep(server.delay)
        name = self.path + self.headers.get("Accept-Language", "")
        content, etag = server.files.get(name, (None, None))
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        odd = with_content and server.odd and server.odd(
            self, content, etag, *((int(part[1]), int(part[2])) if part else (None, None)))
        if odd:
            with server.lock:
                server.gets += 1
                server.sent += len(odd[2])
            self.say(*odd)
            return
        wanted = self.headers.get("If-Match")
        if content is None or (wanted and wanted != etag):
            self.send_response(404 if content is None else 412)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first, last = (int(part[1]), int(part[2])) if part else (0, len(content) - 1)
        data = content[first:last + 1]
        self.send_response(206 if part else 200)
        if part:
            self.send_header("Content-Range", "bytes %d-%d/%d" % (
                first, first + len(data) - 1, len(content)))
        if etag:
            self.send_header("ETag", etag)
        self.send_header("Accept-Ranges", "bytes")
        told = len(data) if with_content or server.head_size is None else server.head_size
        self.send_header("Content-Length", str(told))
        self.end_headers()
        with server.lock:
            server.gets += with_content
            server.heads += not with_content
            server.sent += len(data) * with_content
        if with_content:
            if server.rate:
                time.sleep(len(data) / server.rate)
            self.wfile.write(data)

    def say(self, status, headers, data):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if not {"Transfer-Encoding", "Connection"} & headers.keys():  # close: that is the end
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        try:
            self.wfile.write(data)
        except OSError:  # the client has enough
            self.close_connection = True

    def log_message(self, *arguments):
        pass


class Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client may go at any time
            super().handle_error(request, address)


class Server:
    def __init__(self, delay=0, rate=0):
        self.files, self.delay, self.rate = {}, delay, rate
        self.gets = self.heads = self.sent = 0
        self.odd, self.head_size, self.lock = None, None, threading.Lock()

    def __enter__(self):
        self.server = Listener(("127.0.0.1", 0), Handler)
        self.server.owner = self
        self.url = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.server.shutdown()
        self.server.server_close()
