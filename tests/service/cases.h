/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cases.h - cases of a test of the service: while a bad client does what it does, a good one hits.
 */
#ifndef CASES_H
#define CASES_H

#include "raw.h"

extern int service_pid; /* while it runs */

/* Starts the service with `more` lines of configuration, waits until it takes clients, and starts a
 * thread that reads cached blocks, by ring and by socket in turns, and compares them. */
void service_up(const char *program, const char *more);
/* The same, where the service runs in this process already. */
void service_is_here(void);
void witness_down(void);
/* Tells the service to end. That it does so with status 0 and a clean pool is a case, "NAME". */
void service_down(const char *name);

void case_begin(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The case has failed; what is said first counts. */
void case_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The good client had only hits with the right bytes since the case began, and goes on to have
 * them; and a new client can connect, and hits. Prints the case. */
void case_end(void);
void case_skip(const char *name, const char *why);

/* The log has a line with both texts since the case began. */
void case_logged(const char *process, const char *why);
/* Has it? */
bool case_has_logged(const char *process, const char *why);
/* The service ends the connection, and the log says which process it was, and why. Closes it. */
void case_ended(struct raw *r, const char *why);
/* "process N" of this process, as in the log. */
const char *case_own_process(void);
long case_log(void); /* where the log ended when the case began */

/* The service has as many threads and descriptors as at first, or will soon. (A connection that is
 * lost in a bracket takes a second, because its process may be about to end.) */
void case_settled(void);
/* The number behind NAME in /proc/PID/status of the service: KiB. */
uint64_t service_status(const char *name);

/* Prints "N passed, N failed, N skipped". Returns the exit status. */
int cases_report(void);

#endif
