/* SPDX-License-Identifier: BSD-2-Clause
 *
 * mutant.h - the switches of the mutants. generate.py puts them into a copy of the library's
 * sources, and this header in front of each of them.
 *
 * A mutant has a number, from 1 on. The environment says which one is on (CM_MUTANT=NUMBER), and
 * where to note those whose places are reached (CM_MUTANT_REACHED=FILE, a byte for each number).
 * A byte is 1 if the place was reached, and 3 if the mutant would have made a difference there, as
 * far as that is known at the place: `a <= b` instead of `a < b` does only where both are equal.
 */
#ifndef CM_MUTANT_H
#define CM_MUTANT_H
#ifndef __ASSEMBLER__

extern unsigned cm_mutant; /* which one is on; 0: none */
extern unsigned char *cm_mutant_reached;

/* Is it on? It would make a difference here; for the second one that is not known yet. */
#define CM_MUTANT(n) (cm_mutant_reached[n] |= 3, cm_mutant == (n))
#define CM_MUTANT_DIFFERS(n, differs)                                                              \
    (cm_mutant_reached[n] |= (unsigned char)((differs) ? 3 : 1), cm_mutant == (n))

/* A condition that is replaced by true or by false. */
static inline int cm_mutant_true(unsigned n, int value)
{
    return CM_MUTANT_DIFFERS(n, !value) || value;
}

static inline int cm_mutant_false(unsigned n, int value)
{
    return !CM_MUTANT_DIFFERS(n, value) && value;
}

/* Both values have no side effects. */
#define CM_MUTANT_EITHER(n, value, other)                                                          \
    (__extension__({                                                                               \
        __auto_type cm_value_##n = (value);                                                        \
        __auto_type cm_other_##n = (other);                                                        \
        CM_MUTANT_DIFFERS(n, cm_value_##n != cm_other_##n) ? cm_other_##n : cm_value_##n;          \
    }))

/* What is returned becomes 0. */
#define CM_MUTANT_ZERO(n, value)                                                                   \
    (__extension__({                                                                               \
        __auto_type cm_value_##n = (value);                                                        \
        CM_MUTANT_DIFFERS(n, !!cm_value_##n) ? 0 : cm_value_##n;                                   \
    }))

#endif
#endif
