/* SPDX-License-Identifier: BSD-2-Clause
 *
 * notify.h - tells a service manager how a program is doing, as sd_notify(3) does.
 */
#ifndef CACHEMAX_NOTIFY_H
#define CACHEMAX_NOTIFY_H

/* `text` is of lines as "READY=1". Waits for nothing. It is no trouble if nobody wants to know. */
void notify(const char *text);

#endif
