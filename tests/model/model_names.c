/* SPDX-License-Identifier: BSD-2-Clause
 *
 * model_names.c - names of files in the random sequences of model.c. What is certain of a name: it
 * was given to this file since the pool was made. In one session, and over a clean close, it is the
 * last one. Also: how large the regions of these files are.
 */
#include "model.h"

#include <stdio.h>
#include <string.h>

uint32_t __wrap_cm_region_shift(uint64_t size);
/* Regions of one, two or four blocks, so that small files have several. */
uint32_t __wrap_cm_region_shift(uint64_t size)
{
    (void)size;
    return (uint32_t)(t.seed % 3);
}

static struct {
    char text[CM_FILE_NAME_MAX + 1];
    bool certain;
} last[FILES];

/* A name whose length and letters follow from the file and the number, so that a mixture shows. */
static void make_name(int i, uint64_t number, char text[CM_FILE_NAME_MAX + 1])
{
    const size_t begin = (size_t)snprintf(text, 64, "%d/%llu/", i, (unsigned long long)number);
    const size_t len = begin + number * 37 % (CM_FILE_NAME_MAX - begin + 1);
    memset(text + begin, 'a' + (int)(number % 26), len - begin);
    text[len] = '\0';
}

static bool is_name_of(int i, const char *text)
{
    char whole[CM_FILE_NAME_MAX + 1];
    unsigned long long number;
    int file;
    if (text[0] == '\0')
        return true;
    if (sscanf(text, "%d/%llu/", &file, &number) != 2 || file != i || number > t.op)
        return false;
    make_name(i, number, whole);
    return strcmp(whole, text) == 0;
}

void check_name(int i)
{
    cm_file_info info = CM_FILE_INFO_INIT;
    must(cm_file_get_info(t.file[i], &info), "cm_file_get_info");
    if (!is_name_of(i, info.name))
        fail("file %d has a name that nobody gave it: %s", i, info.name);
    if (last[i].certain && strcmp(last[i].text, info.name) != 0)
        fail("file %d has the name '%s', was given '%s'", i, info.name, last[i].text);
    t.names += info.name[0] != '\0';
}

void doubt_names(void)
{
    for (int i = 0; i < FILES; i++)
        last[i].certain = false;
}

void end_name(int i)
{
    last[i].text[0] = '\0';
    last[i].certain = true;
}

void op_name(void)
{
    const int i = (int)rng_below(&t.rng, FILES);
    check_name(i);
    if (rng_below(&t.rng, 2)) {
        if (rng_below(&t.rng, 8))
            make_name(i, t.op, last[i].text);
        else
            last[i].text[0] = '\0';
        const int e = cm_file_set_name(t.file[i], last[i].text);
        trace("name file %d: %d", i, e);
        must(e, "cm_file_set_name");
        last[i].certain = e == 0;
        check_name(i);
    }
}
