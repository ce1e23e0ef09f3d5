/* SPDX-License-Identifier: BSD-2-Clause
 *
 * line.h - the service as a filter sees it: messages over one connection, from any thread.
 *
 * It stands in for the Filter Manager's port. Where the driver's port has a file of the system, the
 * line has the service's socket.
 */
#ifndef CACHEMAX_TEST_LINE_H
#define CACHEMAX_TEST_LINE_H

#include <stdbool.h>
#include <stdint.h>

/* `socket` is where the service listens. A reply that takes longer than `ms` does not come. */
void line_init(const char *socket, unsigned ms);
/* Connects, if the service is there. Returns the number of the connection, or 0. */
uint32_t line_connect(void);
/* Waits until the connection has ended. */
void line_wait(uint32_t life);
/* As fc_env.ask and hang_up. */
int line_ask(void *ctx, uint32_t life, const void *message, uint32_t bytes, void *reply,
             uint32_t room, bool patient);
void line_hang_up(void *ctx, uint32_t life);

#endif
