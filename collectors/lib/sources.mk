# SPDX-License-Identifier: PostgreSQL
lib_SRCS = \
	lib/arena.c \
	lib/backoff.c \
	lib/buf.c \
	lib/cert.c \
	lib/clock.c \
	lib/conf.c \
	lib/confyaml.c \
	lib/crc32c.c \
	lib/crypto.c \
	lib/enroll.c \
	lib/files.c \
	lib/grpc.c \
	lib/grpcframe.c \
	lib/identity.c \
	lib/link.c \
	lib/log.c \
	lib/mem.c \
	lib/metrics.c \
	lib/signed.c \
	lib/spool.c \
	lib/spoolcursor.c \
	lib/spoolframe.c \
	lib/spoolpack.c \
	lib/spoolread.c \
	lib/uuid.c
