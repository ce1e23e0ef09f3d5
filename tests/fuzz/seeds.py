#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
#
# seeds.py DIR - writes the first inputs of each fuzz target to DIR/TARGET, always the same bytes.
#
# They have what a fuzzer finds late by itself: magic bytes, lengths, lines, messages in their
# order. What fuzzers found later is in corpus/.
import lzma
import os
import random
import struct
import sys


IMAGES = (0, 1, 2, 3, 0x80, 0xc0)  # world_choose()


def pools():
    """An image, and sessions: steps, options, damage (how often, which, checks), calls."""
    r = random.Random(1)
    for image in IMAGES:
        for how in (0, 3, 0x80 | 3, 0x80 | 7):
            body = bytes([image])
            for _ in range(3):
                steps = r.choice([20, 0x80 | 20])
                body += bytes([steps, r.randrange(64), r.choice([0, 1, 2]), how])
                body += bytes(r.randrange(256) for _ in range(12 * (how & 7)))
                body += bytes([r.choice([255, 63, 4, 8, 28]), r.randrange(32), 1])
                body += bytes(r.randrange(256) for _ in range(60))
            yield 'image%d-%02x' % (image, how), body
    for image in IMAGES:  # headers: 12 changes, and their checks
        body = bytes([image, 20, r.randrange(3), 0, 0xcf])
        for _ in range(12):
            body += bytes([r.randrange(256), 1, r.choice([0x41, 0x51, r.randrange(256) | 1])])
        body += bytes([8, 0, r.randrange(2)])
        body += bytes([0x48, 0, 0, 0, 1, 0])  # cm_check(), two files
        for block in range(8):
            body += bytes([block % 2, block, 1, 1])  # reads
        body += bytes(r.randrange(256) for _ in range(60))
        yield 'headers%d' % image, body


def open_pools():
    r = random.Random(2)
    for image in IMAGES:
        for fixes in (0, 0x80):
            body = bytes([image, 39, 1 | r.randrange(4) << 2, 0])
            for _ in range(39):
                body += bytes([fixes | r.choice([0, 0, 1, 2])])
                body += bytes(r.randrange(256) for _ in range(9))
            yield 'open%d-%02x' % (image, fixes), body


def resizes():
    r = random.Random(4)
    for image in IMAGES:
        for how in (0, 3, 0x80 | 5):
            body = bytes([image, 0x80 | 23, r.randrange(64), 0, how])
            body += bytes(r.randrange(256) for _ in range(12 * (how & 7)))
            body += bytes([255, 31, 1]) if how & 0x80 else b''
            body += bytes(r.randrange(256) for _ in range(80))
            yield 'resize%d-%02x' % (image, how), body


def traces():
    lines = b'cachemax-trace 1\nf 1 etc/a%20file\nr 1 0 4096 12\nw 1 4096 100 13\n' \
            b'f 2 usr/lib/x\nr 2 1048576 70000 14\nf 1 moved\nr 1 5 1 15\nend 0\n'
    records = b''.join(struct.pack('<QIHBB', b, f, n, w, 0)
                       for b, f, n, w in ((0, 1, 4, 0), (9, 2, 1, 1), (2, 1, 8, 0)))
    binary = b'LCTRACE1' + struct.pack('<Q', 3) + records
    yield 'lines', b'\x01' + lines
    yield 'records', b'\x01' + binary
    yield 'lines-xz', b'\x00' + lzma.compress(lines)
    yield 'records-xz', b'\x01' + lzma.compress(binary)
    yield 'cut', b'\x00' + lines[:60]


def configs():
    yield 'all', (b'# the service\npool = /var/lib/cachemax/pool\nsocket = /run/cachemax.socket\n'
                  b'clients = 10 # at a time\nfiles = 4096\nfolder = /home/x\nfolder = /srv/a b\n'
                  b'exclude = *.tmp\nexclude = build/out\nexclude = a*b*c*d?e\n')
    yield 'bom', b'\xef\xbb\xbfpool=/p\r\nsocket=/s\r\n'
    yield 'wrong', b'pool = /p\npool = "q"\nsocket /s\n\x00'


