# SPDX-License-Identifier: BSD-2-Clause
"""begins.py - checks of nbd-test.py: what the filter does when a server or a connection begins."""
import os
import re
import shutil
import signal
import threading
import time

from serve import (
    BLOCK, ENV, Failed, Server, Skipped, cold_part, content, counter, dirty, eventually, get, make,
    nbd, not_sanitized, put, read_all, refused, run, want, warm_after_ending, works)


def check_never_written():
    """An image that nobody writes is proved synced when it is opened, once: else all of it would be
    cold after a power cut."""
    data = content(1 << 20)
    put('disk', data)
    for n, words in enumerate((('cachemax-id=vm',), ())):
        for options in ('-r',), ():
            pool = 'pool%d%s' % (n, ''.join(options))
            make(pool)
            s = Server('file', 'disk', *words, 'logfile=calls', below=('log',), options=options,
                       pool=pool)
            for _ in range(2):
                h = s.connect()
                read_all(h, data)
                want(get('calls').count(b' Flush ') == 1, '%s %s: the plugin was asked to flush %d '
                     'times' % (words, options, get('calls').count(b' Flush ')))
            s.end(signal.SIGKILL)
            want(not dirty(pool), '%s %s: it is dirty' % (words, options))


def check_flush_impossible():
    """An image that cannot be flushed at all: this says nothing, and it is cached."""
    not_sanitized()
    data = content(1 << 20)
    put('disk', data)
    make()
    s = Server('eval', 'get_size=echo %d' % len(data), 'cachemax-id=eval', 'can_flush=exit 0',
               'pread=dd if=%s bs=64K iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none'
               % os.path.abspath('disk'), 'flush=echo EROFS no >&2; touch %s; exit 1'
               % os.path.abspath('asked'), options=('-r',))
    h = s.connect()
    for _ in range(2):
        read_all(h, data)
    h.shutdown()
    s.end()
    want(os.path.exists('asked'), 'nobody asked for a flush: this tests nothing')
    cold = cold_part(size=2 * len(data))
    want(cold < 0.6, '%.2f of it came from the plugin' % cold)


SLOW_PLUGIN = r'''
case $4 in
1048576)
  touch begun; n=0
  while test ! -e go && test $n -lt 600; do sleep 0.1; n=$((n + 1)); done
  test -e go || touch nobody-said-go; touch ended;;
*) echo read >> reads;;
esac
dd if=disk bs=64K iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none'''


def check_new_beside_slow_read():
    """A plugin without multi-conn is slow to answer a read, and another client connects. It waits
    for the read; writes and flushes do not."""
    not_sanitized()
    data = content(2 << 20)
    put('disk', data)
    put('reads', b'')
    make()
    here = 'cd "%s"; ' % os.getcwd()
    s = Server('eval', 'thread_model=echo parallel', 'get_size=echo %d' % len(data),
               'cachemax-id=eval', 'pread=' + here + SLOW_PLUGIN, 'can_write=exit 0',
               'pwrite=' + here + 'dd of=disk oflag=seek_bytes seek=$4 conv=notrunc status=none',
               'can_flush=exit 0', 'flush=exit 0')
    a = s.connect()
    for _ in range(2):
        want(a.pread(BLOCK, 0) == data[:BLOCK], 'wrong bytes')
    want(get('reads') == b'read\n', 'the second read does not come from the pool')
    slow = nbd.Buffer(BLOCK)
    a.aio_pread(slow, 1 << 20)

    def begun():
        a.poll(0)
        return os.path.exists('begun')
    eventually(begun, 'the slow read does not begin')
    order = []

    def connect():
        order.append(s.connect())
        order.append(os.path.exists('ended'))
    joins = threading.Thread(target=connect)
    joins.start()
    # As soon as the new one is known, the other one reads past the pool.
    eventually(lambda: a.pread(BLOCK, 0) and get('reads') != b'read\n', 'no client is seen')
    a.pwrite(b'x' * BLOCK, 0)
    a.flush()
    want(not os.path.exists('nobody-said-go'), 'a write waits for the slow read')
    for _ in range(20):
        want(a.pread(BLOCK, 0) == b'x' * BLOCK, 'old bytes')
    want(not order, 'the new client does not wait for the read')
    put('go', b'')
    joins.join()
    b = order[0]
    want(order[1], 'the new client was there before the read ended')
    want(b.pread(BLOCK, 0) == b'x' * BLOCK, 'old bytes')
    b.pwrite(b'y' * BLOCK, 1 << 20)
    b.shutdown()
    a.shutdown()
    s.end()


