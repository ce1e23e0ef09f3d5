#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""codes.py HEADER... OUT - what each call may return, as its comment in the header says.

Writes a C table: the name of a call, and the codes that its comment names. Where a comment says
that the errors are as those of other calls, ALSO names these; the comment must name them, too.
"""
import re
import sys

ALSO = {
    'cm_open_memory': ['cm_open'],
    'cm_resize': ['cm_open'],
    'cm_pool_stats': ['cm_open', 'cm_stats'],
    'cm_identify_with': ['cm_identify'],
    'cm_truncate_begin': ['cm_write_begin'],
    'cm_read_through_version': ['cm_read_through'],
    'cm_request_end': ['cm_read_through_version'],
    'cm_warm': ['cm_invalidate'],
    'cm_objects_read': ['cm_objects_get'],
    'cm_objects_delete': ['cm_objects_get', 'cm_objects_put'],
}
# These say "the same" of the call above, or "like" it.
SAME = {
    'cm_read_through_version': 'cm_read_through',
    'cm_objects_read': 'cm_objects_get',
    'cm_truncate_begin': 'cm_write_begin',
    'cm_forget_gone': 'cm_forget',
}


def comments(text):
    """The comment in front of each call. Calls that follow each other share it."""
    last = ''
    for m in re.finditer(r'/\*(.*?)\*/|^CM_API\s[^;(]*?(\w+)\(', text, re.S | re.M):
        if m.group(1) is not None:
            last = re.sub(r'\s*\n\s*\*\s?', ' ', m.group(1))
        else:
            yield m.group(2), last


def main():
    texts = [open(path, encoding='utf-8').read() for path in sys.argv[1:-1]]
    known = set()
    for name in re.findall(r'X\((CM_\w+), -?\d+,', texts[0]):
        known.add(name)
    said = {}
    for text in texts:
        said.update(comments(text))
    codes = {}
    for call, comment in said.items():
        codes[call] = {c for c in re.findall(r'CM_\w+', comment) if c in known}
        if 'CM_NOT_STORED_*' in comment:
            codes[call] |= {c for c in known if c.startswith('CM_NOT_STORED_')}
    for call, others in ALSO.items():
        for other in others:
            if SAME.get(call) != other and other + '()' not in said[call]:
                sys.exit(f'codes.py: the comment of {call} does not name {other}()')
            codes[call] |= codes[other]
    for call, other in SAME.items():
        codes[call] |= codes[other]
    if len(codes) < 90:
        sys.exit(f'codes.py: only {len(codes)} calls were found')
    with open(sys.argv[-1], 'w', encoding='utf-8') as out:
        out.write('/* Made by codes.py from the headers. */\n')
        for call in sorted(codes):
            names = ', '.join(sorted(codes[call]) + ['0'])
            out.write(f'{{ "{call}", {{ {names} }} }},\n')


main()
