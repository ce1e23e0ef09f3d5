/* SPDX-License-Identifier: BSD-2-Clause
 *
 * owner_win32.c - on Windows: who may use what the service and its clients share.
 *
 * Owns no state. An access list says who may use an object, and its owner may change the list. So
 * both are looked at, before an object is believed that another process may have made.
 *
 * Who: pipe.c, client_pipe.c, pipe_files.c, ring_win32.c, service_install_win32.c; swap_win32.c of
 * examples/winfsp.
 */
#include "owner_win32.h"

#include <aclapi.h>
#include <sddl.h>
#include <stdio.h>
#include <string.h>

/* Of the token, not of the thread: a program may do something in the name of another user. */
static bool is_administrator(HANDLE token, bool *is)
{
    BYTE sid[SECURITY_MAX_SID_SIZE];
    DWORD n = sizeof(sid);
    BOOL member = FALSE;
    HANDLE ask;
    bool done;

    if (!DuplicateToken(token, SecurityIdentification, &ask))
        return false;
    done = CreateWellKnownSid(WinBuiltinAdministratorsSid, NULL, sid, &n) &&
           CheckTokenMembership(ask, sid, &member);
    CloseHandle(ask);
    *is = member;
    return done;
}

bool owner_of_process(struct owner *o)
{
    HANDLE token;
    DWORD n;
    bool done;

    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY | TOKEN_DUPLICATE, &token))
        return false;
    done = GetTokenInformation(token, TokenUser, &o->user, sizeof(o->user), &n) &&
           is_administrator(token, &o->administrator);
    CloseHandle(token);
    return done;
}

bool owner_only_for(const struct owner *o, SECURITY_ATTRIBUTES *a)
{
    char *name, text[600];

    *a = (SECURITY_ATTRIBUTES){ .nLength = sizeof(*a) };
    if (!ConvertSidToStringSidA(OWNER_SID(o), &name))
        return false;
    /* P: nothing is added from the directory. OI, CI: what is made in a directory has it, too. An
     * administrator is not named: SYSTEM and the others would find a stranger in the list. */
    if (o->administrator)
        snprintf(text, sizeof(text), "O:BAD:P(A;OICI;GA;;;BA)(A;OICI;GA;;;SY)");
    else
        snprintf(text, sizeof(text), "O:%sD:P(A;OICI;GA;;;%s)(A;OICI;GA;;;BA)(A;OICI;GA;;;SY)",
                 name, name);
    LocalFree(name);
    return ConvertStringSecurityDescriptorToSecurityDescriptorA(text, SDDL_REVISION_1,
                                                                &a->lpSecurityDescriptor, NULL);
}

bool owner_only(SECURITY_ATTRIBUTES *a)
{
    struct owner o;

    *a = (SECURITY_ATTRIBUTES){ .nLength = sizeof(*a) };
    return owner_of_process(&o) && owner_only_for(&o, a);
}

void owner_only_end(SECURITY_ATTRIBUTES *a)
{
    LocalFree(a->lpSecurityDescriptor);
}

static bool is_administrators(PSID sid)
{
    return IsWellKnownSid(sid, WinBuiltinAdministratorsSid) ||
           IsWellKnownSid(sid, WinLocalSystemSid);
}

/* May it belong to `sid`? Files of another owner lie in another directory (pipe_files.c), so both
 * sides of a pipe must be of one owner. A file in an administrator's directory may be named his
 * own: there are systems that say so whatever was asked for (Wine). */
static bool is_owner(const struct owner *o, PSID sid, unsigned asked)
{
    if (!o->administrator)
        return EqualSid(sid, OWNER_SID(o));
    return is_administrators(sid) || ((asked & OWNER_FILE) && EqualSid(sid, OWNER_SID(o)));
}

/* Does the list let the owner in, and nobody else? Administrators get in anyway. No list at all
 * lets everybody in. */
static bool lets_owner_only(const struct owner *o, ACL *list, unsigned asked)
{
    for (DWORD i = 0; list && i < list->AceCount; i++) {
        ACCESS_ALLOWED_ACE *entry;

        if (!GetAce(list, i, (void **)&entry))
            return false;
        if (entry->Header.AceType == ACCESS_DENIED_ACE_TYPE)
            continue;
        if (entry->Header.AceType != ACCESS_ALLOWED_ACE_TYPE ||
            (!is_owner(o, &entry->SidStart, asked) && !is_administrators(&entry->SidStart)))
            return false;
    }
    return list != NULL;
}

const char *owner_fault_for(const struct owner *o, PSID of, ACL *list, unsigned asked)
{
    if (!of || !is_owner(o, of, asked))
        return "it belongs to another user";
    if ((asked & OWNER_ALONE) && !lets_owner_only(o, list, asked))
        return "others may use it too";
    return NULL;
}

const char *owner_fault(HANDLE h, unsigned asked)
{
    PSECURITY_DESCRIPTOR all;
    struct owner o;
    const char *wrong;
    PSID of = NULL;
    ACL *list = NULL;

    if (!owner_of_process(&o) ||
        GetSecurityInfo(h, SE_KERNEL_OBJECT, OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
                        &of, NULL, &list, NULL, &all) != ERROR_SUCCESS)
        return "the system does not say whose it is";
    wrong = owner_fault_for(&o, of, list, asked);
    LocalFree(all);
    return wrong;
}

/* ---- Who may write --------------------------------------------------------------------------- */

#define WRITES                                                                                     \
    (FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_DELETE_CHILD | DELETE | WRITE_DAC | WRITE_OWNER |   \
     GENERIC_WRITE | GENERIC_ALL)

/* It has the system's own files. */
static bool is_installer(PSID sid)
{
    static const char installer[] =
        "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464";
    char *name;
    bool is;

    if (!ConvertSidToStringSidA(sid, &name))
        return false;
    is = strcmp(name, installer) == 0;
    LocalFree(name);
    return is;
}

/* All other types allow something, or are not known. */
static bool denies(const ACCESS_ALLOWED_ACE *entry)
{
    switch (entry->Header.AceType) {
    case ACCESS_DENIED_ACE_TYPE:
    case ACCESS_DENIED_OBJECT_ACE_TYPE:
    case ACCESS_DENIED_CALLBACK_ACE_TYPE:
    case ACCESS_DENIED_CALLBACK_OBJECT_ACE_TYPE:
        return true;
    default:
        return false;
    }
}

/* Is it for administrators or the system? In other forms than these the SID lies elsewhere. A
 * condition (callback) only takes something away. */
static bool is_trusted(ACCESS_ALLOWED_ACE *entry)
{
    return (entry->Header.AceType == ACCESS_ALLOWED_ACE_TYPE ||
            entry->Header.AceType == ACCESS_ALLOWED_CALLBACK_ACE_TYPE) &&
           (is_administrators(&entry->SidStart) || is_installer(&entry->SidStart));
}

bool owner_others_write(ACL *list)
{
    for (DWORD i = 0; list && i < list->AceCount; i++) {
        ACCESS_ALLOWED_ACE *entry;

        if (!GetAce(list, i, (void **)&entry))
            return true;
        if ((entry->Mask & WRITES) && !(entry->Header.AceFlags & INHERIT_ONLY_ACE) &&
            !denies(entry) && !is_trusted(entry))
            return true;
    }
    return list == NULL;
}

bool owner_is_other(PSID of)
{
    return !of || !(is_administrators(of) || is_installer(of));
}
