/* SPDX-License-Identifier: PostgreSQL
 *
 * filter.c -- see filter.h. Classic BPF: a load behind the end of the packet drops it.
 *
 * In both programs X ends at the echo message, a reply or a quoted request, whose token is
 * compared last. Jumps count the instructions that are left out; each line says where it goes.
 */
#include "agent/icmp/filter.h"

#include <linux/filter.h>
#include <stddef.h>
#include <sys/socket.h>

#define PASS 0xffffffff /* octets */
#define DROP 0

#define BYTE_AT   (BPF_LD | BPF_B | BPF_ABS)
#define BYTE_AT_X (BPF_LD | BPF_B | BPF_IND)
#define HALF_AT_X (BPF_LD | BPF_H | BPF_IND)
#define IS        (BPF_JMP | BPF_JEQ | BPF_K)
#define ABOVE     (BPF_JMP | BPF_JGT | BPF_K)
#define AT_LEAST  (BPF_JMP | BPF_JGE | BPF_K)
#define RETURN    (BPF_RET | BPF_K)

/* What stands from the quoted request to the end: its header of 8, and 2 of the token. */
#define WITH_MARK 10

/* Both programs end with it, eight instructions, the mark at the fifth: X is the echo message. */
#define TAIL(mark)                                                                                 \
	BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),      /* how much is left from there */                  \
	    BPF_STMT(BPF_ALU | BPF_SUB | BPF_X, 0), /* of the packet */                                \
	    BPF_JUMP(AT_LEAST, WITH_MARK, 1, 0),    /* to the mark */                                  \
	    BPF_STMT(RETURN, PASS),                 /* it cannot be told */                            \
	    BPF_STMT(HALF_AT_X, 8),                 /* the mark */                                     \
	    BPF_JUMP(IS, mark, 0, 1),               /* pass; drop */                                   \
	    BPF_STMT(RETURN, PASS), BPF_STMT(RETURN, DROP)

static bool
attach(int fd, struct sock_filter *program, size_t count)
{
	struct sock_fprog filter = {(unsigned short) count, program};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) == 0;
}

/* From the IP header on; RFC 792: 0 echo reply, 3 unreachable, 11 time exceeded, 12 parameter problem. */
static bool
attach4(int fd, uint16_t mark)
{
	struct sock_filter program[] = {
	    BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0), /* X: length of the header */
	    BPF_STMT(BYTE_AT_X, 0),
	    BPF_JUMP(IS, 0, 17, 0),                    /* reply: to the mark */
	    BPF_JUMP(IS, 3, 2, 0),                     /* to the error */
	    BPF_JUMP(IS, 11, 1, 0),                    /* to the error */
	    BPF_JUMP(IS, 12, 0, 17),                   /* to the error; drop */
	    BPF_STMT(BYTE_AT_X, 8 + 9),                /* error: the quoted protocol */
	    BPF_JUMP(IS, 1, 0, 15),                    /* ICMP; drop */
	    BPF_STMT(BYTE_AT_X, 8),                    /* the length of the quoted header */
	    BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x0f), /* in words */
	    BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 2),    /* in octets */
	    BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),    /* behind ours */
	    BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 8),    /* and that of the error */
	    BPF_STMT(BPF_MISC | BPF_TAX, 0),           /* X: the quoted request */
	    BPF_STMT(BYTE_AT_X, 0),                    /* its type */
	    BPF_JUMP(IS, 8, 0, 7),                     /* echo request; drop */
	    TAIL(mark),
	};

	return attach(fd, program, sizeof(program) / sizeof(program[0]));
}

/* From the ICMPv6 header on; RFC 4443: 129 echo reply, 1 to 4 errors. X is 0 at the start. */
static bool
attach6(int fd, uint16_t mark)
{
	struct sock_filter program[] = {
	    BPF_STMT(BYTE_AT, 0),
	    BPF_JUMP(IS, 129, 15, 0),                /* reply: to the mark */
	    BPF_JUMP(ABOVE, 4, 17, 0),               /* drop */
	    BPF_JUMP(IS, 0, 16, 0),                  /* drop */
	    BPF_STMT(BPF_LDX | BPF_W | BPF_IMM, 48), /* X: behind the quoted header */
	    BPF_STMT(BYTE_AT, 8 + 6),                /* what follows that */
	    BPF_JUMP(IS, 58, 4, 0),                  /* ICMPv6: to the request */
	    BPF_JUMP(IS, 44, 0, 12),                 /* a fragment; drop */
	    BPF_STMT(BPF_LDX | BPF_W | BPF_IMM, 56), /* X: behind the fragment header */
	    BPF_STMT(BYTE_AT, 48),                   /* what follows that */
	    BPF_JUMP(IS, 58, 0, 9),                  /* ICMPv6; drop */
	    BPF_STMT(BYTE_AT_X, 0),                  /* the request: its type */
	    BPF_JUMP(IS, 128, 0, 7),                 /* echo request; drop */
	    TAIL(mark),
	};

	return attach(fd, program, sizeof(program) / sizeof(program[0]));
}

bool
icmp_filter_attach(int fd, bool v6, uint16_t mark)
{
	return v6 ? attach6(fd, mark) : attach4(fd, mark);
}
