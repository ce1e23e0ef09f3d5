#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""grow-test.py - does a pool that has grown serve what one of the new size would?

  grow-test.py BUILD [--quick]

Takes p3 and oltp (tests/policy/traces) through the library with "cachemax replay": in a pool of 10
and 30 % of the blocks that are read; in one that has a quarter of that until 40 % of the trace and
grows then (cm_grow); and in one that begins empty there. After that moment the pool that grew must
have 95 % of the hits of the one that was large from the beginning (mean of the cases; 94 % in
each), and no fewer than the one that begins empty. Every byte of every hit is compared. --quick
takes p3 alone, with 10 %. Prints "ok NAME" or "FAIL NAME: why", "N passed, N failed, N skipped"
last.
"""
import argparse
import concurrent.futures
import sys
import tempfile

from measure import Checks, mean, replay, tool_of, unpack

HOW = ('none', 'grow', 'cold')
LEAST, LEAST_MEAN = 94, 95


def later_hits(tool, trace, size, how, policy):
    """Hits after the moment."""
    run = replay(tool, trace, '--policy', policy, '--sizes', size, '--restart-at', 0.4, how)
    return run[0]['hits_after']


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('build')
    parser.add_argument('--quick', action='store_true')
    a = parser.parse_args()
    tool = tool_of(a.build)
    cases = [(t, s, p) for t in ('p3', 'oltp') for s in (0.1, 0.3) for p in ('auto', 's3r')
             if not a.quick or (t, s) == ('p3', 0.1)]
    runs = [(t, s, how, p) for t, s, p in cases for how in HOW]
    with tempfile.TemporaryDirectory() as work, concurrent.futures.ThreadPoolExecutor(2) as pool:
        traces = unpack(work, quick=a.quick)
        found = dict(zip(runs, pool.map(lambda r: later_hits(tool, traces[r[0]], *r[1:]), runs)))
    checks, shares = Checks(), []
    for t, s, p in cases:
        always, grew, empty = (found[t, s, how, p] for how in HOW)
        share = 100 * grew / always
        shares.append(share)
        checks.check('%s %g %% %s' % (t, 100 * s, p), share >= LEAST and grew >= empty,
                     '%d hits after the growth, %.1f %% of those of a pool that always had the '
                     'size (%d); a new pool has %d' % (grew, share, always, empty))
    checks.check('mean', mean(shares) >= LEAST_MEAN, '%.1f %%' % mean(shares))
    return checks.finish()


if __name__ == '__main__':
    sys.exit(main())
