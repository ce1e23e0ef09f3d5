#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""nbd-test.py - examples/nbdkit: every byte is that of the image, through kill -9 of nbdkit, with
several connections, unaligned requests and errors below; and the cache is warm after a restart.

Usage: nbd-test.py BUILD_DIR [FILTER]
FILTER: another build of the filter. CM_CHECKS: a regular expression, only checks whose function has
a name that it finds. Prints "ok NAME", "FAIL NAME: why" or "skip NAME: reason" for every check and
a summary as the last line. Exit status 1 when something failed, 77 if nothing can be run here.
"""
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

LIMIT = 120  # seconds for one command: for a hang, not for a slow machine
SIZE = 3 * 1024 * 1024 + 1234  # of the images: no multiple of 4096
BLOCK = 4096
BUILD = os.path.realpath(sys.argv[1])
FILTER = os.path.realpath(sys.argv[2] if len(sys.argv) > 2 else
                          os.path.join(BUILD, 'examples/nbdkit/nbdkit-cachemax-filter.so'))
TOOL = os.path.join(BUILD, 'src/tool/cachemax')
WAITING = {'stop': None}


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


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def want(condition, text):
    if not condition:
        raise Failed(text)


def eventually(condition, text):
    end = time.monotonic() + LIMIT
    while not condition():
        want(time.monotonic() < end, text)
        time.sleep(0.02)


def run(*command):
    p = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT,
                       check=False, stdin=subprocess.DEVNULL)
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
                                        stderr=self.log)
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
        """The socket is there a moment before nbdkit listens."""
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(self.socket)
            return True
        except OSError:
            return self.process.poll() is not None

    def end(self, how=signal.SIGTERM):
        Server.live.remove(self)
        self.process.send_signal(how)
        status = self.process.wait(LIMIT)
        self.log.close()
        want(status in (0, -how), 'nbdkit ended with status %d: %s' % (status, self.text()))
        return self.text()


def refused(pattern, *words, below=(), pool='pool'):
    """nbdkit does not start, and says why."""
    arguments = ['cachemax-pool=' + pool] if pool else []
    status, text = run('timeout', '60', 'nbdkit', '-U', '-', '--filter=' + FILTER,
                       *['--filter=' + f for f in below], *words, *arguments, '--run', 'true')
    want(status != 0, 'it starts with %s' % ' '.join(words))
    want(re.search(pattern, text), 'it says: %s' % text[-300:])


def cold_part(pool='pool', size=SIZE):
    """Which part of the image came from the plugin in the last session. (Hits do not tell: blocks
    that were read ahead are hits.)"""
    return counter('origin_bytes', pool) / size


def make(pool='pool', size='32M'):
    works(TOOL, 'create', pool, '--size', size, '-q')


def read_all(h, data, step=65536):
    for at in range(0, len(data), step):
        n = min(step, len(data) - at)
        want(h.pread(n, at) == data[at:at + n], 'wrong bytes in [%d, %d)' % (at, at + n))


# ---- The checks: every function that begins with check_ -----------------------------------------
def check_copies():
    """nbdcopy both ways, and qemu-img."""
    data = content()
    put('disk', data)
    make()
    s = Server('file', 'disk')
    works('nbdcopy', s.uri, 'out')
    want(get('out') == data, 'nbdcopy read other bytes')
    new = content(seed=2)
    put('new', new)
    works('nbdcopy', '--flush', 'new', s.uri)
    want(get('disk') == new, 'nbdcopy wrote other bytes')
    works('nbdcopy', s.uri, 'out')
    want(get('out') == new, 'old bytes after nbdcopy wrote')
    if shutil.which('qemu-img'):
        # The image ends within a sector; qemu-img takes the rest of it for zeros.
        works('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', 'disk', s.uri)
    else:
        print('skip qemu-img: not installed (Debian: qemu-utils)')
    s.end()


def check_warm_after_stop():
    """Without an id: the file's own times prove it, also right after it was written."""
    data = content()
    put('disk', data)
    make()
    s = Server('file', 'disk')
    h = s.connect()
    read_all(h, data)
    data[BLOCK:2 * BLOCK] = b'x' * BLOCK
    h.pwrite(b'x' * BLOCK, BLOCK)
    h.flush()
    data[3 * BLOCK:4 * BLOCK] = b'y' * BLOCK
    h.pwrite(b'y' * BLOCK, 3 * BLOCK)
    read_all(h, data)
    h.shutdown()
    s.end()
    s = Server('file', 'disk')
    h = s.connect()
    read_all(h, data)
    h.shutdown()
    s.end()
    want(counter('attach_kept') == 1, 'the file was attached cold')
    want(cold_part() < 0.1, '%.2f of it came from the plugin' % cold_part())


