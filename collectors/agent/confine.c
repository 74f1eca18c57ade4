/* SPDX-License-Identifier: PostgreSQL
 *
 * confine.c -- see confine.h. The filter is a list of numbers that this file turns into classic BPF;
 * a library for it would be larger than the list.
 *
 *     other architecture -> refuse | call without conditions in the table -> allow
 *     mmap, mprotect: not executable | socket: families of the table | else -> refuse
 *
 * Calls that a libc may use one instead of the other (open and openat, poll and ppoll) are both
 * there: what counts is what they do.
 */
#include "agent/confine.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__x86_64__)
#define CONFINE_ARCH       AUDIT_ARCH_X86_64
#define CONFINE_RESULT(uc) ((uc)->uc_mcontext.gregs[REG_RAX])
#elif defined(__aarch64__)
#define CONFINE_ARCH       AUDIT_ARCH_AARCH64
#define CONFINE_RESULT(uc) ((uc)->uc_mcontext.regs[0])
#endif

const char *const confine_modes[] = {"kill", "log", "off", NULL};

#ifdef CONFINE_ARCH

static const uint16_t allowed[] = {
    /* the loop, most frequent first */
    SYS_epoll_pwait,
    SYS_recvmsg,
    SYS_sendmsg,
    SYS_read,
    SYS_write,
    SYS_recvfrom,
    SYS_sendto,
    SYS_clock_gettime,
    SYS_epoll_ctl,
    SYS_close,
    SYS_connect,
    SYS_setsockopt,
    SYS_getsockopt,
    SYS_getsockname,
    SYS_getpeername,
    SYS_bind,
    SYS_listen,
    SYS_accept,
    SYS_accept4,
    SYS_shutdown,
    SYS_sendmmsg,
    SYS_recvmmsg,
    SYS_readv,
    SYS_writev,
    SYS_ppoll,
    SYS_pselect6,
    SYS_fcntl,
    SYS_ioctl,
    SYS_epoll_create1,
    SYS_eventfd2,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_pipe2,
    SYS_socketpair,
    SYS_inotify_init1,
    SYS_inotify_add_watch,
    SYS_dup,
    SYS_dup3,
    /* files: spool, identity, tests, resolv.conf */
    SYS_openat,
    SYS_newfstatat,
    SYS_fstat,
    SYS_statx,
    SYS_lseek,
    SYS_pread64,
    SYS_pwrite64,
    SYS_preadv,
    SYS_pwritev,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_fsync,
    SYS_fdatasync,
    SYS_fadvise64,
    SYS_renameat,
    SYS_renameat2,
    SYS_unlinkat,
    SYS_mkdirat,
    SYS_symlinkat,
    SYS_readlinkat,
    SYS_getdents64,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_flock,
    SYS_statfs,
    SYS_fstatfs,
    SYS_umask,
    SYS_getcwd,
    /* memory and time */
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    SYS_mlock,
    SYS_mlock2,
    SYS_munlock,
    SYS_getrandom,
    SYS_gettimeofday,
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_futex,
    /* how well the clock is disciplined; setting it needs a capability that was given up */
    SYS_adjtimex,
    SYS_clock_adjtime,
    /* signals, and what a process may know of itself */
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_restart_syscall,
    SYS_getpid,
    SYS_gettid,
    SYS_tgkill,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_uname,
    SYS_sysinfo,
    SYS_getrusage,
    SYS_getrlimit,
    SYS_sched_getaffinity,
    SYS_sched_yield,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_exit,
    SYS_exit_group,
#ifdef __x86_64__
    /* older names for the same */
    SYS_epoll_wait,
    SYS_poll,
    SYS_select,
    SYS_time,
    SYS_open,
    SYS_stat,
    SYS_lstat,
    SYS_access,
    SYS_rename,
    SYS_unlink,
    SYS_mkdir,
    SYS_rmdir,
    SYS_symlink,
    SYS_readlink,
    SYS_chmod,
    SYS_pipe,
    SYS_dup2,
    SYS_epoll_create,
    SYS_eventfd,
    SYS_inotify_init,
#endif
};

/* Unix: status socket, and nothing listens for more. Netlink: which interface a route takes. */
static const uint32_t families[] = {AF_INET, AF_INET6, AF_UNIX, AF_NETLINK};

#define ALLOWED_COUNT  (sizeof(allowed) / sizeof(allowed[0]))
#define FAMILIES_COUNT (sizeof(families) / sizeof(families[0]))
#define PROGRAM_MAX    (2 * ALLOWED_COUNT + 2 * FAMILIES_COUNT + 24)

