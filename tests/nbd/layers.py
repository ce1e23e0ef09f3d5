# SPDX-License-Identifier: BSD-2-Clause
"""layers.py - checks of nbd-test.py: plugins that are slow to write or to flush, that take only
some lengths, and that have no multi-conn."""
import itertools
import os
import signal
import threading

from serve import (
    BLOCK, LIMIT, Server, content, dirty, eventually, get, make, nbd, not_sanitized, put, read_all,
    want)

PREAD = 'dd if=disk bs=64K iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none'


def plugin(size, pool='pool', **scripts):
    """The plugin eval with these scripts, which run in this directory."""
    here = 'cd "%s"; ' % os.getcwd()
    scripts = {'thread_model': 'echo parallel', 'get_size': 'echo %d' % size, 'pread': PREAD,
               **scripts}
    return Server('eval', 'cachemax-id=eval', *['%s=%s%s' % (name, here, text)
                                                for name, text in scripts.items()], pool=pool)


def begin(h, request, *args):
    """A request that the plugin does not answer as long as there is a file `hold`. Returns what
    ends it."""
    put('hold', b'')
    cookie = request(*args)

    def begun():
        h.poll(0)
        return os.path.exists('begun')
    eventually(begun, 'the slow request does not begin')

    def end():
        os.unlink('hold')

        def ended():
            h.poll(20)
            return h.aio_command_completed(cookie)
        eventually(ended, 'the slow request does not end')
        os.unlink('begun')
    return end


def check_flush_beside_a_write():
    """A flush does not count for a write that went on when it came, nor for one that came while it
    went on: the file is dirty, and it is flushed when the last client leaves. After a flush that
    counts it is not."""
    not_sanitized()
    put('disk', content(64 * BLOCK))
    hold = 'if test -e hold; then touch begun; while test -e hold; do sleep 0.02; done; fi; '
    new = bytearray(b'x' * BLOCK)
    for slow, killed in itertools.product(('write', 'flush', 'none'), (True, False)):
        pool = '%s-%s' % (slow, killed)
        make(pool)
        for name in 'closed', 'flushes':
            put(name, b'')
        s = plugin(64 * BLOCK, pool, can_write='exit 0', can_flush='exit 0',
                   can_multi_conn='exit 0', close='printf . >> closed',
                   pwrite=(hold if slow == 'write' else '') +
                   'dd of=disk oflag=seek_bytes seek=$4 conv=notrunc status=none',
                   flush=(hold if slow == 'flush' else '') + 'printf . >> flushes')
        h = s.connect()
        if slow == 'write':
            end = begin(h, h.aio_pwrite, nbd.Buffer.from_bytearray(new), 0)
            h.flush()
            end()
        else:
            h.pwrite(new, 0)
            if slow == 'flush':
                end = begin(h, h.aio_flush)
                h.pwrite(new, BLOCK)
                end()
            else:
                h.flush()
        counts, before = slow == 'none', len(get('flushes'))
        if killed:
            s.end(signal.SIGKILL)
            want(dirty(pool) != counts, 'slow: %s: dirty: %s' % (slow, dirty(pool)))
            continue
        h.shutdown()
        eventually(lambda: get('closed'), 'the connection is not closed')
        flushes = len(get('flushes')) - before
        want(flushes == (not counts), 'slow: %s: %d flushes when the client left' % (slow, flushes))
        s.end()
        want(not dirty(pool), 'slow: %s: dirty after the last flush' % slow)


def check_cache_request_is_over():
    """A plugin without multi-conn: a new client waits for the requests of another one, but for no
    cache request that is over."""
    not_sanitized()
    data = content(64 * BLOCK)
    put('disk', data)
    make()
    s = plugin(len(data), can_write='exit 0', pwrite='cat > /dev/null')
    a = s.connect()
    want(a.can_cache() and not a.can_multi_conn(), 'it cannot: this tests nothing')
    a.cache(16 * BLOCK, 0)
    clients = []
    joins = threading.Thread(target=lambda: clients.append(s.connect()), daemon=True)
    joins.start()
    joins.join(LIMIT)
    want(clients, 'the new client waits for ever')
    for h in a, *clients:
        read_all(h, data)
        h.shutdown()
    s.end()


def check_lengths():
    """The plugin takes only some lengths: it gets no read that is longer, and one that takes no
    single blocks, or no whole ones, is not read through the pool."""
    not_sanitized()
    data = content(1 << 20)
    put('disk', data)
    make()
    for least, most, fits in (1, 65536, True), (8192, 1 << 20, False), (512, 2048, False):
        put('reads', b'')
        s = plugin(len(data), block_size='echo %d %d %d' % (least, max(least, 512), most),
                   pread='printf . >> reads; test $3 -le %d && test $(($3 %% %d + $4 %% %d)) = 0 '
                   '|| { echo EINVAL length >&2; exit 1; }; ' % (most, least, least) + PREAD)
        h = s.connect()
        want(bool(h.can_cache()) == fits, 'from %d to %d: it reads through the pool: %s'
             % (least, most, bool(h.can_cache())))
        if fits:
            h.cache(len(data), 0)
            want(len(get('reads')) >= len(data) // most, 'nothing is read: this tests nothing')
            put('reads', b'')
        read_all(h, data, min(most, 65536))
        want(not get('reads') or not fits, 'a cache request was in vain')
        h.shutdown()
        s.end()
