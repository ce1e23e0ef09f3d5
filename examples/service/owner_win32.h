/* SPDX-License-Identifier: BSD-2-Clause
 *
 * owner_win32.h - on Windows: who may use what the service and its clients share.
 *
 * There are two kinds of owner. Administrators and the system itself (SYSTEM) are one owner: what
 * one of them makes belongs to all. Any other user is an owner for himself. A program of an
 * administrator that was not started "as administrator" is such a user's.
 */
#ifndef CACHEMAX_OWNER_WIN32_H
#define CACHEMAX_OWNER_WIN32_H

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <stdbool.h>

struct owner {
    union {
        TOKEN_USER token;
        BYTE room[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
    } user;
    bool administrator; /* or SYSTEM */
};
#define OWNER_SID(o) ((o)->user.token.User.Sid)

/* Who this process is. *o must stay where it is. False: the system does not say. */
bool owner_of_process(struct owner *o);

/* An access list for the owner, and for nobody else: of this process, or of a given one. False: no
 * memory. owner_only_end() frees it. */
bool owner_only(SECURITY_ATTRIBUTES *a);
bool owner_only_for(const struct owner *o, SECURITY_ATTRIBUTES *a);
void owner_only_end(SECURITY_ATTRIBUTES *a);

/* What is asked about a file or a pipe. */
#define OWNER_ALONE 1u /* may nobody else use it? */
#define OWNER_FILE 2u  /* it is a file: that may be the user's own, also for an administrator */

/* Does a file or a pipe belong to the owner? NULL: yes; else what is wrong. The handle needs
 * READ_CONTROL. */
const char *owner_fault(HANDLE h, unsigned asked);
const char *owner_fault_for(const struct owner *o, PSID of, ACL *list, unsigned asked);

/* May somebody who is no administrator, and not the system, write what has the list? */
bool owner_others_write(ACL *list);
/* May its owner, who can always change the list, be such a one? NULL: not known, so he may. */
bool owner_is_other(PSID of);

#endif
