#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""library-test.py - does the library around the policy leave its decisions as they are?

  library-test.py BUILD [--tables] [--times N] [--traces DIR] [--quick]

policy-sim runs the library's own policy code, one block at a time: a policy that decides badly
does so in both, and policy-test.py judges that. What is checked here is that the protocol around
it does not change what comes out: batches, slots evicted ahead of their use, threads, the
probation buffer, the index, the lock of the sample. (GCLOCK is compared with code of the
simulator's own, the curve with the truth.)

Replays tests/policy/traces with the real library at 0.1, 1, 10 and 30 % of the blocks that a
trace reads, with one thread and with two, and compares with policy-sim; and replays it at 1/8 to
8 times 1 and 10 %, and compares with what its curve says. The same with a probation buffer of 1 %
and of 10 % of the pool, with one thread; for the curve it stays as large as it is. Prints "ok
NAME" or "FAIL NAME: why", and "N passed, N failed, N skipped" last. --traces DIR: more *.lct.xz;
sizes of fewer than 64 slots, which no pool has, are left out. --quick takes p3 alone, leaves out
half of the curves and half of their sizes, and grants what differs from run to run more. --tables
prints the tables of docs/notes/policy-tables.md; --times N repeats each run and takes the worst
(placement in the pool is random, so runs differ a little).
"""
import argparse
import concurrent.futures
import sys
import tempfile

from measure import BEST, SIZES, Checks, answer, mean, replay, sim_of, tool_of, unpack

CURVES = (0.01, 0.1)
FACTORS = (0.125, 0.25, 0.5, 1, 2, 4, 8)  # as the library's curve
QUICK = (0.125, 0.5, 1, 4)  # of these, replayed with --quick
OURS = ('s3r', 'auto')
SLOTS_MIN = 64
# With one thread; buffers in thousandths of the slots.
ALONE = ('s3r:buffer=10', 's3r:buffer=100', 'auto:buffer=10', 'auto:buffer=100', 'gclock')
CURVED = OURS + ALONE[2:]
CURVED_QUICK = ('auto', 'auto:buffer=10')  # with --quick
MORE = 2  # times the usual bounds of what threads and placement do, with --quick


def off(values):
    return 'worst %.2f, mean %.2f points' % (max(map(abs, values)), mean(map(abs, values)))


def buffer_of(policy, slots):
    """Blocks, as the simulator has it."""
    thousandths = int(policy.partition('=')[2] or 0)
    return max(1, (slots * thousandths + 500) // 1000) if thousandths > 0 else 0


def job_of(sim, trace, size, policy, threads=1):
    slots = sim[trace, size, policy]['slots']
    return trace, policy, slots, threads, buffer_of(policy, slots)


class Runs:
    """Hit % by (trace, policy, slots, threads, blocks of buffer), a list each; curves, too."""

    def __init__(self, build, traces, times, quick):
        self.tool, self.sim = tool_of(build), sim_of(build)
        self.traces, self.times = traces, times
        self.factors, self.curved = (QUICK, CURVED_QUICK) if quick else (FACTORS, CURVED)
        self.more = MORE if quick else 1
        self.hit, self.twice, self.curve, self.fills = {}, {}, {}, {}
        self.cases = []  # (trace, size)

    def simulate(self):
        rows = answer(self.sim, '--json',
                      '--policies', ','.join(('lru', 'clock') + BEST + OURS + ALONE),
                      '--sizes', ','.join(map(str, SIZES)), *self.traces.values())
        sim = {(r['trace'].split('.')[0], r['size'], r['policy']):
               dict(r, hit=100 * r['hits'] / r['reads']) for r in rows}
        self.cases = [(t, s) for t in self.traces for s in SIZES
                      if sim[t, s, 's3r']['slots'] >= SLOTS_MIN]
        return sim

    def replay(self, trace, policy, slots, threads, buffer):
        options = ('--probation', f'{4 * buffer}K') if buffer > 0 else ()
        return replay(self.tool, self.traces[trace], '--policy', policy.split(':')[0], '--size',
                      slots, '--threads', threads, '--curve', *options)

    def replay_all(self, jobs):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            results = [(job, pool.submit(self.replay, *job)) for job in sorted(jobs)
                       for _ in range(self.times)]
            for job, result in results:
                r = result.result()
                self.hit.setdefault(job, []).append(100 * r['hit_ratio'])
                self.fills.setdefault(job, []).append(r['pool_fills'])
                self.twice.setdefault(job, []).append(100 * r['missed_twice'] / r['reads'])
                self.curve.setdefault(job, []).append(
                    [None if c['hit_ratio'] is None else 100 * c['hit_ratio'] for c in r['curve']])


def check_simulator(c, runs, sim, policies, threads):
    # Two threads that miss a block at the same time have two misses, where one after the other has
    # a hit: in p3 4 % of the reads are of blocks that the record just before reads, too. A hit of
    # the other thread's block is reuse as well, which the rules of AUTO with one hit to earn take
    # seriously.
    for policy in policies:
        differ = [hit + twice - sim[t, s, policy]['hit'] for t, s in runs.cases
                  for job in [job_of(sim, t, s, policy, threads)]
                  for hit, twice in zip(runs.hit[job], runs.twice[job])]
        most = 1.0 * runs.more if threads > 1 and policy == 'auto' else 0.5
        c.check(f'{policy} is as in the simulator, {threads} thread{"s" * (threads > 1)}',
                max(map(abs, differ)) <= most, off(differ))


def above(runs, sim, policy, others):
    return [hit - max(sim[t, s, o]['hit'] for o in others) for t, s in runs.cases
            for hit in runs.hit[job_of(sim, t, s, policy)]]


def check_others(c, runs, sim):
    x = above(runs, sim, 'auto', BEST)
    c.check('auto against the best of S3-FIFO, SIEVE, ARC',
            mean(x) >= (0 if len(runs.traces) > 1 else -0.5) and min(x) >= -2,
            'mean %+.2f, worst %+.2f' % (mean(x), min(x)))
    x = above(runs, sim, 'auto', ('clock',))
    c.check('auto against CLOCK', mean(x) >= 2.5 and min(x) >= -1,
            'mean %+.2f, worst %+.2f' % (mean(x), min(x)))


def curve_jobs(sim, trace, policy, factors):
    """By size, a job for each factor, or None where there is none; the buffer is never larger than
    the pool."""
    jobs = {}
    for s in CURVES:
        if sim[trace, s, policy]['slots'] < SLOTS_MIN:
            continue
        _, _, own, _, buffer = job_of(sim, trace, s, policy)
        sizes = [int(own * f) for f in FACTORS]
        jobs[s] = [(trace, policy, n, 1, min(buffer, n))
                   if n >= SLOTS_MIN and f in factors else None
                   for f, n in zip(FACTORS, sizes)]
    return jobs


def curve_errors(runs, sim, policy):
    """(trace, size, factor): points between estimate and replay; None where the library did not
    say."""
    errors = {}
    for t in runs.traces:
        for s, jobs in curve_jobs(sim, t, policy, runs.factors).items():
            for curve in runs.curve[job_of(sim, t, s, policy)]:
                for f, job, said in zip(FACTORS, jobs, curve):
                    if job is None:
                        continue
                    errors.setdefault((t, s, f), []).append(
                        None if said is None else said - mean(runs.hit[job]))
    return errors


def check_curve(c, runs, sim):
    for policy in runs.curved:
        errors = [e for many in curve_errors(runs, sim, policy).values() for e in many]
        known = [e for e in errors if e is not None]
        least = 13 * len(runs.traces) * len(runs.factors) // len(FACTORS)
        c.check(f'the curve of {policy}', len(known) == len(errors) >= least and
                max(map(abs, known)) <= 2 * runs.more and mean(map(abs, known)) <= 1,
                f'{len(known)} of {len(errors)} known, {off(known)}')


def tables(runs, sim):
    print('| case | CLOCK | best of three | S3R simulated | S3R | 2 threads '
          '| AUTO simulated | AUTO | 2 threads |\n'
          + '|---' * 9 + '|')
    for t, s in runs.cases:
        row = [sim[t, s, 'clock']['hit'], max(sim[t, s, o]['hit'] for o in BEST)]
        for p in OURS:
            two = job_of(sim, t, s, p, 2)
            row += [sim[t, s, p]['hit'], mean(runs.hit[job_of(sim, t, s, p)]),
                    mean(runs.hit[two]) + mean(runs.twice[two])]
        print(f'| {t} {100 * s:g} % |', ' | '.join('%.1f' % v for v in row), '|')
    print('\n| case | ' + ' | '.join('%s simulated | library' % p for p in ALONE) + ' |\n|'
          + '---|' * (1 + 2 * len(ALONE)))
    for t, s in runs.cases:
        row = [v for p in ALONE for v in (sim[t, s, p]['hit'],
                                          mean(runs.hit[job_of(sim, t, s, p)]))]
        print(f'| {t} {100 * s:g} % |', ' | '.join('%.1f' % v for v in row), '|')
    for p in OURS + ALONE:
        fills = sum(mean(runs.fills[job_of(sim, t, s, p)]) for t, s in runs.cases)
        lru = sum(sim[t, s, 'lru']['fills'] for t, s in runs.cases)
        b, k = above(runs, sim, p, BEST), above(runs, sim, p, ('clock',))
        print('%s: above the best of three %+.2f, %+.2f; above CLOCK %+.2f, %+.2f; '
              'fills of LRU %.3f'
              % (p, mean(b), min(b), mean(k), min(k), fills / lru))
        errors = curve_errors(runs, sim, p) if p in runs.curved else {}
        if errors:
            print(f'curve of {p}:', off([v for e in errors.values() for v in e]))
        for (t, s, f), e in errors.items():
            print(f'curve of {p}: {t} {100 * s:g} % x {f:g}:',
                  ' '.join('-' if v is None else '%+.2f' % v for v in e))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('build')
    parser.add_argument('--tables', action='store_true')
    parser.add_argument('--times', type=int, default=1)
    parser.add_argument('--traces')
    parser.add_argument('--quick', action='store_true')
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        runs = Runs(a.build, unpack(work, a.traces, a.quick), a.times, a.quick)
        sim = runs.simulate()
        jobs = {job_of(sim, t, s, p, n) for t, s in runs.cases for p in OURS + ALONE
                for n in ((1, 2) if p in OURS else (1,))}
        jobs |= {job for t in runs.traces for p in runs.curved
                 for some in curve_jobs(sim, t, p, runs.factors).values()
                 for job in some if job is not None}
        runs.replay_all(jobs)
    if a.tables:
        tables(runs, sim)
        return 0
    c = Checks()
    check_simulator(c, runs, sim, OURS + ALONE, 1)
    check_simulator(c, runs, sim, OURS, 2)
    check_others(c, runs, sim)
    check_curve(c, runs, sim)
    return c.finish()


if __name__ == '__main__':
    sys.exit(main())
