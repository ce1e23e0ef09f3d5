#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""restart-test.py - how much of what it learned does the library keep over a restart?

  restart-test.py BUILD [--table]

Takes p3 and oltp (tests/policy/traces) through the library with "cachemax replay", in pools of 0.1, 1, 10 and
30 % of the blocks that are read, restarted in the middle: closed and opened, killed, or begun with an empty pool;
without a probation buffer, and with one of 1 % of the pool.
Of the hits in the second half that an empty pool loses, a clean close must keep 85 %, a crash 60 % (mean over all
cases). Prints "ok NAME" or "FAIL NAME: why", "N passed, N failed, N skipped" last; with --table also what
docs/policy.md has.
"""
import argparse
import concurrent.futures
import json
import lzma
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TRACES, SIZES, HOW = ('p3', 'oltp'), ('0.001', '0.01', '0.1', '0.3'), ('none', 'clean', 'crash', 'cold')
PROBATION = ('0', '0.01')
LEAST = {'clean': 85, 'crash': 60}


def replay(tool, work, trace, how, probation):
    """{size: share of the second half's reads that hit, in percent}"""
    out = subprocess.run([tool, 'replay', os.path.join(work, trace), '--policy', 's3r', '--sizes', ','.join(SIZES),
                          '--restart-at', '0.5', how, '--json'] + (['--probation', probation] if probation != '0' else []), stdout=subprocess.PIPE, check=True)
    return {s: 100 * r['hits_after'] / r['reads_after'] for s, r in zip(SIZES, json.loads(out.stdout))}


def judge(after, label, table):
    """Prints what is kept; the number of failures."""
    mean = {how: sum(case[how] for case in after.values()) / len(after) for how in HOW}
    kept = {how: 100 * (mean[how] - mean['cold']) / (mean['none'] - mean['cold']) for how in LEAST}
    if table:
        print('| case%s |' % label, ' | '.join(HOW), '|\n|---|' + '---|' * len(HOW))
        for (t, s), case in after.items():
            print('| %s %g %% |' % (t, 100 * float(s)), ' | '.join('%.2f' % case[how] for how in HOW), '|')
        print('| mean |', ' | '.join('%.2f' % mean[how] for how in HOW), '|')
    failed = 0
    for how, least in LEAST.items():
        good = kept[how] >= least and mean['cold'] < mean['none'] - 1
        failed += not good
        print('ok' if good else 'FAIL', 'after %s%s' % ({'clean': 'a clean close', 'crash': 'a crash'}[how], label) +
              ('' if good else ':'), '%.0f %% are kept' % kept[how])
    return failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('build')
    parser.add_argument('--table', action='store_true')
    a = parser.parse_args()
    tool = os.path.join(a.build, 'src', 'tool', 'cachemax')
    runs = [(t, how, p) for p in PROBATION for t in TRACES for how in HOW]
    with tempfile.TemporaryDirectory() as work, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for t in TRACES:
            with lzma.open(os.path.join(HERE, 'traces', t + '.lct.xz')) as src, open(os.path.join(work, t), 'wb') as out:
                out.write(src.read())
        found = dict(zip(runs, pool.map(lambda r: replay(tool, work, *r), runs)))
    failed = 0
    for p in PROBATION:
        failed += judge({(t, s): {how: found[t, how, p][s] for how in HOW} for t in TRACES for s in SIZES},
                        ', a buffer of 1 %' if p != '0' else '', a.table)
    print('%d passed, %d failed, 0 skipped' % (len(LEAST) * len(PROBATION) - failed, failed))
    return failed > 0


if __name__ == '__main__':
    sys.exit(main())
