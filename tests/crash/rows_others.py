# SPDX-License-Identifier: BSD-2-Clause
"""rows_others.py - rows of mutants.py about what no other table has: the policy's memory and its
choice of a rule, the rate limit, signals, what a program hands in."""
from rows import _m

GHOST, CHOICE, GUARD = 'policy/ghost.c', 'policy/rule_choice.c', 'platform/posix_guard.c'

OTHER_ROWS = [
    _m('ghost, empty', 'an empty cell is no block', 'unit ghost empty', GHOST,
       'return f == 0 ? 1 : f;', 'return f;'),
    _m('ghost, later', 'what was kept replaces no later departure', 'unit ghost load', GHOST,
       'at_load_relaxed(cell) == 0 && kept >> 16 != 0', 'kept >> 16 != 0'),
    _m('choice, drop', 'what is written is no hit later', 'unit curve auto_drop', CHOICE,
       'cm_sim_drop(&a->mini[i].mini, key);', '(void)key;'),
    _m('choice, wear', 'a fill costs something', 'unit curve auto_wear', CHOICE,
       'a->mini[rule].hits - a->wear * a->mini[rule].fills', 'a->mini[rule].hits'),
    _m('rate, raised', 'what a lower limit owes counts less under a higher one',
       'unit api rate_limit_set', 'policy/rate.c',
       'if (clock <= now || (limit != 0 && limit <= was))', 'if (true)'),
    _m('signals, ignored', 'a signal that is ignored leaves the guard', 'unit persist other_faults',
       GUARD, '    if (old->sa_handler == SIG_IGN && !repeats) {\n        return;\n    }\n', ''),
    _m('signals, stack', 'the handler before gets its alternate stack', 'unit persist other_faults',
       GUARD, 'SA_SIGINFO | SA_ONSTACK |', 'SA_SIGINFO |'),
    _m('struct, huge', 'a struct_size that is none is refused', 'unit api option_sizes',
       'api/structs.c', 'given < 2 * sizeof(given) || given > CM_STRUCT_MAX',
       'given < 2 * sizeof(given)'),
    _m('validator, later', 'a validator is not from later than now', 'unit api validators',
       'api/validator.c', 'if (v->taken_at > cm_plat_now_ns())', 'if (false)'),
    _m('validator, proof', 'a validator has a proof', 'unit file no_proof', 'api/validator.c',
       'if (must_prove && !cm_file_has_proof(v))', 'if (false)'),
]
