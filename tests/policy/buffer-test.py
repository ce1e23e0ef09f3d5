#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""buffer-test.py - what the probation buffer saves and costs, measured with the library itself.

  buffer-test.py BUILD

Replays tests/policy/traces through the library (cachemax replay) at 0.1, 1, 10 and 30 % of the blocks that a trace
reads, without a buffer and with one of 1 % and of 10 % of the pool, with both policies. Wanted, with a buffer: pool fills, those into slots never used
before not counted, of at most 0.20 and 0.12 times LRU's, and on average a hit ratio of at least a point more than
CLOCK's. Prints "ok NAME" or "FAIL NAME: why", and "N passed, N failed, N skipped" last.
"""
import concurrent.futures
import glob
import json
import lzma
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = (0.001, 0.01, 0.1, 0.3)
SHARES = {'none': None, '1 %': '0.01', '10 %': '0.1'}
MOST_FILLS = {'1 %': 0.20, '10 %': 0.12}


def replay(tool, trace, size, share):
    options = [] if share is None else ['--probation', share]
    out = subprocess.run([tool, 'replay', trace, '--size', str(size), '--json', *options], stdout=subprocess.PIPE,
                         check=True)
    return json.loads(out.stdout)


def main():
    tool = os.path.join(sys.argv[1], 'src/tool/cachemax')
    passed = failed = 0

    def check(name, good, why):
        nonlocal passed, failed
        passed, failed = passed + good, failed + (not good)
        print('ok ' + name if good else 'FAIL %s: %s' % (name, why))

    with tempfile.TemporaryDirectory() as work, concurrent.futures.ThreadPoolExecutor(2) as pool:
        traces = []
        for packed in sorted(glob.glob(os.path.join(HERE, 'traces', '*.lct.xz'))):
            traces.append(os.path.join(work, os.path.basename(packed)[:-3]))
            with lzma.open(packed) as source, open(traces[-1], 'wb') as plain:
                plain.write(source.read())
        runs = {(share, t, s): pool.submit(replay, tool, t, s, SHARES[share])
                for share in SHARES for t in traces for s in SIZES}
        runs = {k: r.result() for k, r in runs.items()}
    for share in SHARES:
        ours = [r for (of, _, _), r in runs.items() if of == share]
        lru = [r['reads'] - r['policies']['lru']['hits'] for r in ours]
        lru_first = sum(min(m, r['slots']) for m, r in zip(lru, ours))
        for policy in ('auto', 's3r'):
            its = ours if policy == 'auto' else [r['policies'][policy] for r in ours]
            with_first = sum(r['pool_fills'] for r in its)
            ratio = (with_first - sum(r['first_fills'] for r in its)) / (sum(lru) - lru_first)
            above = [100 * (i['hit_ratio'] - r['policies']['clock']['hit_ratio']) for i, r in zip(its, ours)]
            print('# %s, buffer %s: fills %.3f of LRU\'s, %.3f with first ones; hits %+.2f points beside CLOCK\'s '
                  '(worst %+.2f)' % (policy, share, ratio, with_first / sum(lru), sum(above) / len(above), min(above)))
            if share in MOST_FILLS:
                check(f'fills, {policy}, {share}', ratio <= MOST_FILLS[share], '%.3f' % ratio)
                check(f'hits, {policy}, {share}', sum(above) / len(above) >= 1.0, '%+.2f' % (sum(above) / len(above)))
        if share in MOST_FILLS:
            check('buffer used, ' + share, all(r['probation_hits'] > 0 for r in ours if r['probation_blocks'] > 8),
                  'no hits in it')
        else:
            check('no buffer', all(r['probation_hits'] == 0 for r in ours), 'hits in a buffer that is not there')
    print('%d passed, %d failed, 0 skipped' % (passed, failed))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
