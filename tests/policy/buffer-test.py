#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""buffer-test.py - what the probation buffer saves and costs, measured with the library itself.

  buffer-test.py BUILD [--quick]

Replays tests/policy/traces through the library (cachemax replay) at 0.1, 1, 10 and 30 % of the
blocks that a trace reads, without a buffer and with one of 1 % and of 10 % of the pool, with both
policies. Wanted, with a buffer: pool fills, those into slots never used before not counted, of at
most 0.20 and 0.12 times LRU's, and on average a hit ratio of at least a point more than CLOCK's.
--quick takes p3 alone. Prints "ok NAME" or "FAIL NAME: why", and "N passed, N failed, N skipped"
last.
"""
import concurrent.futures
import sys
import tempfile

from measure import SIZES, Checks, mean, replay, tool_of, unpack

SHARES = {'none': (), '1 %': ('--probation', 0.01), '10 %': ('--probation', 0.1)}
MOST_FILLS = {'1 %': 0.20, '10 %': 0.12}


def main():
    tool = tool_of(sys.argv[1])
    checks = Checks()
    with tempfile.TemporaryDirectory() as work, concurrent.futures.ThreadPoolExecutor(2) as pool:
        traces = unpack(work, quick='--quick' in sys.argv).values()
        runs = {(share, t, s): pool.submit(replay, tool, t, '--size', s, *options)
                for share, options in SHARES.items() for t in traces for s in SIZES}
        runs = {k: r.result() for k, r in runs.items()}
    for share in SHARES:
        ours = [r for (of, _, _), r in runs.items() if of == share]
        lru = [r['reads'] - r['policies']['lru']['hits'] for r in ours]
        lru_first = sum(min(m, r['slots']) for m, r in zip(lru, ours))
        for policy in ('auto', 's3r'):
            its = ours if policy == 'auto' else [r['policies'][policy] for r in ours]
            with_first = sum(r['pool_fills'] for r in its)
            ratio = (with_first - sum(r['first_fills'] for r in its)) / (sum(lru) - lru_first)
            above = [100 * (i['hit_ratio'] - r['policies']['clock']['hit_ratio'])
                     for i, r in zip(its, ours)]
            print('# %s, buffer %s: fills %.3f of LRU\'s, %.3f with first ones; hits %+.2f points '
                  'beside CLOCK\'s (worst %+.2f)'
                  % (policy, share, ratio, with_first / sum(lru), mean(above), min(above)))
            if share in MOST_FILLS:
                checks.check(f'fills, {policy}, {share}', ratio <= MOST_FILLS[share],
                             '%.3f' % ratio)
                checks.check(f'hits, {policy}, {share}', mean(above) >= 1.0, '%+.2f' % mean(above))
        if share in MOST_FILLS:
            checks.check('buffer used, ' + share,
                         all(r['probation_hits'] > 0 for r in ours if r['probation_blocks'] > 8))
        else:
            checks.check('no buffer used', all(r['probation_hits'] == 0 for r in ours))
    return checks.finish()


if __name__ == '__main__':
    sys.exit(main())
