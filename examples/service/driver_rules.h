/* SPDX-License-Identifier: BSD-2-Clause
 *
 * driver_rules.h - what the driver has to know when the service connects: which files to cache.
 *
 * Texts that each end with a zero byte: "folder=\Device\HarddiskVolume3\data", "exclude=*.tmp",
 * "pool=\Device\HarddiskVolume5". The names are those of the kernel, without drive letters. The
 * driver reads them in examples/windows/driver/filter_port.c.
 */
#ifndef CACHEMAX_DRIVER_RULES_H
#define CACHEMAX_DRIVER_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "folders.h"

#define DRIVER_RULES_MAX 32768u /* bytes, all of them */
#define DRIVER_NAME_MAX 4096u   /* of a name */
#define DRIVER_LEFT_OUT 512u    /* of a message */

/* The name of a file or a folder in the kernel. What is not there yet gets the name that it will
 * have. False: there is none, as its volume is not there. */
typedef bool (*driver_name)(const char *path, char to[DRIVER_NAME_MAX]);

/* Why the driver attaches to no volume such as that where the path is or will be: words as those of
 * driver_passes_by(). NULL: it does, as far as is known. */
typedef const char *(*driver_volume)(const char *path);

/* Writes the rules, and returns their bytes; 0: `why` says what is wrong. left_out: says of
 * a folder, the first such one, why the driver will pass it by, and how many others there are; or
 * "". volume: NULL: of volumes nothing is known. */
uint32_t driver_rules(const struct folders *f, const char *pool, driver_name name,
                      driver_volume volume, char to[DRIVER_RULES_MAX],
                      char left_out[DRIVER_LEFT_OUT], char why[256]);

/* Why the driver will pass a folder or a file by: words to say behind its name, and what to do.
 * NULL: it will not, as far as is known. */
const char *driver_passes_by(const char *path, const char *pool, driver_name name);

/* As folders_judge(), but by the names in the kernel, as the driver compares them. *by is a folder
 * of `f` or a pattern. FOLDERS_ELSEWHERE with a folder: a link or a mount point leads out of it. Of
 * a path whose volume is not there the texts are compared. */
enum folders_verdict driver_judge(const struct folders *f, const char *path, driver_name name,
                                  const char **by);

#ifdef _WIN32
/* What the system says. A name of a network gets one below \Device\Mup; no server is asked. */
bool driver_name_win32(const char *path, char to[DRIVER_NAME_MAX]);
/* driver_judge() with that name, and with small and capital letters as the system compares them. */
enum folders_verdict driver_judge_win32(const struct folders *f, const char *path, const char **by);
/* A driver_volume: the driver attaches to NTFS and ReFS on fixed disks, and to none that is DAX. */
const char *driver_volume_win32(const char *path);
#endif

#endif
