# SPDX-License-Identifier: BSD-2-Clause
"""rows_names.py - the mutants of what is done when names take all descriptors."""
from rows import FSTAB, NAME, OPEN, RELIEF, _m

OF_NAMES = [
    _m('names, one line', 'each relief is told', 'names', '^more directories than descriptors$',
       RELIEF, '(before && now - before < SAY_NS)', '(0 && before)'),
    _m('names, told', 'nobody is told what to do', 'names', '^more directories than descriptors$',
       RELIEF, '        say_few(inode_count());\n', '        (void)say_few;\n'),
    _m('names, told early', 'it is told although there is room', 'names',
       '^more files than descriptors$', RELIEF, '>= few_left() + given',
       '>= 0 * few_left() * given'),
    _m('names, in vain', 'lookups wait although nothing is given back', 'names',
       '^nobody waits in vain$', RELIEF, '&relief[far].helps, given > 0,',
       '&relief[far].helps, given + 1 > 0,'),
    _m('names, made', 'a directory is made, and then there is no descriptor', 'names',
       '^made with few descriptors$', NAME,
       '    err = relief_reserve();\n    if (err)\n        fuse_reply_err(req, err);\n    return',
       '    err = 0;\n    return'),
    _m('names, linked', 'a link is made, and then there is no descriptor', 'names',
       '^made with few descriptors$', NAME,
       '    err = relief_reserve();\n    if (err) {', '    err = 0;\n    if (err) {'),
    _m('names, created', 'a file is made, and then there is no descriptor', 'names',
       '^made with few descriptors$', OPEN, 'err = relief_reserve();', 'err = 0;'),
    _m('names, spare', 'the descriptor that is kept is never used', 'names',
       '^made with few descriptors$', RELIEF, 'errno != EMFILE || spare < 0)\n        return fd',
       'spare < 0 || spare >= 0)\n        return fd'),
    _m('names, synced', 'the sync of a directory finds no descriptor', 'names',
       '^made with few descriptors, -o dirsync$', FSTAB, 'fd = relief_open(dirfd,',
       'fd = openat(dirfd,'),
]
