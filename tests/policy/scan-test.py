#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""scan-test.py - how many hits does a scan cost, measured with the library itself?

  scan-test.py BUILD [--table]

Makes traces, the same ones each time: reads of a hot set with a Zipf distribution, and in them a
scan of other blocks, in one go or between the hot reads. Two hot sets: one of four times the pool,
one that fits into three quarters of it. "cachemax replay" takes them through the library (AUTO and
S3R, without a probation buffer and with one of 1 and of 10 % of the pool) and through LRU and
CLOCK, and so it does the same hot reads without the scan. Kept: hits with the scan / hits without
it, of the hot reads between which it comes, or of as many as the pool has slots when it is over.

Wanted, where each block is scanned once, or again after more than the pool's size: of the large set
96 %, and five points more of the reads hit than with LRU and CLOCK; of the small one 97 % with a
buffer, 80 % without one, and more than with those two. Where the scan comes again sooner, it is a
new hot set, and all hits count: between the hot reads at most 8 (AUTO: 16) points fewer than with
LRU or CLOCK, in one go 0.3 of theirs, for this is what resistance costs.

A new pool draws a seed, and with it the blocks that AUTO learns from. So a case that is not good
runs four times more, and the medians decide. Prints "ok NAME" or "FAIL NAME: why", "N passed, N
failed, N skipped" last; with --table, instead, the tables of docs/notes/policy-tables.md.
"""
import argparse
import concurrent.futures
import itertools
import os
import random
import statistics
import struct
import sys
import tempfile

from measure import Checks, replay, tool_of

SLOTS = 8192
LEARN = 8 * SLOTS  # hot reads before the scan
BUFFERS = {'': '0', ' +1 %': '0.01', ' +10 %': '0.1'}
COLUMNS = ('lru', 'clock', 's3r', 'auto', 's3r +1 %', 'auto +1 %', 's3r +10 %', 'auto +10 %')
HOT = {'large': (4 * SLOTS, 0.9), 'small': (SLOTS * 3 // 4, 0.8)}  # blocks, exponent
RECORD = struct.Struct('<QIHBB').pack  # first block, file, blocks, 0: a read, 0


def hot_reads(blocks, exponent, n):
    rng = random.Random(6)
    weights = list(itertools.accumulate(1 / (i + 1) ** exponent for i in range(blocks)))
    place = list(range(blocks))
    rng.shuffle(place)
    return [RECORD(place[i], 1, 1, 0, 0)
            for i in rng.choices(range(blocks), cum_weights=weights, k=n)]


def scan(share, times=1, repeat=1, length=1):
    """A file of that share of the pool, `times` over; each block `repeat` times in a row, or
    `length` a record."""
    blocks = int(share * SLOTS)
    once = [RECORD(b, 2, length, 0, 0) for b in range(0, blocks, length) for _ in range(repeat)]
    return once * times


class Case:
    """The scan, and how many hot reads are counted: those between its reads, or those behind it."""

    def __init__(self, name, records, between=0, length=1, soon=False):
        self.name, self.records, self.between = name, records, between
        self.length, self.soon = length, soon
        self.hot = between or SLOTS

    def records_with(self, hot):
        """All after LEARN, and how many blocks of it are not counted."""
        if not self.between:
            return self.records + hot, len(self.records) * self.length
        share = len(self.records) / len(hot)
        cuts = [int(i * share) for i in range(len(hot) + 1)]
        return [r for i, h in enumerate(hot) for r in (*self.records[cuts[i]:cuts[i + 1]], h)], 0


CASES = [Case('%dx' % x, scan(x, length=16), length=16) for x in (1, 4, 10)] + [
    Case('2x, each block read 4 times in a row', scan(2, repeat=4)),
    Case('2x, 5 times', scan(2, times=5, length=16), length=16),
    Case('1x, every other read', scan(1), SLOTS),
    Case('4x, every other read', scan(4), 4 * SLOTS),
    Case('10x, every other read', scan(10), 10 * SLOTS),
    Case('10x, 9 of 10 reads', scan(10), 10 * SLOTS // 9),
    Case('1x, 5 times', scan(1, times=5, length=16), length=16, soon=True),
    Case('0.5x, 5 times', scan(0.5, times=5, length=16), length=16, soon=True),
    Case('1x, 4 times, every other read', scan(1, times=4), 4 * SLOTS, soon=True),
    Case('0.5x, 8 times, every other read', scan(0.5, times=8), 4 * SLOTS, soon=True),
]


def hits_of(tool, path, blocks, first):
    """{policy: (hits, hits from block `first` on)}; LRU and CLOCK are asked for once."""
    found = {}
    for label, buffer in BUFFERS.items():
        one = replay(tool, path, '--size', SLOTS, '--probation', buffer, '--restart-at',
                     '%.12f' % ((first - 0.5) / blocks), 'none')
        for policy, its in [('auto', one), *one['policies'].items()]:
            name = policy + ('' if policy in ('lru', 'clock') else label)
            found[name] = its['hits'], its['hits_after']
    return found


def run(tool, path, records, uncounted=0, length=1):
    """`uncounted` blocks behind LEARN, of `length` a record, are not part of hits_after."""
    with open(path, 'wb') as f:
        f.write(b'LCTRACE1' + struct.pack('<Q', len(records)) + b''.join(records))
    blocks = len(records) + uncounted - uncounted // length
    found = hits_of(tool, path, blocks, LEARN + uncounted)
    os.remove(path)
    return found


def medians(runs):
    """Of each number of several results of run()."""
    return {p: tuple(statistics.median(r[p][i] for r in runs) for i in (0, 1)) for p in COLUMNS}


def judge(label, case, with_scan, without):
    """({column: percent kept, or of all reads that hit}, why it is not good)"""
    wrong = []
    if case.soon:
        reads = case.hot + len(case.records) * case.length
        hits = {p: with_scan[p][0] - (without[p][0] - without[p][1]) for p in COLUMNS}
        share = {p: 100 * hits[p] / reads for p in COLUMNS}
        best = max(share['lru'], share['clock'])
        for p in COLUMNS[2:]:
            points = 16 if p.startswith('auto') else 8  # AUTO learns it more slowly
            if share[p] < (best - points if case.between else best * 0.3):
                wrong.append('%s: %.1f %% of all reads' % (p, share[p]))
        return share, wrong
    kept = {p: 100 * with_scan[p][1] / without[p][1] for p in COLUMNS}
    for p in COLUMNS[2:]:
        least = 96 if label == 'large' else 97 if '+' in p else 80
        above = 100 * (with_scan[p][1] - max(with_scan['lru'][1], with_scan['clock'][1])) / case.hot
        if kept[p] < least or above < (5 if label == 'large' else 0):
            wrong.append('%s keeps %.1f %%, %+.1f points beside LRU and CLOCK'
                         % (p, kept[p], above))
    return kept, wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('build')
    parser.add_argument('--table', action='store_true')
    a = parser.parse_args()
    tool, checks = tool_of(a.build), Checks()
    longest = max(c.hot for c in CASES)
    hot = {label: hot_reads(*of, LEARN + longest) for label, of in HOT.items()}
    with tempfile.TemporaryDirectory() as work, concurrent.futures.ThreadPoolExecutor(2) as pool:
        def start(name, *args):
            return pool.submit(run, tool, os.path.join(work, name), *args)

        without = {(h, n): start('%s.%d' % (h, n), hot[h][:LEARN + n]) for h in HOT
                   for n in {c.hot for c in CASES}}

        def start_case(h, c, name):
            records, uncounted = c.records_with(hot[h][LEARN:LEARN + c.hot])
            return start(name, hot[h][:LEARN] + records, uncounted, c.length)

        runs = {(h, c): start_case(h, c, '%s-%d' % (h, i))
                for h, (i, c) in itertools.product(HOT, enumerate(CASES))}
        for h in HOT:
            if a.table:
                print('|', h, 'hot set |', ' | '.join(COLUMNS), '|\n|---|' + '---|' * len(COLUMNS))
                base = without[h, SLOTS].result()
                print('| hits without a scan, % |',
                      ' | '.join('%.1f' % (100 * base[p][1] / SLOTS) for p in COLUMNS), '|')
            for c in CASES:
                one, base = runs[h, c].result(), without[h, c.hot].result()
                percent, wrong = judge(h, c, one, base)
                if wrong and not a.table:
                    print('#', h, c.name, 'again:', '; '.join(wrong))
                    more = [start_case(h, c, 'again-%d' % i) for i in range(4)]
                    percent, wrong = judge(h, c, medians([one] + [m.result() for m in more]), base)
                if a.table:
                    print('|', c.name, '|', ' | '.join('%.1f' % percent[p] for p in COLUMNS), '|')
                    continue
                print('#', h, c.name, 'hits' if c.soon else 'kept',
                      ', '.join('%s %.1f' % (p, percent[p]) for p in COLUMNS))
                checks.check('%s hot set, scan of %s' % (h, c.name), not wrong, '; '.join(wrong))
    return checks.finish()


if __name__ == '__main__':
    sys.exit(main())
