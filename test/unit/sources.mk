# SPDX-License-Identifier: PostgreSQL
#
# Driver -> files under collectors/ that it needs besides the library (collectors/lib is linked
# always). <driver>_LIBS adds libraries.

unit_DRIVERS = \
	backoff \
	buf \
	conf \
	crc32c \
	grpc \
	identity \
	sched \
	spool \
	tests

sched_SRCS = \
	agent/result.c \
	agent/sched.c \
	agent/tests.c

tests_SRCS = \
	agent/result.c \
	agent/settings.c \
	agent/tests.c
