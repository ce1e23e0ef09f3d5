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
import sys
import tempfile
import threading
import traceback

sys.dont_write_bytecode = True
from begins import (  # noqa: E402,F401
    check_another_size, check_file_names, check_flush_impossible, check_name_in_log,
    check_never_written, check_new_beside_slow_read, check_not_a_name_here, check_pool_in_folder,
    check_reader_before_writer, check_times_that_never_count)
from idle import check_many_files, check_replaced  # noqa: E402,F401
from layers import (  # noqa: E402,F401
    check_cache_request_is_over, check_flush_beside_a_write, check_lengths)
from pools import (  # noqa: E402,F401
    check_key_is_no_export, check_pool_in_use, check_pool_lost, check_pool_out_of_reach,
    check_sealed)
from serve import (  # noqa: E402
    BLOCK, BUILD, ENV, FILTER, SIZE, TOOL, Failed, Server, Skipped, Writer, blocks, buffered, calls,
    cold_part, content, counter, dirty, eventually, get, leave_ending, make, nbd, not_sanitized,
    put, read_all, reads_through, refused, run, sanitized, settle_doubts, want, warm_after_ending,
    web_server, works)
from trims import check_large_trims  # noqa: E402,F401


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
    warm_after_ending(s, h, data)


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


def check_kills():
    """Several connections write, trim, zero, flush and read, and nbdkit is killed: every byte is
    right afterwards, and the image with an id stays warm: only what was written is cold, and what
    waited in memory."""
    data = content()
    put('disk', data)
    make()
    changed = set(range(len(data) // BLOCK + 1))
    for turn in range(4):
        s = Server('file', 'disk', 'cachemax-id=vm', 'logfile=calls', below=('log',))
        h = s.connect()
        read_all(h, data)
        cold = blocks(calls('Read'))
        want(len(cold - changed) <= buffered(32 << 20), 'cold after a kill: %d blocks that nobody '
             'wrote' % len(cold - changed))
        want(turn == 0 or cold_part() < 0.6, 'cold after a kill: %.2f of it came from the plugin'
             % cold_part())
        Writer.stop = threading.Event()
        workers = [Writer(s, data, i, 3, 10 * turn + i) for i in range(3)]
        for w in workers:
            w.start()
        eventually(lambda ws=workers: all(w.done > 60 or w.wrong for w in ws), 'no progress')
        h.flush()
        Writer.stop.set()
        s.end(signal.SIGKILL)
        for w in workers:
            w.join()
            want(not w.wrong, str(w.wrong))
        changed = set().union(*[w.changed for w in workers])
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
    """A flush, and a change with FUA, reach the plugin and prove the file synced; a write alone
    leaves it dirty."""
    put('disk', content())
    make()
    for what, change, fua, flush in (
            ('a write', 'pwrite', 0, False), ('a flush', 'pwrite', 0, True),
            *[(change + ' with FUA', change, nbd.CMD_FLAG_FUA, False)
              for change in ('pwrite', 'trim', 'zero')]):
        s = Server('file', 'disk', 'cachemax-id=vm', 'logfile=calls', below=('log',))
        h = s.connect()
        before = get('calls').count(b' Flush ')
        getattr(h, change)(b'x' * 512 if change == 'pwrite' else 512, 0, fua)
        if flush:
            h.flush()
        s.end(signal.SIGKILL)  # a client that leaves is flushed
        proves = bool(fua or flush)
        want(dirty() != proves, '%s: dirty: %s' % (what, dirty()))
        flushes = get('calls').count(b' Flush ') - before
        want(flushes == proves, '%s: %d flushes reached the plugin' % (what, flushes))


def check_client_leaves():
    """What a client did not flush is flushed when it leaves. What others write to the file after
    that, before the next client comes, is seen."""
    data = content()
    put('disk', data)
    make()
    s = Server('file', 'disk', 'logfile=calls', below=('log',))
    h = s.connect()
    read_all(h, data)
    h.pwrite(b'x' * BLOCK, 0)
    h.shutdown()
    eventually(lambda: b' Disconnect ' in get('calls'), 'the connection is not closed')
    want(get('calls').rfind(b' Flush ') > get('calls').find(b' Write '), 'nothing was flushed')
    data[:2 * BLOCK] = b'y' * 2 * BLOCK
    with open('disk', 'r+b') as f:
        f.write(data[:2 * BLOCK])
    os.utime('disk', (1, 1))  # another time, however fast this was
    h = s.connect()
    read_all(h, data)
    h.shutdown()
    s.end()


def check_late_flush():
    """A flush of a connection that opened after the writes proves nothing."""
    put('disk', content())
    make()
    for writes, flushes, proves in ((0, 1, False), (0, 0, True), (1, 0, True)):
        s = Server('file', 'disk', 'cachemax-id=vm')
        hs = [s.connect()]
        if writes == 1:
            hs.append(s.connect())
        hs[writes].pwrite(b'x' * 512, 0)
        if writes == 0:
            hs.append(s.connect())
        hs[flushes].flush()
        s.end(signal.SIGKILL)
        want(dirty() != proves, 'connection %d writes, %d flushes: dirty: %s'
             % (writes, flushes, dirty()))


def check_failing_flush():
    """A flush that fails is the plugin's error, and the image is not cached any more; its reads and
    writes go on."""
    not_sanitized()
    data = content()
    put('disk', data)
    make()
    fail = "test ! -e '%s'" % os.path.abspath('fail')
    disk = os.path.abspath('disk')
    place = 'iflag=skip_bytes,count_bytes skip=$4 count=$3'
    words = ('eval', 'get_size=echo %d' % SIZE, 'cachemax-id=eval',
             'pread=dd if=%s bs=64K %s status=none' % (disk, place),
             'pwrite=dd of=%s oflag=seek_bytes seek=$4 conv=notrunc status=none' % disk,
             'can_write=exit 0', 'can_flush=exit 0', 'can_multi_conn=exit 0',
             'flush=%s || { echo ENOSPC full >&2; exit 1; }' % fail)
    s = Server(*words)
    h = s.connect()
    read_all(h, data, 1 << 20)
    put('fail', b'')
    for fua in (0, nbd.CMD_FLAG_FUA):
        h.pwrite(b'x' * BLOCK, 0)
        data[:BLOCK] = b'x' * BLOCK
        try:
            if fua:
                h.pwrite(b'x' * BLOCK, 0, fua)
            else:
                h.flush()
            raise Failed('no error')
        except nbd.Error as e:
            want(e.errno == 'ENOSPC', 'another error: %s' % e)
    read_all(h, data, 1 << 20)
    os.unlink('fail')
    h.flush()
    put('disk', bytes(SIZE))  # were anything of it cached, this would not be read
    read_all(h, bytes(SIZE), 1 << 20)
    s.end(signal.SIGKILL)
    s = Server(*words)
    h = s.connect()
    read_all(h, bytes(SIZE), 1 << 20)
    h.shutdown()
    s.end()


def check_checkpoints():
    """The server makes them by itself."""
    put('disk', content())
    make()
    s = Server('file', 'disk')
    h = s.connect()
    h.pread(BLOCK, 0)
    kind = works('stat', '-f', '-c', '%T', 'pool').strip()
    try:
        if kind not in ('ext2/ext3', 'xfs', 'btrfs', 'f2fs'):
            raise Skipped('a pool on %s has no checkpoints' % kind)
        eventually(lambda: counter('checkpoints') > 0, 'no checkpoint')
    finally:
        h.shutdown()
        s.end()


def check_clock_set_back():
    """It makes checkpoints also after the wall clock was set back by an hour."""
    not_sanitized()
    put('ahead', b'')
    ENV.update(LD_PRELOAD=os.path.join(BUILD, 'tests/clock_ahead.so'),
               CLOCK_AHEAD=os.path.abspath('ahead'))
    try:
        check_checkpoints()
    finally:
        del ENV['LD_PRELOAD'], ENV['CLOCK_AHEAD']


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


def check_bad_sector():
    """A sector below that cannot be read fails the reads of that sector, and no others."""
    not_sanitized()
    data = content(64 * BLOCK)
    put('disk', data)
    make()
    disk = os.path.abspath('disk')
    bad = 20 * BLOCK + 1024
    s = Server('eval', 'get_size=echo %d' % len(data), 'cachemax-id=eval',
               'pread=if test $4 -lt %d && test $(($3 + $4)) -gt %d; then echo EIO bad >&2; exit 1;'
               ' fi; dd if=%s bs=64K iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none'
               % (bad + 512, bad, disk))
    h = s.connect()
    for at in range(0, len(data), 512):
        try:
            want(h.pread(512, at) == data[at:at + 512] and at != bad, 'wrong bytes at %d' % at)
        except nbd.Error as e:
            want(at == bad and e.errno == 'EIO', 'at %d: %s' % (at, e))
    h.shutdown()
    s.end()


def check_part_of_a_write():
    """A write of which only a part was made before it failed: what is read is what is there."""
    not_sanitized()
    data = content()
    put('disk', data)
    make()
    disk = os.path.abspath('disk')
    s = Server('eval', 'get_size=echo %d' % SIZE, 'cachemax-id=eval', 'can_write=exit 0',
               'pread=dd if=%s bs=64K iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none'
               % disk,
               'pwrite=dd of=%s oflag=seek_bytes seek=$4 conv=notrunc bs=512 count=3 status=none;'
               ' echo EIO half >&2; exit 1' % disk)
    h = s.connect()
    read_all(h, data, 1 << 20)
    try:
        h.pwrite(b'x' * 2 * BLOCK, 1000)
        raise Failed('no error')
    except nbd.Error:
        pass
    data[1000:1000 + 3 * 512] = b'x' * 3 * 512
    read_all(h, data, 1 << 20)
    h.shutdown()
    s.end()


def check_resized():
    """The image gets another size while nbdkit runs: old and new connections read right bytes."""
    for words in ((), ('cachemax-id=vm',)):
        pool = 'pool%d' % len(words)
        make(pool)
        data = content(100 * BLOCK + 100)
        put('disk', data[:50 * BLOCK + 100])
        s = Server('file', 'disk', *words, pool=pool)
        hs = []
        for size in (50 * BLOCK + 100, 100 * BLOCK + 100, 10 * BLOCK + 7, 50 * BLOCK + 100):
            with open('disk', 'r+b') as f:
                f.truncate(size)
                f.write(data[:size])
            hs.append((s.connect(), size))
            want(hs[-1][0].get_size() == size, 'another size')
            for h, n in hs:
                read_all(h, data[:min(n, size)], 9000)
        for h, _ in hs:
            h.shutdown()
        s.end()
        s = Server('file', 'disk', *words, pool=pool)
        h = s.connect()
        read_all(h, data[:50 * BLOCK + 100])
        h.shutdown()
        s.end()


def check_stacked():
    """With other filters above and below."""
    make()
    for n, (above, below, words, first) in enumerate((
            (('cache',), (), ('cache=writeback',), 0),
            (('blocksize',), (), ('minblock=64K',), 0),
            ((), ('blocksize',), ('maxdata=4K', 'maxlen=8K'), 0),
            ((), ('offset',), ('offset=10000', 'range=500000'), 10000),
            (('fua', 'stats'), ('nozero', 'noextents'), ('statsfile=/dev/null',), 0))):
        data = content(640 * 1024)
        put('disk', data)
        s = Server('file', 'disk', 'cachemax-id=%d' % n, *words, above=above, below=below)
        h = s.connect()
        size = h.get_size()
        r = random.Random(n)
        for _ in range(150):
            at = r.randrange(size - 1)
            length = r.randrange(1, min(30000, size - at) + 1)
            what = r.choice(('pwrite', 'zero' if h.can_zero() else 'pwrite', 'pread', 'pread',
                             'pread', 'flush'))
            if what == 'pwrite':
                new = r.randbytes(length)
                h.pwrite(new, at, nbd.CMD_FLAG_FUA if h.can_fua() and r.random() < 0.5 else 0)
                data[first + at:first + at + length] = new
            elif what == 'zero':
                h.zero(length, at)
                data[first + at:first + at + length] = bytes(length)
            elif what == 'flush':
                h.flush()
            else:
                want(h.pread(length, at) == data[first + at:first + at + length],
                     'wrong bytes with %s over it and %s below it' % (above, below))
        read_all(h, data[first:first + size])
        h.flush()
        h.shutdown()
        s.end()
        want(get('disk') == data, 'the image is wrong with %s, %s' % (above, below))


def check_far():
    """An image on a volume that somebody else keeps: what was not flushed is cold after a kill."""
    if os.geteuid() or not shutil.which('bindfs'):
        raise Skipped('needs root and bindfs')
    os.mkdir('real')
    os.mkdir('far')
    status, text = run('bindfs', 'real', 'far')
    if status:
        raise Skipped('bindfs: %s' % text.strip())
    try:
        data = content(64 * BLOCK)
        put('far/disk', data)
        make()
        for turn in range(2):
            s = Server('file', 'far/disk', 'cachemax-id=vm')
            h = s.connect()
            if turn == 0:
                h.pwrite(bytes(BLOCK), 0)
                data[:BLOCK] = bytes(BLOCK)
            h.cache(len(data), 0)
            read_all(h, data)
            want(counter('origin_bytes') > 0, 'a lost write would not be seen')
            s.end(signal.SIGKILL)
    finally:
        works('umount', '-l', 'far')


def check_links():
    """A symbolic link that leads elsewhere once nbdkit runs: the plugin stays with the old file."""
    for n in range(2):
        put(str(n), content(seed=n))
        os.utime(str(n), (1, 1))
    make()
    for n in range(2):
        os.symlink(str(n), 'new')
        os.rename('new', 'link')
        s = Server('file', 'link')
        if n == 0:
            os.symlink('1', 'new')
            os.rename('new', 'link')
        h = s.connect()
        read_all(h, content(seed=n))
        h.shutdown()
        s.end()


def check_curl():
    """The plugin curl, over a small server."""
    plugins = re.search('plugindir=(.*)', works('nbdkit', '--dump-config')).group(1)
    if not os.path.exists(plugins + '/nbdkit-curl-plugin.so'):
        raise Skipped('nbdkit has no plugin curl (Debian: nbdkit)')
    data = content(1 << 20)
    make()
    web, asked = web_server(data)
    for turn in range(2):
        s = Server('curl', 'http://127.0.0.1:%d/disk' % web.server_port, 'cachemax-id=web',
                   options=('-r',))
        h = s.connect()
        read_all(h, data)
        h.shutdown()
        s.end()
        want(asked if turn == 0 else not asked, 'turn %d: the server was asked %d times'
             % (turn, len(asked)))
        asked.clear()
    web.shutdown()
    web.server_close()


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


def check_read_only_beside_a_writer():
    """A client of a server with -r flushes, while somebody has the file open for writing: that
    writer may change it without a new time (through a mapping), so nothing is proved by that."""
    data = content()
    put('disk', data)
    os.utime('disk', (1, 1))
    make()
    with open('disk', 'r+b'):
        s = Server('file', 'disk', options=('-r',))
        h = s.connect()
        read_all(h, data)
        h.flush()
        h.shutdown()
        s.end()
    s = Server('file', 'disk', options=('-r',))
    h = s.connect()
    read_all(h, data)
    h.shutdown()
    s.end()
    want(counter('attach_kept') == 0, 'a flush of a reader made it warm')


def check_exports():
    """Several exports of one server, each with its own content."""
    not_sanitized()
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
    not_sanitized()
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
    not_sanitized()
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
    """A plugin without multi-conn, each of whose connections has a copy of its own: a connection
    reads through the pool only while it is alone. A flush proves nothing when two have written."""
    not_sanitized()
    data = bytearray(100 * BLOCK)
    put('disk', data)
    make()
    here = os.getcwd()
    s = Server('eval', 'get_size=echo %d' % len(data), 'cachemax-id=eval',
               'open=f=$(mktemp %s/copy.XXXXXX); cp %s/disk $f; echo $f' % (here, here),
               'pread=dd if=$2 bs=64K iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none',
               'pwrite=tee $2.new | dd of=$2 oflag=seek_bytes seek=$4 conv=notrunc status=none; '
               'dd if=$2.new of=%s/disk oflag=seek_bytes seek=$4 conv=notrunc status=none' % here,
               'can_write=exit 0', 'can_flush=exit 0', 'flush=exit 0')
    a = s.connect()
    want(a.can_cache(), 'a connection that is alone does not read through the pool')
    a.pwrite(b'a' * BLOCK, BLOCK)
    data[BLOCK:2 * BLOCK] = b'a' * BLOCK
    b = s.connect()
    want(not b.can_cache(), 'two connections read through the pool')
    b.pwrite(b'b' * BLOCK, 0)
    data[:BLOCK] = b'b' * BLOCK
    want(a.pread(BLOCK, 0) == bytes(BLOCK), 'the copies are none: this tests nothing')
    a.cache(BLOCK, 0)
    b.flush()
    a.shutdown()
    b.shutdown()
    eventually(lambda: reads_through(s), 'no later connection reads through the pool')
    c = s.connect()
    read_all(c, data)
    c.shutdown()
    s.end()
    want(dirty(), 'a flush of one of two connections proved it synced')


def check_parameters():
    put('disk', content())
    refused('give the pool: cachemax-pool', 'file', 'disk', pool=None)
    refused('there is no pool .*; make it with: cachemax create', 'file', 'disk')
    put('pool', b'no pool' * 1000)
    refused('not a cachemax pool', 'file', 'disk')
    os.unlink('pool')
    refused('cachemax-size is no multiple', 'file', 'disk', 'cachemax-size=1000')
    refused('cachemax-size=64X is no size; write .*64G', 'file', 'disk', 'cachemax-size=64X')
    refused('cannot make the pool', 'file', 'disk', 'cachemax-size=4096')
    make()
    refused('no parameter cachemax-foo', 'file', 'disk', 'cachemax-foo=1')
    refused('given twice', 'file', 'disk', 'cachemax-id=a', 'cachemax-id=b')
    refused('cachemax-size is given twice', 'file', 'disk', 'cachemax-size=8M', 'cachemax-size=9M')
    refused('cachemax-exports is given twice', 'file', 'disk', 'cachemax-exports=same',
            'cachemax-exports=each')
    refused('is empty', 'file', 'disk', 'cachemax-id=')
    refused('same or each', 'file', 'disk', 'cachemax-id=a', 'cachemax-exports=x')
    refused('need cachemax-id', 'file', 'disk', 'cachemax-version=2')
    refused('cachemax-id=NAME', 'memory', '1M')
    refused('cachemax-id=NAME', 'file', 'disk', below=('cow',))
    refused('cachemax-id=NAME', 'file', 'disk', above=('cow',))  # it cannot see the order
    refused('cachemax-id=NAME', 'file', 'disk', below=('retry',))  # it may open another file
    refused('has this filter twice', 'file', 'disk', below=(FILTER,))
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
    leave_ending(s, h)
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
    sanitized()
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
