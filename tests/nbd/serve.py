# SPDX-License-Identifier: BSD-2-Clause
"""serve.py - what nbd-test.py is made of: nbdkit with the filter, pools, images."""
import http.server
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

LIMIT = 120  # seconds for one command: for a hang, not for a slow machine
SIZE = 3 * 1024 * 1024 + 1234  # of the images: no multiple of 4096
BLOCK = 4096
BUILD = os.path.realpath(sys.argv[1])
FILTER = os.path.realpath(sys.argv[2] if len(sys.argv) > 2 else
                          os.path.join(BUILD, 'examples/nbdkit/nbdkit-cachemax-filter.so'))
TOOL = os.path.join(BUILD, 'src/tool/cachemax')
ENV = dict(os.environ)


def leave(why):
    print('skip nbdkit: %s' % why)
    print('0 passed, 0 failed, 1 skipped')
    sys.exit(77)


if not os.path.exists(FILTER):
    leave('the filter is not built: it needs nbdkit-plugin-dev')
if not shutil.which('nbdkit'):
    leave('there is no nbdkit (Debian: nbdkit)')
try:
    import nbd
except ImportError:
    leave('Python has no libnbd (Debian: python3-libnbd)')


def sanitized():
    """A filter with the address sanitizer wants its library to be loaded first."""
    text = subprocess.run(['ldd', FILTER], stdout=subprocess.PIPE, check=False).stdout.decode()
    found = re.search(r'(/\S*libasan\S*)', text)
    if found:
        ENV['LD_PRELOAD'] = found.group(1)
        # nbdkit closes no connection that ends while the server does.
        ENV['ASAN_OPTIONS'] = 'detect_leaks=0'


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def want(condition, text):
    if not condition:
        raise Failed(text)


def not_sanitized():
    if 'LD_PRELOAD' in ENV:
        raise Skipped('with the address sanitizer nbdkit, also without the filter, hangs after '
                      'connections that fail, and the scripts of its plugin eval fail')


def eventually(condition, text):
    end = time.monotonic() + LIMIT
    while not condition():
        want(time.monotonic() < end, text)
        time.sleep(0.02)


def run(*command, env=None, limit=LIMIT):
    p = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit,
                       check=False, stdin=subprocess.DEVNULL, env=env)
    return p.returncode, p.stdout.decode(errors='replace')


def works(*command):
    status, text = run(*command)
    want(status == 0, '%s: status %d: %s' % (command[0], status, text[-300:]))
    return text


def content(size=SIZE, seed=1):
    return bytearray(random.Random(seed).randbytes(size))


def put(path, data):
    with open(path, 'wb') as f:
        f.write(data)


def get(path):
    with open(path, 'rb') as f:
        return bytearray(f.read())


def stats(pool='pool'):
    return json.loads(works(TOOL, 'stats', pool, '--json'))


def counter(name, pool='pool'):
    found = []

    def look(x):
        for k, v in x.items():
            if k == name:
                found.append(v)
            elif isinstance(v, dict):
                look(v)
    look(stats(pool))
    want(len(found) == 1, 'stats has %s %d times' % (name, len(found)))
    return found[0]


def dirty(pool='pool'):
    """Of the only file: may something of it be unsynced?"""
    files = json.loads(works(TOOL, 'files', pool, '--json'))
    files = files['files'] if isinstance(files, dict) else files
    want(len(files) == 1, '%d files' % len(files))
    return bool(files[0]['dirty'])


class Server:
    """nbdkit with the filter, on a socket in this directory. `words`: what follows the filters."""
    live = []

    def __init__(self, *words, above=(), below=(), pool='pool', options=()):
        self.socket = os.path.abspath('socket')
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        self.log = open('log', 'wb')
        command = ['nbdkit', '-f', '-U', self.socket, *options]
        command += ['--filter=' + f for f in above] + ['--filter=' + FILTER]
        command += ['--filter=' + f for f in below] + [*words, 'cachemax-pool=' + pool]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log, env=ENV)
        Server.live.append(self)
        eventually(self.listens, 'nbdkit does not listen')
        want(self.process.poll() is None, 'nbdkit ended: ' + self.text())
        self.uri = 'nbd+unix://?socket=' + self.socket

    def text(self):
        return get('log').decode(errors='replace')[-600:]

    def connect(self, export=''):
        h = nbd.NBD()
        h.set_export_name(export)
        h.set_strict_mode(0)
        h.connect_unix(self.socket)
        return h

    def listens(self):
        """The socket is there a moment before nbdkit listens. A connection that ends at once would
        tell, too. But with the address sanitizer nbdkit then hangs at its end, also without the
        filter: in p11-kit, which waits for a lock of the C library."""
        with open('/proc/net/unix', encoding='ascii', errors='replace') as f:
            found = any(line.split()[3] == '00010000' and line.rstrip().endswith(self.socket)
                        for line in f if self.socket in line)
        return found or self.process.poll() is not None

    def end(self, how=signal.SIGTERM):
        Server.live.remove(self)
        self.process.send_signal(how)
        status = self.process.wait(LIMIT)
        self.log.close()
        want(status in (0, -how), 'nbdkit ended with status %d: %s' % (status, self.text()))
        return self.text()


def leave_ending(s, h):
    """A client leaves when the server is ending already: nbdkit does not close such connections."""
    s.process.terminate()
    try:
        h.shutdown()
    except nbd.Error:
        pass  # nbdkit was faster
    s.end()


