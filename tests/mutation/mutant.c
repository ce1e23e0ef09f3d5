/* SPDX-License-Identifier: BSD-2-Clause
 *
 * mutant.c - which mutant is on (mutant.h). generate.py puts it beside the library's sources, and
 * mutant_number.h, which says how many there are.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mutant_number.h"

unsigned cm_mutant;
static unsigned char nowhere[CM_MUTANTS + 1];
unsigned char *cm_mutant_reached = nowhere;

/* Before all that the library and the tests do at their start. The file has its size already. All
 * processes of a test map it, so that one which is killed has noted what it reached. */
__attribute__((constructor(101))) static void begin(void)
{
    const char *number = getenv("CM_MUTANT");
    const char *path = getenv("CM_MUTANT_REACHED");
    if (number)
        cm_mutant = (unsigned)strtoul(number, NULL, 10);
    const int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *p = mmap(NULL, sizeof(nowhere), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (p != MAP_FAILED)
        cm_mutant_reached = p;
}