def end_of(s, *exports):
    """How often the server waited at its end for the times of its images."""
    for name in exports:
        s.connect(name).shutdown()
    s.end()
    return len(get('sleeps')) if os.path.exists('sleeps') else 0


def check_times_that_never_count():
    """Images whose times lie in the future: to wait for these at the end helps nobody. Nor does a
    server wait for whole seconds that wrote nothing; one that wrote does."""
    not_sanitized()
    works('cc', '-D_GNU_SOURCE', '-shared', '-fPIC', '-o', 'count.so', os.path.join(
        os.path.dirname(os.path.abspath(__file__)), 'count_sleeps.c'))
    os.mkdir('dir')
    make()
    data = content(64 * BLOCK)
    put('disk', data)
    for name in 'abc':
        put('dir/' + name, data)
        os.utime('dir/' + name, (time.time() + 86400,) * 2)
    ENV.update(LD_PRELOAD=os.path.abspath('count.so'), SLEEPS=os.path.abspath('sleeps'),
               SLEEPS_NS='20000000', WHOLE_FILE=os.path.abspath('disk'))
    try:
        slept = end_of(Server('file', 'dir=dir'), 'a', 'b', 'c')
        want(slept == 0, 'times of the future: %d waits' % slept)
        ENV['WHOLE_NOW'] = '1'
        slept = end_of(Server('file', 'disk'), '')
        want(slept == 0, 'nothing was written: %d waits' % slept)
        del ENV['WHOLE_NOW']
        s = Server('file', 'disk')
        h = s.connect()
        h.pwrite(b'x' * BLOCK, 0)
        data[:BLOCK] = b'x' * BLOCK
        read_all(h, data)
        h.shutdown()
        s.end()
        s = Server('file', 'disk')
        h = s.connect()
        read_all(h, data)
        want(counter('attach_kept') == 1, 'cold after a write')
        h.shutdown()
        s.end()
    finally:
        for name in 'LD_PRELOAD', 'SLEEPS', 'SLEEPS_NS', 'WHOLE_FILE', 'WHOLE_NOW':
            ENV.pop(name, None)


def check_file_names():
    """What a filter or a plugin does is not told by the name of its file: under another name than
    nbdkit's own, it may change the content."""
    put('disk', content())
    make()
    folders = works('nbdkit', '--dump-config')
    found = [re.search(kind + 'dir=(.*)', folders).group(1) + '/nbdkit-%s-%s.so' % (name, kind)
             for kind, name in (('filter', 'swab'), ('plugin', 'file'))]
    if not all(os.path.exists(f) for f in found):
        raise Skipped('nbdkit has no filter swab')
    for path, name in zip(found, ('swab.so', 'other.so')):
        shutil.copy(path, name)
    refused('cachemax-id=NAME', 'file', 'disk', below=('./swab.so',))
    refused('cachemax-id=NAME', './other.so', 'disk')


def check_pool_in_folder():
    """The pool and its key are no exports, whatever their names: a client could change there what
    others read."""
    not_sanitized()
    os.mkdir('dir')
    put('dir/disk', content())
    put('dir/key', bytes(32))
    os.chmod('dir/key', 0o600)
    make('dir/pool')
    make()
    os.symlink('dir/pool', 'link')
    os.symlink('../pool', 'dir/other')
    named = ('cachemax-id=vms', 'cachemax-exports=each')
    for words in (), named:
        for pool in 'dir/pool', 'link', 'dir/new':
            for name in 'dir=dir', 'directory=dir':  # the plugin knows both
                refused('%s lies in the folder .*/dir' % pool, 'file', name, *words,
                        'cachemax-size=8M', pool=pool)
        refused('dir/key lies in the folder .*/dir', 'file', 'dir=dir', *words,
                'cachemax-key-file=dir/key')
        want(not os.path.exists('dir/new'), 'it was made')
        s = Server('file', 'dir=dir', *words)
        s.connect('disk').shutdown()
        try:
            s.connect('other')
            raise Failed('the pool is served')
        except nbd.Error:
            want('other is the pool or its key' in s.text(), 'it says: ' + s.text())
        s.end()