def warm_after_ending(s, h, data):
    """The server ends, and the next one serves the file 'disk' from the pool."""
    leave_ending(s, h)
    s = Server('file', 'disk')
    h = s.connect()
    read_all(h, data)
    h.shutdown()
    s.end()
    want(counter('attach_kept') == 1, 'the file was attached cold')
    want(cold_part() < 0.1, '%.2f of it came from the plugin' % cold_part())


def refused(pattern, *words, above=(), below=(), pool='pool'):
    """nbdkit does not start, and says why."""
    arguments = ['cachemax-pool=' + pool] if pool else []
    status, text = run('timeout', '60', 'nbdkit', '-U', 'unused',
                       *['--filter=' + f for f in (*above, FILTER, *below)], *words, *arguments,
                       '--run', 'true', env=ENV)
    want(status != 0, 'it starts with %s' % ' '.join(words))
    want(re.search(pattern, text), 'it says: %s' % text[-300:])


def cold_part(pool='pool', size=SIZE):
    """Which part of the image came from the plugin in the last session. (Hits do not tell: blocks
    that were read ahead are hits.)"""
    return counter('origin_bytes', pool) / size


def calls(what, skip=0):
    """The requests of a kind that have reached the plugin, as the filter `log` says in the file
    `calls`, but for so many bytes of it: places and lengths."""
    found = re.findall(rb'connection=\d+ %s .*? offset=0x([0-9a-f]+) count=0x([0-9a-f]+)'
                       % what.encode(), get('calls')[skip:])
    return [(int(at, 16), int(n, 16)) for at, n in found]


def blocks(places):
    return {b for at, n in places for b in range(at // BLOCK, (at + n - 1) // BLOCK + 1)}


def buffered(size):
    """Blocks of a pool of this size that may wait in memory, and that a kill loses then."""
    return max(size // 100, 256 << 10) // BLOCK


def make(pool='pool', size='32M'):
    works(TOOL, 'create', pool, '--size', size, '-q')


def read_all(h, data, step=65536):
    for at in range(0, len(data), step):
        n = min(step, len(data) - at)
        want(h.pread(n, at) == data[at:at + n], 'wrong bytes in [%d, %d)' % (at, at + n))


def reads_through(s):
    """Does a new connection read through the pool?"""
    h = s.connect()
    result = h.can_cache()
    h.shutdown()
    return result


class Writer(threading.Thread):
    """Works in its own pieces of the image: every `of`-th one of 12000 bytes, so that blocks are
    shared by two writers. Knows what they hold. Ends when the server is gone."""
    stop = threading.Event()
    PIECE = 12000
    STEPS = 100  # then much of the image is still warm

    def __init__(self, server, data, number, of, seed):
        super().__init__()
        self.h, self.data, self.random = server.connect(), data, random.Random(seed)
        self.pieces = range(number, len(data) // self.PIECE, of)
        self.wrong, self.done, self.doubt, self.changed = None, 0, None, set()

    def change(self, at, n):
        how = self.random.randrange(8)
        self.doubt = (at, n)
        self.changed |= blocks([(at, n)])
        if how == 0:
            self.h.zero(n, at)
            self.data[at:at + n] = bytes(n)
        elif how == 1:
            self.h.trim(n, at)
            self.data[at:at + n] = self.h.pread(n, at)
            self.doubt = None
            return
        else:
            new = self.random.randbytes(n)
            self.h.pwrite(new, at, nbd.CMD_FLAG_FUA if how == 2 else 0)
            self.data[at:at + n] = new
        self.doubt = None

    def step(self):
        n = self.random.randrange(1, self.PIECE)
        at = self.random.choice(self.pieces) * self.PIECE + self.random.randrange(self.PIECE - n)
        what = self.random.randrange(16)
        if what < 6:
            self.change(at, n)
        elif what == 6:
            self.h.flush()
        elif what == 7:
            self.h.cache(n, at)
        elif self.h.pread(n, at) != self.data[at:at + n]:
            self.wrong = 'wrong bytes in [%d, %d)' % (at, at + n)

    def run(self):
        try:
            while not self.wrong and self.done < self.STEPS and not Writer.stop.is_set():
                self.step()
                self.done += 1
        except nbd.Error as e:
            if not Writer.stop.is_set():
                self.wrong = str(e)


def settle_doubts(workers, data):
    """What a killed server was writing may be there or not, or a part of it: the image says."""
    image = get('disk')
    for w in workers:
        if w.doubt:
            at, n = w.doubt
            data[at:at + n] = image[at:at + n]


def web_server(data):
    """Serves data as a file by HTTP. Also returns a list that gets the length of each answer."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def log_message(self, *_):  # pylint: disable=arguments-differ
            pass

        def do_HEAD(self):
            self.send_response(200)
            self.send_header('Accept-Ranges', 'bytes')
            self.send_header('Content-Length', str(len(data)))
            self.end_headers()

        def do_GET(self):
            first, last = re.match(r'bytes=(\d+)-(\d+)', self.headers['Range']).groups()
            part = data[int(first):int(last) + 1]
            asked.append(len(part))
            self.send_response(206)
            self.send_header('Content-Range', 'bytes %s-%s/%d' % (first, last, len(data)))
            self.send_header('Content-Length', str(len(part)))
            self.end_headers()
            self.wfile.write(part)

    web = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    return web, asked
