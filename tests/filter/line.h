/* SPDX-License-Identifier: BSD-2-Clause
 *
 * line.h - the service as a filter sees it: messages over one connection, from any thread.
 *
 * It is below the emulated Filter Manager's port: where the driver's port has a file of the system,
 * the line has the service's socket or pipe.
 */
#ifndef CACHEMAX_TEST_LINE_H
#define CACHEMAX_TEST_LINE_H

#include <stdbool.h>
#include <stdint.h>

#define LINE_LATE (-1)
#define LINE_CUT (-2)

/* `where` is where the service takes clients. */
void line_init(const char *where);
/* Connects, if the service is there. Returns the number of the connection, or 0. */
uint32_t line_connect(void);
/* Waits until the connection has ended. */
void line_wait(uint32_t life);
/* Sends a message through this connection and through no other one. Waits `ns` at most for the
 * reply. Returns its bytes, LINE_LATE or LINE_CUT. room 0: no reply is expected, and 0 is returned.
 */
int line_ask(uint32_t life, const void *message, uint32_t bytes, void *reply, uint32_t room,
             uint64_t ns);
void line_hang_up(uint32_t life);

#endif