def commands():
    lines = ((0, '--size', '8G', '--max-files=1000', 'pool'), (3, '--repair', 'pool', '-q'),
             (9, 'pool', 'slot', '12'), (5, 'pool', '--json'), (4, '1.5T', '10GB', '4096', '-1'),
             (12, '--poll', '--', '-x'), (14, '-h', '--help', '--no-such=1'))
    for i, line in enumerate(lines):
        yield 'line%d' % i, bytes([line[0]]) + '\0'.join(line[1:]).encode() + b'\0'
    looks = ((0, '--json'), (1, '--metadata', '--quick'), (2, '--count', '--all'),
             (3, 'superblock'), (3, 'slot', '3'), (3, 'cell', '0'), (3, 'record', '1'),
             (3, 'find', '1:2', '7'), (3, 'file', '00000000000000010000000000000002'), (4, '-v'))
    for i, line in enumerate(looks):
        yield 'look%d' % i, bytes([0x80 | line[0]]) + '\0'.join(line[1:]).encode() + b'\0'


def requests():
    for i, (path, host, accept) in enumerate((
            ('/', 'localhost:9843', ''), ('/metrics', '127.0.0.1', 'text/plain'),
            ('/metrics', '[::1]:80', 'application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0'),
            ('/stats.json', 'box.example', ''), ('/health', 'LOCALHOST.', ''),
            ('/x', 'evil.example', ''))):
        texts = ('GET', path, host, accept, 'box.example,other', '/a "pool"\\\x01')
        yield 'get%d' % i, bytes([4 if i == 4 else 0]) + '\0'.join(texts).encode() + b'\0'
    yield 'post', b'\0POST\0/metrics\0localhost\0\0\0p\0'


def controls():
    yield 'request', b'\0cachemax 1 warm 18446744073709551615 12'
    yield 'no-request', b'\0cachemax 1000 warm 1 99999'
    answer = (b'is cached 4096\nis path a%20b%25\nat 10 100\nis quota 4096 8192 a/dir\n'
              b'end 0 done\nend -100011 too many clients\n')
    yield 'answer', b'\1\xff' + answer
    yield 'answer-in-pieces', b'\1' + b''.join(b'\x04' + answer[i:i + 5]
                                              for i in range(0, len(answer), 5))


def sound(who, command, body, file=None, more=b'', how=7):
    """A message as fuzz_protocol makes it: `more` are the bytes that its fields take later."""
    head = bytes([who, how, command - 1])
    return head + (b'' if file is None else bytes([file])) + b'\x01' + body + more


def messages():
    validator = bytes([1, 1, 0, 0, 0, 9])
    hello = sound(0, 1, bytes(16))
    opened = sound(0, 2, struct.pack('<QQQQ', 0, 5, 0, 0) + bytes(64), more=validator)
    read = sound(0, 4, struct.pack('<QII', 4096, 4096, 0), 1)
    fill = sound(0, 5, struct.pack('<QII', 1, 0, 0), 1, b'\0')
    write = sound(0, 6, struct.pack('<QQ', 4096, 4096), 1)
    ended = sound(0, 8, struct.pack('<QQ', 1, 1) + bytes(64), 1, validator)
    yield 'read-fill-read', hello + opened + read + fill + read
    yield 'write', hello + opened + write + read + ended + read
    steer = b''.join((sound(0, 14, b''), sound(0, 16, struct.pack('<QQ', 0, 5)),
                      sound(0, 17, struct.pack('<QQ', 0, 40960), 1),
                      sound(0, 18, struct.pack('<II', 1, 0), 1), sound(0, 19, b''),
                      sound(0, 20, b''), sound(0, 13, struct.pack('<QQII', 0, 5, 1, 0))))
    yield 'steer', hello + opened + steer
    yield 'two', hello + opened + bytes([1]) + hello[1:] + bytes([1]) + opened[1:] + read


def answers():
    r = random.Random(3)
    yield 'good', bytes([0, 255]) + bytes(200)
    for i in range(6):
        body = bytes([0, 255])
        for _ in range(40):
            body += bytes([r.choice([0, 0x40, 0x42, 0x80, 0x81]) | r.randrange(64)])
            body += bytes(r.randrange(256) if r.random() < .4 else 0 for _ in range(12))
        yield 'mixed%d' % i, body


TARGETS = {'pool': pools, 'open_pool': open_pools, 'resize': resizes, 'trace': traces,
           'config': configs, 'args': commands, 'http': requests, 'control': controls,
           'protocol': messages, 'answers': answers}


def main():
    if len(sys.argv) != 2:
        sys.exit('usage: seeds.py DIR')
    for target, seeds in TARGETS.items():
        where = os.path.join(sys.argv[1], target)
        os.makedirs(where, exist_ok=True)
        for name, content in seeds():
            with open(os.path.join(where, 'seed-' + name), 'wb') as f:
                f.write(content)


if __name__ == '__main__':
    main()