def check_offline_change():
    """Without an id: what somebody else wrote while no server ran is seen."""
    data = content()
    put('disk', data)
    make()
    for turn in range(2):
        s = Server('file', 'disk')
        h = s.connect()
        read_all(h, data)
        h.shutdown()
        s.end()
        data[5 * BLOCK] ^= 1
        with open('disk', 'r+b') as f:
            f.seek(5 * BLOCK)
            f.write(data[5 * BLOCK:6 * BLOCK])
        want(turn or counter('miss_absent') > 0, 'no misses')


def check_version():
    """With an id: another version makes it cold, the same one does not."""
    old, new = content(), content(seed=2)
    make()
    for data, version, warm in (old, 'a', 0), (old, 'a', 1), (new, 'b', 0), (new, 'b', 1):
        put('disk', data)
        s = Server('file', 'disk', 'cachemax-id=vm', 'cachemax-version=' + version)
        h = s.connect()
        read_all(h, data)
        h.shutdown()
        s.end()
        want((cold_part() < 0.1) == warm, 'version %s: %.2f of it came from the plugin, warm: %d'
             % (version, cold_part(), warm))


def check_unaligned():
    """Requests of every alignment, up to the last byte."""
    data = content()
    put('disk', data)
    make()
    s = Server('file', 'disk')
    h = s.connect()
    r = random.Random(3)
    for i in range(400):
        n = r.choice((1, 511, 513, BLOCK - 1, BLOCK, BLOCK + 1, 70001))
        at = r.choice((r.randrange(SIZE - n + 1), SIZE - n, r.randrange(64) * BLOCK))
        if i % 4 == 0:
            new = r.randbytes(n)
            h.pwrite(new, at)
            data[at:at + n] = new
        else:
            want(h.pread(n, at) == data[at:at + n], 'wrong bytes in [%d, %d)' % (at, at + n))
    read_all(h, data)
    h.shutdown()
    s.end()
    want(get('disk') == data, 'the image has other bytes')


