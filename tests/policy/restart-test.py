#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""restart-test.py - how much of what it learned does the library keep over a restart?

  restart-test.py BUILD [--table] [--quick]

Takes p3 and oltp (tests/policy/traces) through the library with "cachemax replay", in pools of 0.1,
1, 10 and 30 % of the blocks that are read, restarted in the middle: closed and opened, killed, or
begun with an empty pool; without a probation buffer, and with one of 1 % of the pool. Of the hits
in the second half that an empty pool loses, a clean close must keep 85 %, a crash 60 % (mean over
all cases). --quick takes p3 alone. Prints "ok NAME" or "FAIL NAME: why", "N passed, N failed, N
skipped" last; with --table also what docs/notes/policy-tables.md has.
"""
import argparse
import concurrent.futures
import sys
import tempfile

from measure import SIZES, Checks, mean, replay, tool_of, unpack

TRACES, HOW = ('p3', 'oltp'), ('none', 'clean', 'crash', 'cold')
BUFFERS = {'': (), ', a buffer of 1 %': ('--probation', 0.01)}
LEAST = {'clean': 85, 'crash': 60}


def second_half(tool, trace, how, buffer):
    """{size: share of the second half's reads that hit, in percent}"""
    runs = replay(tool, trace, '--policy', 's3r', '--sizes', ','.join(map(str, SIZES)),
                  '--restart-at', 0.5, how, *BUFFERS[buffer])
    return {s: 100 * r['hits_after'] / r['reads_after'] for s, r in zip(SIZES, runs)}


def print_table(after, label, means):
    print('| case%s |' % label, ' | '.join(HOW), '|\n|---|' + '---|' * len(HOW))
    for (t, s), case in after.items():
        print('| %s %g %% |' % (t, 100 * s), ' | '.join('%.2f' % case[how] for how in HOW), '|')
    print('| mean |', ' | '.join('%.2f' % means[how] for how in HOW), '|')


def judge(checks, after, label, table):
    means = {how: mean(case[how] for case in after.values()) for how in HOW}
    if table:
        print_table(after, label, means)
    for how, least in LEAST.items():
        kept = 100 * (means[how] - means['cold']) / (means['none'] - means['cold'])
        checks.check('after %s%s' % ({'clean': 'a clean close', 'crash': 'a crash'}[how], label),
                     kept >= least and means['cold'] < means['none'] - 1, '%.0f %% are kept' % kept)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('build')
    parser.add_argument('--table', action='store_true')
    parser.add_argument('--quick', action='store_true')
    a = parser.parse_args()
    tool = tool_of(a.build)
    names = [t for t in TRACES if t == 'p3' or not a.quick]
    runs = [(t, how, b) for b in BUFFERS for t in names for how in HOW]
    with tempfile.TemporaryDirectory() as work, concurrent.futures.ThreadPoolExecutor(2) as pool:
        traces = unpack(work, quick=a.quick)
        found = dict(zip(runs, pool.map(lambda r: second_half(tool, traces[r[0]], *r[1:]), runs)))
    checks = Checks()
    for b in BUFFERS:
        judge(checks,
              {(t, s): {how: found[t, how, b][s] for how in HOW} for t in names for s in SIZES},
              b, a.table)
    return checks.finish()


if __name__ == '__main__':
    sys.exit(main())
