# SPDX-License-Identifier: PostgreSQL
#
# probectl: the extension by PGXS here; processes in collectors/, the page in web/, each with its own
# Makefile. `make up` and `make check` are the two commands a newcomer needs; both install what
# they miss.

EXTENSION  := probectl
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" probectl.control)
MODULE_big := probectl

SRCS := \
	src/probectl.c \
	src/core/append.c \
	src/core/clock.c \
	src/core/crypto.c \
	src/core/guc.c \
	src/core/keeper.c \
	src/core/look.c \
	src/core/pb.c \
	src/core/row.c \
	src/core/spi.c \
	src/core/table.c \
	src/core/uuid7.c \
	src/core/worker.c \
	src/core/x509.c \
	src/tenant/context.c \
	src/tenant/fairness.c \
	src/tenant/guard.c \
	src/identity/ca.c \
	src/identity/credential.c \
	src/identity/permission.c \
	src/identity/session.c \
	src/audit/chain.c \
	src/audit/deferred.c \
	src/audit/merkle.c \
	src/audit/sign.c \
	src/audit/verify.c \
	src/stream/batch.c \
	src/stream/derive.c \
	src/stream/group.c \
	src/stream/ingest.c \
	src/stream/ledger.c \
	src/stream/position.c \
	src/stream/window.c \
	src/result/bundle.c \
	src/result/decode.c \
	src/result/latest.c \
	src/result/store.c \
	src/a2a/tasks.c \
	src/metric/chunk.c \
	src/metric/compact.c \
	src/metric/derive.c \
	src/metric/ending.c \
	src/metric/fold.c \
	src/metric/hot.c \
	src/metric/permit.c \
	src/metric/query.c \
	src/metric/run.c \
	src/metric/samples.c \
	src/metric/series.c \
	src/metric/sheet.c \
	src/metric/sketch.c \
	src/metric/store.c \
	src/remote/batch.c \
	src/remote/known.c \
	src/remote/receive.c \
	src/remote/send.c \
	src/remote/wire.c \
	src/provider/operator.c \
	src/api/call.c

# Objects go to build/, not beside the source.
OBJS := $(SRCS:%.c=build/obj/%.o)

# One list, in the order that matters: tables, then functions, then policies and grants.
SQL := \
	src/header.sql \
	src/core/schema.sql \
	src/tenant/schema.sql \
	src/identity/schema.sql \
	src/audit/schema.sql \
	src/provider/schema.sql \
	src/stream/schema.sql \
	src/result/schema.sql \
	src/a2a/schema.sql \
	src/metric/schema.sql \
	src/remote/schema.sql \
	src/api/schema.sql \
	src/core/api.sql \
	src/audit/api.sql \
	src/tenant/api.sql \
	src/identity/api.sql \
	src/provider/api.sql \
	src/provider/break_glass.sql \
	src/stream/api.sql \
	src/result/api.sql \
	src/a2a/api.sql \
	src/metric/api.sql \
	src/remote/api.sql \
	src/api/api.sql \
	src/api/route.sql \
	src/core/policy.sql \
	src/tenant/policy.sql \
	src/identity/policy.sql \
	src/audit/policy.sql \
	src/provider/policy.sql \
	src/stream/policy.sql \
	src/result/policy.sql \
	src/a2a/policy.sql \
	src/metric/policy.sql \
	src/remote/policy.sql \
	src/api/policy.sql \
	src/final.sql

INSTALL_SQL := build/$(EXTENSION)--$(EXTVERSION).sql
DATA_built  := $(INSTALL_SQL)

# pg_regress: sql/<domain>_<topic>.sql with expected/ beside it.
REGRESS := \
	core_install \
	tenant_context \
	tenant_guard \
	identity_credential \
	audit_chain \
	stream_ingest \
	stream_integrity \
	stream_bus \
	result_latest \
	a2a_broker \
	metric_store \
	metric_query \
	remote_write \
	api_call

