/* SPDX-License-Identifier: BSD-2-Clause
 *
 * rules.h - which files are cached, and how they are read.
 *
 * Patterns mean what they mean in the service's configuration (folders.h), with paths below DIR.
 */
#ifndef CACHEMAX_MOUNT_RULES_H
#define CACHEMAX_MOUNT_RULES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "quota.h"

struct rules {
    struct patterns {
        char **v;
        unsigned n;
    } include, exclude;
    uid_t *owner; /* of files that are left out */
    unsigned owners;
    uint64_t size_max; /* 0: any */
    struct advice {
        char *pattern;
        int advice; /* enum cm_advice */
    } * advice;     /* the first that matches counts */
    unsigned advised;
    struct quotas quotas;
};

bool rules_has(const char *name); /* is it the name of such an option? */
/* Takes such an option. 0, or an exit status after a message. */
int rules_take(const char *name, const char *value, struct rules *r);

/* Says what is wrong with such an option. Returns the exit status. */
int rules_wrong(const char *name, const char *value, const char *why);
#define RULES_SIZES "a whole number of bytes, or with K, M, G or T (no MB, no fraction)"
/* Such a number; false: it is none, or 0. */
bool rules_size(const char *text, uint64_t *bytes);

/* The rest uses mnt.opt.rules. */
bool rules_any(void);
/* Do they leave out the file behind an O_PATH descriptor? */
bool rules_leave_out(int fd);
/* The one that does, as why_tell() names it; "": that is not known; NULL: none does. */
const char *rules_why(int fd);
/* The advice for it: enum cm_advice. */
int rules_advice(int fd);

#endif
