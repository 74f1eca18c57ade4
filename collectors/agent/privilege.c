/* SPDX-License-Identifier: PostgreSQL
 *
 * privilege.c -- see privilege.h. /etc/passwd is read here because getpwnam loads NSS modules,
 * which a static binary cannot.
 */
#include "agent/privilege.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "lib/conf.h"

struct account
{
	uid_t uid;
	gid_t gid;
};

/* name:password:uid:gid:... */
static bool
account_parse(char *line, const char *name, struct account *account)
{
	char *fields[4], *rest = line;
	int64_t uid, gid;

	for (int i = 0; i < 4; i++)
	{
		fields[i] = strsep(&rest, ":");
		if (!fields[i])
			return false;
	}
	if (strcmp(fields[0], name) != 0 || !conf_parse_int(fields[2], &uid) ||
	    !conf_parse_int(fields[3], &gid) || uid < 0 || gid < 0 || uid >= UINT32_MAX ||
	    gid >= UINT32_MAX)
		return false;
	account->uid = (uid_t) uid;
	account->gid = (gid_t) gid;
	return true;
}

static bool
account_find(const char *name, struct account *account)
{
	FILE *f = fopen("/etc/passwd", "re");
	char line[1024];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = account_parse(line, name, account);
	if (f)
		fclose(f);
	return found;
}

static bool
capabilities_clear(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};

	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0 &&
	       syscall(SYS_capset, &header, none) == 0;
}

bool
privilege_drop(const char *user, char *err, size_t errlen)
{
	struct account account = {.uid = getuid(), .gid = getgid()};

	if (geteuid() == 0 && user)
	{
		if (!account_find(user, &account))
		{
			snprintf(err, errlen, "user %s is not in /etc/passwd; create it or change the setting",
			         user);
			return false;
		}
		if (setgroups(0, NULL) != 0 || setresgid(account.gid, account.gid, account.gid) != 0 ||
		    setresuid(account.uid, account.uid, account.uid) != 0)
		{
			snprintf(err, errlen, "cannot become user %s: %s", user, strerror(errno));
			return false;
		}
	}
	if (!capabilities_clear() || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
	{
		snprintf(err, errlen, "cannot give up capabilities: %s", strerror(errno));
		return false;
	}
	/* What was given up must not come back. */
	if (account.uid != 0 && (setuid(0) == 0 || setgid(0) == 0))
	{
		snprintf(err, errlen, "privileges could be taken back after they were given up");
		return false;
	}
	return true;
}
