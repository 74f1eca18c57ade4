# SPDX-License-Identifier: PostgreSQL
verify_SRCS = \
	verify/main.c \
	verify/check.c
verify_LIBS = -ljansson -lcrypto
