/* SPDX-License-Identifier: BSD-2-Clause
 *
 * filter_maybe.c - what may be a write, in the filter's core (filter_core.h, B9 and B11).
 *
 * Owns: of each file and each volume, how much of that is on its way.
 *
 * Who: the driver's shell, and the tests; filter_core.c asks.
 */
#include "filter_inside.h"

bool fc_is_maybe_written(const struct fc_file *f)
{
    return f->maybe > 0 || (f->volume && f->volume->emptying > 0);
}

void fc_maybe_begin(struct fc_file *f)
{
    lock(f->fc);
    f->maybe++;
    unlock(f->fc);
}

/* Noted first: else a read could come between. */
void fc_maybe_end(struct fc_file *f, bool is)
{
    struct fc_write w;

    if (is) {
        fc_write_begin_outside(f, &w);
        fc_write_end(&w);
    }
    lock(f->fc);
    f->maybe--;
    unlock(f->fc);
}

void fc_file_is_on(struct fc_file *f, const struct fc_volume *v)
{
    f->volume = v;
}

void fc_emptying_begin(struct fc *fc, struct fc_volume *v)
{
    lock(fc);
    v->emptying++;
    unlock(fc);
}

void fc_emptying_end(struct fc *fc, struct fc_volume *v)
{
    lock(fc);
    v->emptying--;
    unlock(fc);
}
