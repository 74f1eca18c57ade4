# SPDX-License-Identifier: PostgreSQL
lib_SRCS = \
	lib/buf.c \
	lib/conf.c \
	lib/confyaml.c \
	lib/log.c \
	lib/mem.c \
	lib/metrics.c
