# SPDX-License-Identifier: PostgreSQL
gateway_SRCS = \
	gateway/api.c \
	gateway/auth.c \
	gateway/conn.c \
	gateway/ctl.c \
	gateway/db.c \
	gateway/events.c \
	gateway/http.c \
	gateway/input.c \
	gateway/main.c \
	gateway/remote.c \
	gateway/reply.c \
	gateway/route.c \
	gateway/site.c \
	gateway/throttle.c \
	gateway/tls.c

gateway_LIBS = \
	-lpq \
	-lssl \
	-lcrypto \
	-levent_core \
	-ljansson \
	-lyaml