ISOLATION := \
	metric_series_known \
	metric_series_registered \
	stream_groups \
	stream_same_batch \
	bus_two_consumers \
	audit_two_writers \
	identity_join_token \
	identity_signin_link \
	identity_token_shared \
	test_revision

PG_CPPFLAGS = -Isrc -Ibuild
PG_CFLAGS   = -std=gnu11 -fvisibility=hidden -Wall -Wextra -Wno-unused-parameter \
              -Wno-sign-compare -Wno-missing-field-initializers -Wno-declaration-after-statement \
              -Wno-cast-function-type -Wno-clobbered -Werror
SHLIB_LINK  = -lcrypto -largon2 -lsnappy -lcurl
EXTRA_CLEAN = build

PG_CONFIG ?= pg_config

# PGXS has a target called check as well, so it gets a pass of its own: make PASS=extension.
ifeq ($(PASS),extension)

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

build/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(CPPFLAGS) -MMD -MP -c -o $@ $<

# PGXS on Debian tracks no headers; these do.
-include $(OBJS:.o=.d)

# An install script carries no OR REPLACE, so that an object somebody made before us aborts it.
$(INSTALL_SQL): $(SQL) Makefile
	@mkdir -p $(@D)
	cat $(SQL) | sed "s/^CREATE OR REPLACE /CREATE /; s/@SCRIPT_DIGEST@/$$(cat $(SQL) | sha256sum | cut -c1-64)/" > $@.tmp
	mv $@.tmp $@

else

.DEFAULT_GOAL := build
PREFIX ?= /usr/local

build: | packages-build
	@$(MAKE) --no-print-directory extension
	@$(MAKE) --no-print-directory collectors
	@$(MAKE) --no-print-directory web

extension:
	@$(MAKE) --no-print-directory PASS=extension with_llvm=no $(MODULE_big).so $(INSTALL_SQL)

collectors:
	@$(MAKE) --no-print-directory -C collectors

web:
	@$(MAKE) --no-print-directory -C web build

# Only when something differs: a second `make up` changes nothing.
install-extension: extension
	@cmp -s $(MODULE_big).so "$$($(PG_CONFIG) --pkglibdir)/$(MODULE_big).so" && \
	 cmp -s $(EXTENSION).control "$$($(PG_CONFIG) --sharedir)/extension/$(EXTENSION).control" && \
	 cmp -s $(INSTALL_SQL) "$$($(PG_CONFIG) --sharedir)/extension/$(notdir $(INSTALL_SQL))" || \
	 $(MAKE) --no-print-directory PASS=extension with_llvm=no install

install: build install-extension
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/probectl
	install -m 0755 build/bin/* $(DESTDIR)$(PREFIX)/bin/
	cp -r build/web $(DESTDIR)$(PREFIX)/share/probectl/

# The agent for arm64, static, as build/arm64/bin/probectl-agent; not a part of the build.
agent-arm64: | packages-build packages-arm64
	@dev/arm64-sysroot.sh
	@$(MAKE) --no-print-directory -C collectors ARCH=arm64 agent

packages-build packages-run packages-test packages-arm64: packages-%:
	@dev/install-packages.sh $*

up: build install-extension
	@build/bin/probectl up

down:
	@build/bin/probectl down

SUITES := lint regress isolation pgtap unit tenancy system web

check: | packages-build packages-run packages-test packages-arm64
	@$(MAKE) --no-print-directory build install-extension
	@dev/run-suites.sh $(SUITES)

$(SUITES:%=check-%): check-%:
	@dev/run-suites.sh $*

fuzz:
	@$(MAKE) --no-print-directory -C test/fuzz run SECONDS=$(or $(SECONDS),60)

bench:
	@dev/bench.sh

dist:
	@mkdir -p build
	git archive --prefix=probectl-$(EXTVERSION)/ -o build/probectl-$(EXTVERSION).tar.gz HEAD

clean:
	rm -rf build $(MODULE_big).so

.PHONY: build extension collectors web install install-extension agent-arm64 up down check fuzz bench dist clean \
	packages-build packages-run packages-test packages-arm64 $(SUITES:%=check-%)

endif