def check_name_in_log():
    """A client cannot write a line of its own into the log, nor a command to a terminal."""
    not_sanitized()
    put('disk', content())
    make()
    s = Server('file', 'disk', 'cachemax-id=vm')
    try:
        s.connect('a\nnbdkit: all is well \033[2J')
        raise Failed('the name is served')
    except nbd.Error:
        want('the export "a\\x0anbdkit: all is well \\x1b[2J"' in s.text(), 'it says: ' + s.text())
    s.end()


def check_not_a_name_here():
    """A file= that names something elsewhere, as that of the plugin vddk does; without an id it
    must be a file."""
    make()
    refused('none', 'file', 'file=none')
    not_sanitized()
    data = content()
    put('disk', data)
    put('plugin.sh', b'''case $1 in
config) test "$2 $3" = 'file [store] a/b.vmdk';;
get_size) stat -c %s disk;;
pread) dd if=disk iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none;;
*) exit 2;;
esac
'''.replace(b'disk', os.fsencode(os.path.abspath('disk'))))
    put('plugin.sh', b'#!/bin/sh\n' + get('plugin.sh'))
    os.chmod('plugin.sh', 0o700)
    s = Server('sh', 'plugin.sh', 'file=[store] a/b.vmdk', 'cachemax-id=guest')
    h = s.connect()
    read_all(h, data)
    want(h.can_cache(), 'it is not cached')
    h.shutdown()
    s.end()


def protect(path, on):
    """Nobody can open it for writing; root not, either."""
    if os.geteuid():
        os.chmod(path, 0o444 if on else 0o644)
        return
    status, text = run('chattr', '+i' if on else '-i', path)
    if status:
        raise Skipped('chattr: ' + text.strip())


def check_reader_before_writer():
    """The first client of an image cannot write, a later one can: after SIGTERM it is warm."""
    data = content()
    put('disk', data)
    make()
    protect('disk', True)
    try:
        s = Server('file', 'disk', 'logfile=calls', below=('log',))
        h = s.connect()
        want(h.is_read_only(), 'it can be written: this tests nothing')
        read_all(h, data)
        h.shutdown()
        eventually(lambda: b' Disconnect ' in get('calls'), 'the connection is not closed')
    finally:
        protect('disk', False)
    h = s.connect()
    want(not h.is_read_only(), 'it cannot be written')
    data[BLOCK:2 * BLOCK] = b'x' * BLOCK
    h.pwrite(b'x' * BLOCK, BLOCK)
    h.flush()
    read_all(h, data)
    warm_after_ending(s, h, data)


def check_another_size():
    """A filter below that changes the size: the message says what to do."""
    data = content()
    put('disk', data)
    make()
    s = Server('file', 'disk', 'minblock=4096', below=('blocksize',))
    h = s.connect()
    size = h.get_size()
    want(h.is_read_only() and size < len(data), 'this tests nothing')
    read_all(h, data[:size])
    want(re.search('its size is %d, but the export.s is %d.* blocksize.*cachemax-id=NAME'
                   % (len(data), size), s.text()), 'it says: ' + s.text())
    h.shutdown()
    s.end()
    s = Server('file', 'disk', 'minblock=4096', 'cachemax-id=vm', below=('blocksize',))
    h = s.connect()
    want(not h.is_read_only() and h.can_cache(), 'it is not cached with an id')
    for _ in range(2):
        read_all(h, data[:size])
    h.shutdown()
    s.end()