struct program
{
	struct sock_filter code[PROGRAM_MAX];
	unsigned short count;
};

static void
put(struct program *p, uint16_t code, uint8_t jt, uint8_t jf, uint32_t k)
{
	p->code[p->count++] = (struct sock_filter) BPF_JUMP(code, k, jt, jf);
}

static void
put_load(struct program *p, size_t offset)
{
	put(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t) offset);
}

/* Arguments are 64 bits wide, their low half first: both architectures are little-endian. */
static size_t
argument(unsigned number)
{
	return offsetof(struct seccomp_data, args) + number * sizeof(uint64_t);
}

static void
put_allow_when(struct program *p, uint32_t value)
{
	put(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, value);
	put(p, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
}

/* The call is allowed unless its third argument asks for executable memory. */
static void
put_no_exec(struct program *p, uint32_t call, uint32_t refuse)
{
	put(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, call);
	put_load(p, argument(2));
	put(p, BPF_JMP | BPF_JSET | BPF_K, 0, 1, PROT_EXEC);
	put(p, BPF_RET | BPF_K, 0, 0, refuse);
	put(p, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
}

static void
program_make(struct program *p, uint32_t refuse)
{
	p->count = 0;
	put_load(p, offsetof(struct seccomp_data, arch));
	put(p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, CONFINE_ARCH);
	put(p, BPF_RET | BPF_K, 0, 0, refuse);
	put_load(p, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < ALLOWED_COUNT; i++)
		put_allow_when(p, allowed[i]);
	put_no_exec(p, SYS_mmap, refuse);
	put_no_exec(p, SYS_mprotect, refuse);
	/* Limits may be read, not set: the third argument is the new one. */
	put(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 6, SYS_prlimit64);
	put_load(p, argument(2));
	put(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 3, 0);
	put_load(p, argument(2) + 4);
	put_allow_when(p, 0);
	put(p, BPF_RET | BPF_K, 0, 0, refuse);
	put(p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, SYS_socket);
	put(p, BPF_RET | BPF_K, 0, 0, refuse);
	put_load(p, argument(0));
	for (size_t i = 0; i < FAMILIES_COUNT; i++)
		put_allow_when(p, families[i]);
	put(p, BPF_RET | BPF_K, 0, 0, refuse);
}

/* The refused call returns here with a result of our making. Nothing but write is safe. */
static void
on_refused(int signal_number, siginfo_t *info, void *context)
{
	static const char before[] = "probectl-agent: seccomp: system call ", after[] = " refused\n";
	char line[sizeof(before) + sizeof(after) + 12], digits[12];
	int number = info->si_syscall, at = 0, len = (int) sizeof(before) - 1;
	ucontext_t *uc = context;

	memcpy(line, before, (size_t) len);
	do
		digits[at++] = (char) ('0' + number % 10);
	while ((number /= 10) > 0 && at < (int) sizeof(digits));
	while (at > 0)
		line[len++] = digits[--at];
	memcpy(line + len, after, sizeof(after) - 1);
	len += (int) sizeof(after) - 1;
	if (write(STDERR_FILENO, line, (size_t) len) < 0)
		number = 0; /* there is nobody to tell */
	CONFINE_RESULT(uc) = -EPERM;
}

bool
confine(enum confine_mode mode, char *err, size_t errlen)
{
	struct sigaction action = {.sa_sigaction = on_refused, .sa_flags = SA_SIGINFO | SA_NODEFER};
	struct program program;
	struct sock_fprog filter = {.filter = program.code};

	if (mode == CONFINE_OFF)
		return true;
	if (mode == CONFINE_LOG && sigaction(SIGSYS, &action, NULL) != 0)
	{
		snprintf(err, errlen, "seccomp: %s", strerror(errno));
		return false;
	}
	program_make(&program, mode == CONFINE_LOG ? SECCOMP_RET_TRAP : SECCOMP_RET_KILL_PROCESS);
	filter.len = program.count;
	/* PR_SET_NO_NEW_PRIVS was set when the privileges were given up. */
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0)
		return true;
	snprintf(err, errlen, "seccomp: the kernel takes no filter: %s", strerror(errno));
	return false;
}

#else

bool
confine(enum confine_mode mode, char *err, size_t errlen)
{
	if (mode == CONFINE_OFF)
		return true;
	snprintf(err, errlen, "seccomp: there is no filter for this architecture");
	return false;
}

#endif
