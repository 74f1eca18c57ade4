# SPDX-License-Identifier: PostgreSQL
#
# Fully static and without NSS: agent/resolver reads hosts and resolv.conf itself. One file a
# line; canaries after the core.
agent_SRCS = \
	agent/main.c \
	agent/settings.c \
	agent/privilege.c \
	agent/sched.c \
	agent/tests.c \
	agent/forward.c

agent_LIBS = -lnghttp2 -levent_openssl -levent_core -lssl -lcrypto -lprotobuf-c -lyaml
agent_LDFLAGS = -static
