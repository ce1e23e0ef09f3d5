#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""orders.py - every atomic order of the library has a reason. The table in docs/orders.md has each
access that is stronger than relaxed, and what notices if it is not.

  orders.py [--check]             is the table complete? For CI
  orders.py --list                the accesses, as rows of the table
  orders.py --run [--only REGEX] [--test TEST] [--jobs N]
                                  weakens one access after the other, and runs a test on each

A row names the file, the function and the operation; several equal ones in a function stand in one
row, with their number. --run replaces acquire, release and acq_rel by relaxed, seq_cst by acquire
and release, and leaves fences out. It runs `histories --weak` (tests/model/weak.h): a memory in
which loads give older values. Only files whose accesses are steps there are tried. --only: rows
that match.

The last line is "N passed, N failed, N skipped"; for --run, passed: noticed.
"""
import argparse
import collections
import concurrent.futures
import os
import re
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
sys.dont_write_bytecode = True
import mutants  # noqa: E402
from mutation import Failure  # noqa: E402
from rows import Mutant  # noqa: E402

SOURCE = os.path.join(mutants.TOP, 'src')
TABLE = os.path.join(mutants.TOP, 'docs', 'orders.md')
ACCESS = re.compile(r'\bat_(\w+?)_(acquire|release|acq_rel|seq_cst)\(')
FUNCTION = re.compile(r'^(?:[a-z][\w *()]*?[ *])?(\w+)\([^;]*$|^#define (\w+)\(', re.M)
WEAKER = {'acquire': 'relaxed', 'release': 'relaxed', 'acq_rel': 'relaxed'}
RAW = {  # what the library has no use for
    'at_sub_relaxed(p,v)': '__atomic_fetch_sub((p),(v),__ATOMIC_RELAXED)',
    'at_and_relaxed(p,v)': '__atomic_fetch_and((p),(v),__ATOMIC_RELAXED)',
    'at_swap_relaxed(p,v)': '__atomic_exchange_n((p),(v),__ATOMIC_RELAXED)',
    'at_cas_relaxed(p,e,d)': '__atomic_compare_exchange_n((p),(e),(d),0,0,0)'}
Site = collections.namedtuple('Site', 'file function operation start end')


def without_comments(text):
    blank = lambda m: re.sub(r'[^\n]', ' ', m.group(0))  # noqa: E731
    skipped = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|__attribute__\(\(\w+\)\)'
    return re.sub(skipped, blank, text, flags=re.S)


def sites():
    """All accesses that are stronger than relaxed, in the order of the files."""
    found = []
    for directory, _, names in sorted(os.walk(SOURCE)):
        for name in sorted(n for n in names if n.endswith(('.c', '.h'))):
            path = os.path.join(directory, name)
            file = os.path.relpath(path, SOURCE)
            if file == 'platform/atomic.h':
                continue
            with open(path, encoding='utf-8') as f:
                text = without_comments(f.read())
            functions = [(m.start(), m.group(1) or m.group(2)) for m in FUNCTION.finditer(text)]
            for m in ACCESS.finditer(text):
                inside = [n for at, n in functions if at < m.start()]
                found.append(Site(file, inside[-1] if inside else '', m.group(0)[:-1], m.start(),
                                  m.end()))
    return found


def rows():
    """The same, as the table counts them: (file, function, operation) and how many."""
    return collections.Counter((s.file, s.function, s.operation) for s in sites())


def table():
    """Rows of the table, and the reasons that it names; a reason needs a paragraph."""
    with open(TABLE, encoding='utf-8') as f:
        text = f.read()
    found, wrong = collections.Counter(), []
    reasons = set(re.findall(r'^\*\*([\w ,-]+)\*\*', text, re.M))
    for line in text.splitlines():
        m = re.fullmatch(r'\| `([\w/.]+)` \| `(\w+)` \| `(\w+)`(?: x(\d+))? \| ([^|]+) \|', line)
        if not m:
            continue
        found[m.group(1, 2, 3)] += int(m.group(4) or 1)
        wrong += ['%s, %s: no paragraph "%s"' % (m.group(1), m.group(2), r.strip())
                  for r in m.group(5).split(';') if r.strip() not in reasons]
    return found, wrong


def check():
    have, (want, wrong) = rows(), table()
    for row in sorted(set(have) | set(want)):
        if have[row] != want[row]:
            wrong.append('%s, %s: %s stands %d times in src/ and %d times in docs/orders.md'
                         % (row + (have[row], want[row])))
    for w in wrong:
        print('FAILED ' + w)
    print('%d passed, %d failed, 0 skipped' % (sum(have.values()) - len(wrong), len(wrong)))
    return 1 if wrong else 0


def weakened(site):
    """The edit that takes the site's order away, and the number of its line."""
    with open(os.path.join(SOURCE, site.file), encoding='utf-8') as f:
        text = f.read()
    op, start, end = site.operation, site.start, site.end
    if op.startswith('at_fence'):
        new, end = '((void)0)', end + 1  # with its )
    else:
        kind, order = re.fullmatch(r'at_(\w+?)_(acquire|release|acq_rel|seq_cst)', op).groups()
        weaker = WEAKER.get(order) or {'load': 'acquire', 'store': 'release'}.get(kind, 'acq_rel')
        new = 'at_%s_%s(' % (kind, weaker)
    before = text.rfind('\n', 0, start) + 1
    while text.count(text[before:end]) > 1:
        before = text.rfind('\n', 0, before - 1) + 1
    return ((site.file, text[before:end], text[before:start] + new),
            text.count('\n', 0, start) + 1)


def try_one(builder, site, test):
    change, line = weakened(site)
    name = '%s:%d %s %s' % (site.file, line, site.function, site.operation)
    mutant = Mutant(name, '', test, [change])
    directory = tempfile.mkdtemp(dir=builder.scratch)
    try:
        said = mutants.notices(builder, test, builder.change(mutant, directory), directory, mutant)
    except Failure as e:
        said = 'FAILED ' + str(e)
    finally:
        shutil.rmtree(directory)
    print('%s | %s' % (name, said or 'nothing noticed'), flush=True)
    return bool(said)


def run_all(options):
    scratch = tempfile.mkdtemp(prefix='cachemax-orders.')
    try:
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            builder = mutants.Builder(SOURCE, scratch)
            builder.flags += ['-D%s=%s' % m for m in RAW.items()]
            builder.prepare([mutants.HISTORIES], pool)
            stepped = [s for s in sites() if any(builder.depends(f, s.file)
                                                 for f in builder.stepped)]
            stepped = [s for s in stepped if not options.only or
                       re.search(options.only, '%s %s %s' % s[:3])]
            results = list(pool.map(lambda s: try_one(builder, s, options.test), stepped))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print('%d passed, %d failed, 0 skipped' % (sum(results), len(results) - sum(results)))
    return 0


def main():
    a = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--check', action='store_true', help='the default')
    a.add_argument('--list', action='store_true', help='print the rows')
    a.add_argument('--run', action='store_true', help='weaken each, and test')
    a.add_argument('--only', metavar='REGEX', help='of --run')
    a.add_argument('--test', default='histories 1 30000 --weak', help='of --run')
    a.add_argument('--jobs', type=int, default=os.cpu_count() or 1)
    o = a.parse_args()
    if o.list:
        for (file, function, operation), n in rows().items():
            print('| `%s` | `%s` | `%s`%s | |' % (file, function, operation,
                                                  ' x%d' % n if n > 1 else ''))
        return 0
    return run_all(o) if o.run else check()


if __name__ == '__main__':
    sys.exit(main())
