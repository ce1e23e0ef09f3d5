/* SPDX-License-Identifier: BSD-2-Clause
 *
 * quickread.h - what the two halves of quickread share: sample.c chooses files, quickread.c reads
 * them. A list of files is their names below a directory, each ended by a NUL.
 */
#ifndef QUICKREAD_H
#define QUICKREAD_H

#include <stdint.h>
#include <stdio.h>

/* Of a file no more than this is read. Otherwise one huge file could be the whole sample. */
#define EACH (UINT64_C(64) << 20)

/* Why files were not read: how many, and the reason for the first one. */
struct skipped {
    unsigned long files, dirs;
    char first[512]; /* "NAME: reason" */
};

void skipped_add(struct skipped *s, unsigned long *count, const char *name, int err);
/* One sentence, or nothing if no file was skipped. */
void skipped_say(const struct skipped *s);

uint64_t now_ms(void);

/* One line about work that takes long. On a terminal the line is rewritten; a file gets a line now
 * and then. total 0: unknown. done == total: the line is removed. */
void progress(const char *label, uint64_t done, uint64_t total, const char *unit,
              uint64_t began_ms);

struct sample_options {
    uint64_t min, max;  /* bytes of a file; others are left out */
    double rate, delay; /* of the throttle: MB/s, ms a read */
    double seconds;     /* how long reading the sample through the throttle may take */
    unsigned long walk_seconds;
};

/* Chooses readable files below dir. Writes their names to `names` and "FILES BYTES" to `numbers`,
 * and says on stdout what it left out. Returns an exit status. */
int sample(const char *dir, const struct sample_options *o, FILE *names, FILE *numbers);

#endif
