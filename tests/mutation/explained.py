# SPDX-License-Identifier: BSD-2-Clause
"""explained.py - reads explained.txt, the list of the mutants that no test needs to notice."""


def read(path, names):
    """{name of a mutant: reason}, and what is wrong with the list."""
    why, wrong, classes, reason = {}, [], set(), None
    with open(path, encoding='utf-8') as f:
        lines = f.read().splitlines()
    for number, line in enumerate(lines, 1):
        if not line or line.startswith('#'):
            continue
        if line.startswith('class '):
            classes.add(line.split()[1].rstrip(':'))
        elif not line.startswith('\t'):
            reason = line
            if line.partition(':')[0] not in classes:
                wrong.append('explained.txt:%d: no such class of reasons: %s' % (number, line))
        else:
            name = line[1:]
            if name not in names:
                wrong.append('explained.txt:%d: no such mutant any more: %s' % (number, name))
            if name in why:
                wrong.append('explained.txt:%d: this mutant stands here twice: %s'
                             % (number, name))
            why[name] = reason
    return why, wrong
