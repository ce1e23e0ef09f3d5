/* SPDX-License-Identifier: BSD-2-Clause
 *
 * owner_win32.c - on Windows: who may use what the service and its clients share.
 *
 * Owns no state. An access list says who may use an object, and its owner may change the list. So
 * both are looked at, before an object is believed that another process may have made.
 *
 * Who: pipe.c, client_pipe.c, pipe_files.c, ring_win32.c.
 */
#include "owner_win32.h"

#include <aclapi.h>
#include <sddl.h>
#include <stdio.h>

struct user {
    TOKEN_USER token;
    BYTE room[SECURITY_MAX_SID_SIZE]; /* where token.User.Sid points to */
};

static bool get_user(struct user *u)
{
    HANDLE token;
    DWORD n;
    bool done;

    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token))
        return false;
    done = GetTokenInformation(token, TokenUser, u, sizeof(*u), &n);
    CloseHandle(token);
    return done;
}

/* Then what it makes belongs to all administrators, so that SYSTEM believes it. */
static bool is_administrator(void)
{
    BYTE sid[SECURITY_MAX_SID_SIZE];
    DWORD n = sizeof(sid);
    BOOL is = FALSE;

    return CreateWellKnownSid(WinBuiltinAdministratorsSid, NULL, sid, &n) &&
           CheckTokenMembership(NULL, sid, &is) && is;
}

bool owner_only(SECURITY_ATTRIBUTES *a)
{
    struct user user;
    char *name, text[400];

    *a = (SECURITY_ATTRIBUTES){ .nLength = sizeof(*a) };
    if (!get_user(&user) || !ConvertSidToStringSidA(user.token.User.Sid, &name))
        return false;
    /* P: nothing is added from the directory. OI, CI: what is made in a directory has it, too. */
    snprintf(text, sizeof(text), "O:%sD:P(A;OICI;GA;;;%s)(A;OICI;GA;;;BA)(A;OICI;GA;;;SY)",
             is_administrator() ? "BA" : name, name);
    LocalFree(name);
    return ConvertStringSecurityDescriptorToSecurityDescriptorA(text, SDDL_REVISION_1,
                                                                &a->lpSecurityDescriptor, NULL);
}

void owner_only_end(SECURITY_ATTRIBUTES *a)
{
    LocalFree(a->lpSecurityDescriptor);
}

static bool is_owner(PSID sid, const struct user *user)
{
    return EqualSid(sid, user->token.User.Sid) ||
           IsWellKnownSid(sid, WinBuiltinAdministratorsSid) ||
           IsWellKnownSid(sid, WinLocalSystemSid);
}

/* Does the list let the owner in, and nobody else? No list at all lets everybody in. */
static bool lets_owner_only(ACL *list, const struct user *user)
{
    for (DWORD i = 0; list && i < list->AceCount; i++) {
        ACCESS_ALLOWED_ACE *entry;

        if (!GetAce(list, i, (void **)&entry))
            return false;
        if (entry->Header.AceType == ACCESS_DENIED_ACE_TYPE)
            continue;
        if (entry->Header.AceType != ACCESS_ALLOWED_ACE_TYPE || !is_owner(&entry->SidStart, user))
            return false;
    }
    return list != NULL;
}

const char *owner_fault(HANDLE h, bool alone)
{
    PSECURITY_DESCRIPTOR all;
    struct user user;
    const char *wrong = NULL;
    PSID owner = NULL;
    ACL *list = NULL;

    if (!get_user(&user) ||
        GetSecurityInfo(h, SE_KERNEL_OBJECT, OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
                        &owner, NULL, &list, NULL, &all) != ERROR_SUCCESS)
        return "the system does not say whose it is";
    if (!owner || !is_owner(owner, &user))
        wrong = "it belongs to another user";
    else if (alone && !lets_owner_only(list, &user))
        wrong = "others may use it too";
    LocalFree(all);
    return wrong;
}
