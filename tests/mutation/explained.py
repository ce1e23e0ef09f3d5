# SPDX-License-Identifier: BSD-2-Clause
"""explained.py - reads explained.txt, the mutants that no test needs to notice, and sample.txt, the
tests that notice those of a sample.

Both have a line for each mutant, as "run --list" prints it. In explained.txt a reason stands above
its mutants: a class, a colon, and a sentence that may go on in the next lines. The classes are at
the top. In sample.txt the name of a test stands above the mutants that it notices."""
import re

MUTANT = re.compile(r'  ([0-9a-f]{8}) \S+:\S+ ')


def rows(path):
    """What stands above each mutant, its key, and its line."""
    above, fresh = '', True
    with open(path, encoding='utf-8') as f:
        for line in f.read().splitlines():
            if not line or line.startswith('#'):
                continue
            m = MUTANT.match(line)
            if m:
                fresh = True
                yield above, m.group(1), line[2:]
            else:
                above = line if fresh else above + ' ' + line.strip()
                fresh = False


def read(path, made):
    """{key: what stands above it}, and what is wrong with the list. made: {key: mutant}."""
    found, wrong = {}, []
    for above, key, line in rows(path):
        if key not in made:
            wrong.append('%s: no such mutant any more: %s' % (path, line))
        elif made[key].shown != line:
            wrong.append('%s: its text is not "%s" but "%s"' % (path, line, made[key].shown))
        elif key in found:
            wrong.append('%s: this mutant is there twice: %s' % (path, line))
        else:
            found[key] = above
    return found, wrong


def classes(path):
    """The names of the classes of reasons: "# NAME: what that means"."""
    with open(path, encoding='utf-8') as f:
        return set(re.findall(r'^# (\w+):', f.read(), re.M))


def write_sample(path, noticed):
    """noticed: {mutant: test}."""
    with open(path, 'w', encoding='utf-8') as f:
        f.write('# Tests, and mutants that they notice. Written by: tests/mutation/run '
                '--renew-sample\n')
        for test in sorted(set(noticed.values())):
            f.write('\n%s\n' % test)
            for m in sorted((m for m, t in noticed.items() if t == test), key=lambda m: m.key):
                f.write('  %s\n' % m.shown)
