/* SPDX-License-Identifier: BSD-2-Clause
 *
 * environment.h - how a program without a system talks and ends. environment.c calls program().
 */
#ifndef CM_ENVIRONMENT_H
#define CM_ENVIRONMENT_H

void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void end(int status);
_Noreturn void program(void);

#endif
