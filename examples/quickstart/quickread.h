/* SPDX-License-Identifier: BSD-2-Clause
 *
 * quickread.h - what the two halves of quickread share: sample.c chooses files, quickread.c reads
 * them. A list of files is their names below a directory, each ended by a NUL.
 */
#ifndef QUICKREAD_H
#define QUICKREAD_H

#include <stdint.h>
#include <stdio.h>

/* No more than this is read of a file: one huge file shall not be all there is to see. */
#define EACH (UINT64_C(64) << 20)

/* What kept files from being read: how many, and the first of them. */
struct skipped {
    unsigned long files, dirs;
    char first[512]; /* "NAME: reason" */
};

void skipped_add(struct skipped *s, unsigned long *count, const char *name, int err);
/* One sentence, or nothing when nothing was skipped. */
void skipped_say(const struct skipped *s);

uint64_t now_ms(void);

/* One line about work that takes long: a terminal has it rewritten, a file gets one now and then.
 * total 0: unknown. done == total: the line is removed. */
void progress(const char *label, uint64_t done, uint64_t total, const char *unit,
              uint64_t began_ms);

struct sample_options {
    uint64_t min, max;  /* bytes of a file; others are left out */
    double rate, delay; /* of the throttle: MB/s, ms a read */
    double seconds;     /* that reading the sample through the throttle may take */
    unsigned long walk_seconds;
};

/* Chooses readable files below dir, writes their names to `names` and "FILES BYTES" to `numbers`,
 * and says on stdout what it left out. An exit status. */
int sample(const char *dir, const struct sample_options *o, FILE *names, FILE *numbers);

#endif
