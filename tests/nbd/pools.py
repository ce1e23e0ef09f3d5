# SPDX-License-Identifier: BSD-2-Clause
"""pools.py - checks of nbd-test.py: a pool that is in use, out of reach, or lost, or has a key."""
import os
import random
import signal

from serve import (
    BLOCK, TOOL, Failed, Server, Skipped, cold_part, content, get, leave_ending, make, nbd,
    not_sanitized, put, read_all, refused, run, want)


def check_pool_in_use():
    put('disk', content())
    make()
    s = Server('file', 'disk')
    s.connect().shutdown()  # it listens before it opens the pool
    refused('pool .* is in use by process %d' % s.process.pid, 'file', 'disk')
    s.end(signal.SIGKILL)
    Server('file', 'disk').end()


def check_pool_lost():
    """The pool is truncated, or its pages are overwritten, while clients read and write: every byte
    is right, and nothing crashes. A write works, or the image is as before: without the state of
    the pool no old bytes can be forgotten, so that one fails."""
    for trouble, size in ('truncate', 8192), ('truncate', 4096), ('scribble', 0):
        data = content()
        put('disk', data)
        pool = '%s-%d' % (trouble, size)
        make(pool)
        s = Server('file', 'disk', 'cachemax-id=vm', pool=pool)
        h = s.connect()
        read_all(h, data)
        read_all(h, data)
        if trouble == 'truncate':
            os.truncate(pool, size)
        else:
            with open(pool, 'r+b') as f:
                f.seek(8192)
                f.write(random.Random(5).randbytes((32 << 20) - 8192))
        read_all(h, data)
        for n in range(3):
            at = n * 7 * BLOCK
            try:
                h.pwrite(bytes([n]) * BLOCK, at)
                want(size != 4096, 'it writes, and cannot forget')
                data[at:at + BLOCK] = bytes([n]) * BLOCK
            except nbd.Error as e:
                want(e.errno == 'EIO', 'another error: %s' % e)
                want('cannot forget' in s.text(), 'it says: ' + s.text())
            want(get('disk') == data, 'a write that failed has changed the image')
            read_all(h, data)
        h.shutdown()
        h = s.connect()
        read_all(h, data)
        h.shutdown()
        s.end()


def key(path):
    put(path, os.urandom(32))
    os.chmod(path, 0o600)


def check_pool_out_of_reach():
    """What is in the way, and not to make a pool: that would be refused, too."""
    put('disk', content())
    os.symlink('nowhere', 'dangling')
    os.symlink('circle', 'circle')
    for more in (), ('cachemax-size=8M',):
        for pool, why in (('dangling', 'is a symbolic link to a file that does not exist'),
                          ('circle', 'symbolic links in this path lead in a circle'),
                          ('circle/pool', 'symbolic links in this path lead in a circle'),
                          ('nowhere/pool', "there is no directory '.*/nowhere'"),
                          ('dangling/pool', "'.*' is a symbolic link, and leads to no directory"),
                          ('disk/pool', 'there is no directory')):
            refused('^nbdkit: error: cachemax: there is no pool .*: %s.*; .*another path\n$' % why,
                    'file', 'disk', *more, pool=pool)


def check_sealed():
    """A sealed pool is made and warm with its key, and nbdkit does not start without it."""
    data = content()
    put('disk', data)
    key('key')
    key('other')
    status, text = run(TOOL, 'create', 'encrypted', '--size', '32M', '--key-file', 'key',
                       '--encrypt')
    if status != 0:
        refused('built without OpenSSL', 'file', 'disk', 'cachemax-key-file=key')
        raise Skipped(text.strip())
    for pool in 'sealed', 'encrypted':
        for warm in False, True:
            s = Server('file', 'disk', 'cachemax-size=32M', 'cachemax-key-file=key', pool=pool)
            h = s.connect()
            if not warm:
                data[BLOCK:2 * BLOCK] = os.urandom(BLOCK)
                h.pwrite(data[BLOCK:2 * BLOCK], BLOCK)
                h.flush()
            read_all(h, data)
            leave_ending(s, h)
            want((cold_part(pool) < 0.1) == warm, '%s: %.2f of it came from the plugin, warm: %d'
                 % (pool, cold_part(pool), warm))
        want((bytes(data[9 * BLOCK:10 * BLOCK]) in get(pool)) == (pool == 'sealed'),
             '%s: can what is cached be seen?' % pool)
        before = get(pool)
        refused('(cachemax-key-file=FILE)', 'file', 'disk', pool=pool)
        refused('another key', 'file', 'disk', 'cachemax-key-file=other', pool=pool)
        want(get(pool) == before, 'a refused start has changed the pool %s' % pool)
    make()
    refused('is not sealed', 'file', 'disk', 'cachemax-key-file=key')
    refused('cachemax-key-file=.*/none: No such file', 'file', 'disk', 'cachemax-key-file=none')
    refused('is given twice', 'file', 'disk', 'cachemax-key-file=key', 'cachemax-key-file=key')
    os.chmod('key', 0o644)
    refused('others than its owner may read it: chmod 600', 'file', 'disk',
            'cachemax-key-file=key', pool='sealed')


def check_key_is_no_export():
    """A client cannot have the key, by the name of a link to it."""
    not_sanitized()
    os.mkdir('dir')
    data = content()
    put('dir/disk', data)
    key('key')
    os.symlink('../key', 'dir/link')
    status, text = run(TOOL, 'create', 'pool', '--size', '32M', '--key-file', 'key')
    if status != 0:
        raise Skipped(text.strip())
    for words, name in (('dir=dir',), 'link'), (('dir/link',), ''), \
            (('dir=dir', 'cachemax-id=vms', 'cachemax-exports=each'), 'link'):
        s = Server('file', *words, 'cachemax-key-file=key')
        if name:
            h = s.connect('disk')
            read_all(h, data)
            h.shutdown()
        try:
            s.connect(name)
            raise Failed('%s: the key is served' % ' '.join(words))
        except nbd.Error:
            want('is the pool or its key' in s.text(), 'it says: ' + s.text())
        s.end()