class Writer(threading.Thread):
    """Works in its own pieces of the image: every `of`-th one of 12000 bytes, so that blocks are
    shared by two writers. Knows what they hold. Ends when the server is gone."""
    PIECE = 12000
    STEPS = 100  # then much of the image is still warm

    def __init__(self, server, data, number, of, seed):
        super().__init__()
        self.h, self.data, self.random = server.connect(), data, random.Random(seed)
        self.pieces = range(number, len(data) // self.PIECE, of)
        self.wrong, self.done, self.doubt = None, 0, None

    def change(self, at, n):
        how = self.random.randrange(8)
        self.doubt = (at, n)
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
            while not self.wrong and self.done < self.STEPS and not WAITING['stop'].is_set():
                self.step()
                self.done += 1
        except nbd.Error as e:
            if not WAITING['stop'].is_set():
                self.wrong = str(e)


def settle_doubts(workers, data):
    """What a killed server was writing may be there or not, or a part of it: the image says."""
    image = get('disk')
    for w in workers:
        if w.doubt:
            at, n = w.doubt
            data[at:at + n] = image[at:at + n]


def check_kills():
    """Several connections write, trim, zero, flush and read, and nbdkit is killed: every byte is
    right afterwards, and the image with an id stays warm."""
    data = content()
    put('disk', data)
    make()
    for turn in range(4):
        s = Server('file', 'disk', 'cachemax-id=vm')
        h = s.connect()
        read_all(h, data)
        if turn:
            want(cold_part() < 0.6, 'cold after a kill: %.2f of it came from the plugin'
                 % cold_part())
        WAITING['stop'] = threading.Event()
        workers = [Writer(s, data, i, 3, 10 * turn + i) for i in range(3)]
        for w in workers:
            w.start()
        eventually(lambda ws=workers: all(w.done > 60 or w.wrong for w in ws), 'no progress')
        h.flush()
        WAITING['stop'].set()
        s.end(signal.SIGKILL)
        for w in workers:
            w.join()
            want(not w.wrong, str(w.wrong))
        settle_doubts(workers, data)
        want(get('disk') == data, 'the image has other bytes')


def check_lost_writes():
    """The layer below loses a write that was not flushed, with nbdkit: the pool forgets it, too."""
    data = content(1 << 20)
    put('disk', data)
    make()
    s = Server('file', 'disk', 'cachemax-id=vm', below=('cache',))
    h = s.connect()
    h.flush()
    read_all(h, data)
    h.pwrite(b'x' * BLOCK, BLOCK)
    h.cache(BLOCK, BLOCK)  # straight into the pool
    want(h.pread(BLOCK, BLOCK) == b'x' * BLOCK, 'wrong bytes')
    s.end(signal.SIGKILL)
    want(get('disk') == data, 'the write is not lost, so this tests nothing')
    s = Server('file', 'disk', 'cachemax-id=vm', below=('cache',))
    h = s.connect()
    read_all(h, data)
    h.shutdown()
    s.end()


def check_connections():
    """What one connection writes, another one reads at once."""
    data = content()
    put('disk', data)
    make()
    s = Server('file', 'disk')
    a, b = s.connect(), s.connect()
    want(a.can_multi_conn(), 'multi-conn is not passed on')
    for i in range(50):
        at = i * 3001
        for h in (a, b):
            want(h.pread(5000, at) == data[at:at + 5000], 'wrong bytes')
        new = bytes([i]) * 5000
        (a, b)[i % 2].pwrite(new, at)
        data[at:at + 5000] = new
        for h in (a, b):
            want(h.pread(5000, at) == new, 'old bytes after the other connection wrote')
    a.shutdown()
    b.shutdown()
    s.end()


def check_changes_forget():
    """Writes, trims and zeroes, with FUA and without, each forget the cached bytes."""
    put('disk', content())
    make()
    s = Server('file', 'disk')
    h = s.connect()
    for fua in (0, nbd.CMD_FLAG_FUA):
        for what in ('pwrite', 'trim', 'zero'):
            h.pwrite(b'a' * BLOCK * 4, 0)
            h.pread(BLOCK * 4, 0)
            if what == 'pwrite':
                h.pwrite(b'b' * BLOCK, BLOCK, fua)
            else:
                getattr(h, what)(BLOCK, BLOCK, fua)
            read = h.pread(BLOCK, BLOCK)
            want(read == get('disk')[BLOCK:2 * BLOCK], 'old bytes after %s' % what)
            want(read != b'a' * BLOCK, '%s changed nothing' % what)
    h.shutdown()
    s.end()


def check_flush_proves():
    """A flush, and a write with FUA, reach the plugin and prove the file synced; a write alone
    leaves it dirty."""
    put('disk', content())
    make()
    for what, fua, flush in (('a write', 0, False), ('a flush', 0, True),
                             ('FUA', nbd.CMD_FLAG_FUA, False)):
        s = Server('file', 'disk', 'cachemax-id=vm', 'logfile=calls', below=('log',))
        h = s.connect()
        h.pwrite(b'x' * 512, 0, fua)
        if flush:
            h.flush()
        h.shutdown()
        s.end()
        proves = bool(fua or flush)
        want(dirty() != proves, '%s: dirty: %s' % (what, dirty()))
        want((b' Flush ' in get('calls')) == proves, '%s: a flush reached the plugin: %s'
             % (what, b' Flush ' in get('calls')))


def dirty():
    files = json.loads(works(TOOL, 'files', 'pool', '--json'))
    files = files['files'] if isinstance(files, dict) else files
    want(len(files) == 1, '%d files' % len(files))
    return bool(files[0]['dirty'])


def check_plugin_errors():
    """Errors of the plugin are the plugin's own; what is cached is served all the same."""
    put('disk', content())
    make()
    data = get('disk')
    s = Server('file', 'disk', 'cachemax-id=vm', 'error-pread=ESHUTDOWN', 'error-pread-rate=1',
               'error-file=' + os.path.abspath('fail'), below=('error',))
    h = s.connect()
    read_all(h, data[:BLOCK * 16])
    put('fail', b'')
    read_all(h, data[:BLOCK * 16])
    for call in (lambda: h.pread(BLOCK, BLOCK * 700), lambda: h.cache(BLOCK, BLOCK * 600)):
        try:
            call()
            raise Failed('no error')
        except nbd.Error as e:
            want(e.errno == 'ESHUTDOWN', 'another error: %s' % e)
    os.unlink('fail')
    read_all(h, data)
    h.shutdown()
    s.end()


def check_write_errors():
    """A write that fails below is the plugin's error, and the old bytes are read again."""
    put('disk', content())
    make()
    data = get('disk')
    s = Server('file', 'disk', 'error-pwrite=ENOSPC', 'error-pwrite-rate=1', below=('error',))
    h = s.connect()
    read_all(h, data)
    try:
        h.pwrite(b'x' * BLOCK, 0)
        raise Failed('no error')
    except nbd.Error as e:
        want(e.errno == 'ENOSPC', 'another error: %s' % e)
    read_all(h, data)
    h.shutdown()
    s.end()


def check_cache_request():
    """A cache request warms: the reads after it do not reach the plugin."""
    data = content()
    put('disk', data)
    make()
    s = Server('file', 'disk', 'cachemax-id=vm', 'logfile=calls', below=('log',))
    h = s.connect()
    want(h.can_cache(), 'no cache requests')
    h.cache(1000000, 5000)
    before = get('calls').count(b' Read ')
    read_part = h.pread(1000000, 5000)
    want(read_part == data[5000:1005000], 'wrong bytes')
    want(get('calls').count(b' Read ') == before, 'reads after it reached the plugin')
    h.shutdown()
    s.end()


def check_pool_full():
    """A pool that is smaller than the image."""
    data = content()
    put('disk', data)
    make(size='1M')
    s = Server('file', 'disk')
    h = s.connect()
    for _ in range(3):
        read_all(h, data)
    h.cache(len(data), 0)
    h.shutdown()
    s.end()
    want(counter('fill_blocks') > 100, 'nothing was stored')


def check_read_only():
    """A server with -r: writes are refused, and the file is warm the next time."""
    data = content()
    put('disk', data)
    os.utime('disk', (1, 1))  # not as fresh as this moment
    make()
    for words in ((), ('cachemax-id=vm',)):
        for warm in (False, True):
            s = Server('file', 'disk', *words, options=('-r',))
            h = s.connect()
            want(h.is_read_only(), 'it can be written')
            read_all(h, data)
            h.shutdown()
            s.end()
            want((cold_part() < 0.1) == warm, '%s: %.2f of it came from the plugin, warm: %s'
                 % (words, cold_part(), warm))


def check_exports():
    """Several exports of one server, each with its own content."""
    os.mkdir('dir')
    put('disk', content())
    for words in ((), ('cachemax-id=vms', 'cachemax-exports=each')):
        make('pool' + str(len(words)))
        for n in range(3):
            put('dir/%d' % n, content(seed=n))
        for _ in range(2):
            s = Server('file', 'dir=dir', *words, pool='pool' + str(len(words)))
            hs = [s.connect(str(n)) for n in range(3)]
            for n in range(3):
                read_all(hs[n], content(seed=n))
            for h in hs:
                h.shutdown()
            for name in ('3', '../disk', ''):
                try:
                    s.connect(name)
                    raise Failed('export "%s" is served' % name)
                except nbd.Error:
                    pass
            s.end()
        want(counter('attach_kept', 'pool' + str(len(words))) == 3, 'cold')


def check_export_names():
    """A plugin that ignores names: one content under all of them, and no other without that."""
    data = content()
    put('disk', data)
    make()
    s = Server('file', 'disk', 'cachemax-id=vm')
    try:
        s.connect('a')
        raise Failed('an export name is taken')
    except nbd.Error:
        want('cachemax-exports' in s.text(), 'it says: ' + s.text())
    s.end()
    for words in ((), ('cachemax-id=vm', 'cachemax-exports=same')):
        s = Server('file', 'disk', *words)
        a, b = s.connect('a'), s.connect('b')
        a.pread(BLOCK, 0)
        b.pwrite(bytes([len(words)]) * BLOCK, 0)
        want(a.pread(BLOCK, 0) == bytes([len(words)]) * BLOCK, 'old bytes under another name')
        a.shutdown()
        b.shutdown()
        s.end()


def check_other_plugins():
    """memory and eval, with an id."""
    make()
    data = content(1 << 20)
    s = Server('memory', '1M', 'cachemax-id=memory')
    h = s.connect()
    h.pwrite(data, 0)
    for _ in range(2):
        read_all(h, data)
    h.shutdown()
    s.end()
    s = Server('eval', 'get_size=echo 100000', 'pread=dd if=/dev/zero bs=$3 count=1 status=none',
               'cachemax-id=zeros')
    h = s.connect()
    for _ in range(2):
        want(h.pread(100000, 0) == bytes(100000), 'wrong bytes')
    h.shutdown()
    s.end()
    want(counter('hit_blocks') >= 24, 'only %d hits' % counter('hit_blocks'))


def check_without_multi_conn():
    """A plugin without multi-conn: one connection at a time reads through the pool, and a flush
    proves nothing when two have written."""
    put('disk', bytes(100 * BLOCK))
    make()
    disk = os.path.abspath('disk')
    place = 'iflag=skip_bytes,count_bytes skip=$4 count=$3'
    s = Server('eval', 'get_size=echo %d' % (100 * BLOCK), 'cachemax-id=eval',
               'pread=dd if=%s bs=64K %s status=none' % (disk, place),
               'pwrite=dd of=%s oflag=seek_bytes seek=$4 conv=notrunc status=none' % disk,
               'can_write=true', 'can_flush=true', 'flush=true')
    a, b = s.connect(), s.connect()
    want(a.can_cache() and not b.can_cache(), 'both or none of them read through the pool')
    a.pwrite(b'a' * BLOCK, 0)
    for h in (a, b):
        h.pwrite(b'b' * BLOCK, BLOCK)
        want(h.pread(BLOCK, BLOCK) == b'b' * BLOCK and h.pread(BLOCK, 0) == b'a' * BLOCK,
             'wrong bytes')
    b.flush()
    a.shutdown()
    eventually(lambda: reads_through(s), 'no later connection reads through the pool')
    b.shutdown()
    s.end()
    want(dirty(), 'a flush of one of two connections proved it synced')


def reads_through(s):
    h = s.connect()
    result = h.can_cache()
    h.shutdown()
    return result


def check_pool_in_use():
    put('disk', content())
    make()
    s = Server('file', 'disk')
    refused('pool .* is in use by process %d' % s.process.pid, 'file', 'disk')
    s.end(signal.SIGKILL)
    Server('file', 'disk').end()


def check_parameters():
    put('disk', content())
    refused('give the pool: cachemax-pool', 'file', 'disk', pool=None)
    refused('there is no pool', 'file', 'disk')
    put('pool', b'no pool' * 1000)
    refused('not a cachemax pool', 'file', 'disk')
    os.unlink('pool')
    refused('cachemax-size is no multiple', 'file', 'disk', 'cachemax-size=1000')
    refused('cannot make the pool', 'file', 'disk', 'cachemax-size=4096')
    make()
    refused('no parameter cachemax-foo', 'file', 'disk', 'cachemax-foo=1')
    refused('given twice', 'file', 'disk', 'cachemax-id=a', 'cachemax-id=b')
    refused('is empty', 'file', 'disk', 'cachemax-id=')
    refused('same or each', 'file', 'disk', 'cachemax-id=a', 'cachemax-exports=x')
    refused('need cachemax-id', 'file', 'disk', 'cachemax-version=2')
    refused('cachemax-id=NAME', 'memory', '1M')
    refused('cachemax-id=NAME', 'file', 'disk', below=('cow',))
    s = Server('file', 'disk', 'cachemax-size=8M', pool='made')
    s.end()
    want(os.path.getsize('made') == 8 << 20, 'the pool has another size')


def check_fio():
    if not shutil.which('fio') or 'nbd' not in run('fio', '--enghelp')[1].split():
        raise Skipped("there is no fio, or it has no engine nbd (Debian: fio)")
    put('disk', bytes(4 << 20))
    make()
    s = Server('file', 'disk', 'cachemax-id=vm')
    works('fio', '--name=nbd', '--ioengine=nbd', '--uri=' + s.uri.replace('://?', ':///?'),
          '--rw=randrw', '--bs=4k', '--size=4m', '--verify=crc32c', '--iodepth=16', '--loops=2',
          '--output=fio.out', '--minimal')
    s.end()


def check_clean():
    """SIGTERM closes the pool cleanly. (nbdkit waits until its clients have gone.)"""
    data = content()
    put('disk', data)
    make()
    s = Server('file', 'disk')
    h = s.connect()
    h.pwrite(bytes(BLOCK), 0)
    s.process.terminate()
    try:
        h.shutdown()
    except nbd.Error:
        pass  # nbdkit was faster
    s.end()
    want('cachemax:' not in s.text(), s.text())
    want(json.loads(works(TOOL, 'info', 'pool', '--json'))['clean'], 'the pool is not clean')
    works(TOOL, 'check', 'pool')


# ---- Running them --------------------------------------------------------------------------------
def attempt(name, check, top):
    directory = os.path.join(top, name)
    os.mkdir(directory)
    os.chdir(directory)
    try:
        check()
        print('ok ' + name, flush=True)
        return 'passed'
    except Skipped as e:
        print('skip %s: %s' % (name, e), flush=True)
        return 'skipped'
    except Exception as e:  # pylint: disable=broad-except
        where = traceback.extract_tb(e.__traceback__)
        lines = ' < '.join(str(t.lineno) for t in reversed(where))
        print('FAIL %s: %s (lines %s)' % (name, e, lines), flush=True)
        return 'failed'
    finally:
        for s in list(Server.live):
            s.process.kill()
            s.process.wait()
            s.log.close()
        Server.live.clear()
        os.chdir(top)


def main():
    wanted = re.compile(os.environ.get('CM_CHECKS', ''))
    counts = {'passed': 0, 'failed': 0, 'skipped': 0}
    os.umask(0o077)
    top = tempfile.mkdtemp(prefix='cachemax-nbd.')
    try:
        for name, check in list(globals().items()):
            if name.startswith('check_') and wanted.search(name[6:]):
                counts[attempt(name[6:], check, top)] += 1
    finally:
        os.chdir('/')
        shutil.rmtree(top, ignore_errors=True)
    print('%(passed)d passed, %(failed)d failed, %(skipped)d skipped' % counts)
    sys.exit(counts['failed'] > 0)


main()
