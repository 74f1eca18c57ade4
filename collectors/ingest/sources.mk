# SPDX-License-Identifier: PostgreSQL
ingest_SRCS = \
	ingest/main.c \
	ingest/server.c \
	ingest/call.c \
	ingest/stream.c \
	ingest/pull.c \
	ingest/entry.c \
	ingest/gather.c \
	ingest/group.c \
	ingest/line.c \
	ingest/unary.c \
	ingest/rotate.c \
	ingest/peer.c \
	ingest/spiffe.c \
	ingest/wire.c \
	ingest/tls.c \
	ingest/db.c \
	ingest/bus.c \
	ingest/consume.c \
	ingest/kafka.c \
	ingest/record.c \
	ingest/stats.c
ingest_LIBS = -lgrpc -lgpr -lrdkafka -lpq -levent -lyaml -ljansson -lprotobuf-c -lssl -lcrypto -lpthread
