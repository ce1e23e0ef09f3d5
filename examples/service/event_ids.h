/* SPDX-License-Identifier: BSD-2-Clause
 *
 * event_ids.h - the numbers of the service's events in the event log of Windows.
 *
 * The code, the message table (events_win32.rc) and the test of docs/service.md read them here. The
 * resource compiler reads this file too, so it holds numbers and nothing else. A number keeps its
 * meaning for ever; new ones follow, without a gap.
 */
#ifndef CACHEMAX_EVENT_IDS_H
#define CACHEMAX_EVENT_IDS_H

#define EVENT_TROUBLE 1 /* an error */
#define EVENT_WARN 2    /* a warning */
#define EVENT_NOTE 3    /* information */

#endif
