/* SPDX-License-Identifier: BSD-2-Clause
 *
 * command.h - what the arguments of cachemax-service ask for.
 */
#ifndef CACHEMAX_COMMAND_H
#define CACHEMAX_COMMAND_H

#include "run.h"

/* Does it. `calls`: for a service that runs; `config` is not looked at. `more_usage`: lines of
 * commands that this system has in addition, or "". Returns the exit status. */
int command(int argc, char **argv, const struct run *calls, const char *more_usage);

#endif
