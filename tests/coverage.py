#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""coverage.py TOP COUNTS [FILE...]: what gcovr's JSON file COUNTS says of src/, for coverage.sh.

Prints the share of the lines and of the branches that were run for each folder, each file that is
below, and all together. With FILE (a part of its path) it prints the lines of these files that were
not run, and those with branches that were not taken: "4/6" has six branches, and two were not.
Exit status 1: all together is below what is wanted.

A branch is one of the ways on from a condition, as gcc without optimization makes them: each part
of && and ||, each loop, each case of a switch. These are none:
- the two ways out of a call for an exception of C++. (-fexceptions makes them. Exceptions come only
  from a program's callbacks, and tests/examples/cpp-test.sh throws them.)
- the conditions of assert(). They hold, unless the library has a mistake.
"""
import collections
import json
import os
import re
import sys

LINES, BRANCHES = 95, 85  # percent that are wanted


def asserts(path):
    """Numbers of the lines that an assert() stands in."""
    found = set()
    depth = 0
    for number, text in enumerate(open(path), 1):
        if depth == 0:
            at = re.search(r'\bassert\(', text)
            if not at:
                continue
            text = text[at.end() - 1:]
        for c in text:
            depth += (c == '(') - (c == ')')
            if depth == 0:
                break
        found.add(number)
    return found


def ways(line):
    """How often each branch of a line was taken."""
    branches = line['branches']
    left = [not b['throw'] for b in branches]
    for i, b in enumerate(branches):
        if b['throw'] and i > 0:
            left[i - 1] = False  # the way on when nothing is thrown
    return [b['count'] for b, stays in zip(branches, left) if stays]


class Share:
    def __init__(self):
        self.lines = self.run = self.branches = self.taken = 0

    def add(self, other):
        self.lines += other.lines
        self.run += other.run
        self.branches += other.branches
        self.taken += other.taken

    def low(self):
        return 100 * self.run < LINES * self.lines or 100 * self.taken < BRANCHES * self.branches

    def __str__(self):
        return '%5.1f %% of %5d lines, %5.1f %% of %5d branches' % (
            100 * self.run / (self.lines or 1), self.lines,
            100 * self.taken / self.branches if self.branches else 100, self.branches)


def look(top, of, says):
    share = Share()
    path = os.path.join(top, of['file'])
    source = open(path).read().split('\n')
    skipped = asserts(path)
    for line in of['lines']:
        if line.get('gcovr/noncode'):
            continue
        number = line['line_number']
        branches = [] if number in skipped else ways(line)
        taken = sum(n > 0 for n in branches)
        share.lines += 1
        share.run += line['count'] > 0
        share.branches += len(branches)
        share.taken += taken
        if says and (line['count'] == 0 or taken < len(branches)):
            what = 'not run' if line['count'] == 0 else '%d/%d    ' % (taken, len(branches))
            print('%s:%d: %s %s' % (of['file'], number, what, source[number - 1].strip()))
    return share


def main():
    top, files = sys.argv[1], json.load(open(sys.argv[2]))['files']
    wanted = sys.argv[3:]
    if wanted:
        for of in files:
            if any(w in of['file'] for w in wanted):
                print('%s  %s' % (look(top, of, True), of['file']))
        return 0
    folders, total, low = collections.defaultdict(Share), Share(), []
    for of in files:
        share = look(top, of, False)
        folders[os.path.dirname(of['file'])].add(share)
        total.add(share)
        if share.low():
            low.append('%s  %s' % (share, of['file']))
    if total.lines == 0:
        print('coverage: nothing was counted')
        return 1
    for name in sorted(folders):
        print('%s  %s' % (folders[name], name))
    print('below %d %% of lines or %d %% of branches:' % (LINES, BRANCHES))
    print('\n'.join(sorted(low)))
    print('coverage: %s of src/; at least %d %% and %d %% are wanted' % (total, LINES, BRANCHES))
    return int(total.low())


sys.exit(main())
