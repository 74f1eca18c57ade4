# SPDX-License-Identifier: PostgreSQL
ingest_SRCS = \
	ingest/main.c \
	ingest/server.c \
	ingest/call.c \
	ingest/stream.c \
	ingest/pull.c \
	ingest/entry.c \
	ingest/unary.c \
	ingest/rotate.c \
	ingest/peer.c \
	ingest/spiffe.c \
	ingest/wire.c \
	ingest/tls.c \
	ingest/db.c \
	ingest/stats.c
ingest_LIBS = -lgrpc -lgpr -lpq -levent -lyaml -ljansson -lprotobuf-c -lssl -lcrypto -lpthread
