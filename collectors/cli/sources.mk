# SPDX-License-Identifier: PostgreSQL
cli_SRCS = \
	cli/main.c \
	cli/admin.c \
	cli/cert.c \
	cli/child.c \
	cli/cluster.c \
	cli/cmd_api.c \
	cli/cmd_audit.c \
	cli/cmd_down.c \
	cli/cmd_enroll.c \
	cli/cmd_env.c \
	cli/cmd_psql.c \
	cli/cmd_renew.c \
	cli/cmd_signin.c \
	cli/cmd_status.c \
	cli/cmd_tenant.c \
	cli/cmd_token.c \
	cli/cmd_top.c \
	cli/cmd_up.c \
	cli/db.c \
	cli/fetch.c \
	cli/fleet.c \
	cli/health.c \
	cli/home.c \
	cli/latest.c \
	cli/leftover.c \
	cli/load.c \
	cli/proc.c \
	cli/services.c \
	cli/bench.c \
	cli/bench_agent.c \
	cli/bench_audit.c \
	cli/bench_fairness.c \
	cli/bench_gateway.c \
	cli/bench_icmp.c \
	cli/bench_ingest.c \
	cli/bench_metric.c \
	cli/bench_pooled.c \
	cli/bench_rls.c \
	cli/bench_spool.c \
	cli/bench_tenants.c \
	cli/bench_tier.c \
	cli/step.c \
	cli/super.c \
	cli/supervise.c \
	cli/util.c
cli_LIBS = -lpq -lcurl -ljansson -levent -lnghttp2 -lprotobuf-c -lssl -lcrypto -lz -lm
