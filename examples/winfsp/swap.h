/* SPDX-License-Identifier: BSD-2-Clause
 *
 * swap.h - a folder is renamed aside, something takes its name, and it gets its name back.
 *
 * FOLDER becomes FOLDER.cachemax-origin. FOLDER.cachemax-journal says so until it is back. The
 * journal is locked as long as the process lives that renamed the folder: so who finds it unlocked
 * knows that nobody uses it any more, and may bring the folder back.
 */
#ifndef CACHEMAX_WINFSP_SWAP_H
#define CACHEMAX_WINFSP_SWAP_H

#include <stdbool.h>
#include <stdint.h>

#define SWAP_PATH 4096
#define SWAP_ID 80

struct swap {
    char folder[SWAP_PATH]; /* absolute */
    char aside[SWAP_PATH + 32];
    char journal[SWAP_PATH + 32];
    char id[SWAP_ID]; /* what the folder is, whatever it is called */
    intptr_t lock;    /* the journal, open */
};

/* Results. A message was given for each but SWAP_OK, and for a recovery that did something. */
enum swap_result {
    SWAP_OK = 0,
    SWAP_FAILED = 1, /* the folder has its name; or, if not, the message says where it is */
    SWAP_IN_USE = 3  /* a mount that lives has it */
};

/* Renames the folder aside, after the recovery of an earlier mount that has died. Then its name is
 * free for a mount: Linux has an empty directory there, Windows nothing. If anything fails, the
 * folder has its name again. */
enum swap_result swap_begin(struct swap *s, const char *folder);
/* The mount has gone: gives the folder its name back. If that fails, the journal stays, and
 * swap_recover() does it later. */
enum swap_result swap_end(struct swap *s);
/* Gives the folder its name back after a crash. Nothing to do: SWAP_OK. From any state, as often as
 * one likes. */
enum swap_result swap_recover(const char *folder);
/* The same for a folder of which nobody knows whether it ever was a mount's. If neither a journal
 * nor a folder aside is found, it says nothing, and is SWAP_OK: also for what can be no mount's (a
 * whole volume, a long name), and for a folder or a volume that is not there. */
enum swap_result swap_recover_if_left(const char *folder);

/* Does this file lie in the folder? */
bool swap_is_below(const char *folder, const char *file);

/* Gets each message, without a newline. The default prints it on standard error. */
extern void (*swap_say)(const char *text);

/* For tests: called before each step that changes something. Another result than 0 is the error
 * (errno) that the step gets. */
enum swap_step {
    SWAP_CREATE,     /* the journal, empty */
    SWAP_WRITE,      /* its lines */
    SWAP_MOVE_ASIDE, /* the folder */
    SWAP_MAKE_PLACE,
    SWAP_CLEAR_PLACE,
    SWAP_MOVE_BACK,
    SWAP_REMOVE, /* the journal */
    SWAP_STEPS
};
extern int (*swap_fault)(enum swap_step step);

#endif
