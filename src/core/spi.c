/* SPDX-License-Identifier: PostgreSQL
 *
 * spi.c -- plans that outlive the call. The plan cache revalidates them when a table changes, so
 * they are never dropped; DROP EXTENSION and a new CREATE are ordinary revalidations.
 */
#include "core/spi.h"

#include "nodes/params.h"
#include "utils/array.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

/* Prepares under a pinned search_path; the plan cache keeps it for every later re-analysis. */
static SPIPlanPtr
plan_make(PctlPlan *plan)
{
	int nest = NewGUCNestLevel();
	SPIPlanPtr made;

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
	                         GUC_ACTION_SAVE, true, ERROR, false);
	/* Keys lead every look-up: no constant would make a better plan, planning anew would cost more. */
	made = SPI_prepare_cursor(plan->sql, plan->nargs, plan->types, CURSOR_OPT_GENERIC_PLAN);
	AtEOXact_GUC(true, nest);
	if (made == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", plan->sql, SPI_result_code_string(SPI_result));
	if (SPI_keepplan(made) != 0)
		elog(ERROR, "could not keep a plan");
	return made;
}

uint64
pctl_plan_run(PctlPlan *plan, Datum *args, const char *nulls, bool read_only, long limit)
{
	int code;

	if (plan->plan == NULL)
		plan->plan = plan_make(plan);
	code = SPI_execute_plan(plan->plan, args, nulls, read_only, limit);
	if (code < 0)
		elog(ERROR, "could not execute \"%s\": %s", plan->sql, SPI_result_code_string(code));
	return SPI_processed;
}

typedef struct RowReceiver
{
	DestReceiver pub;
	PctlRowSink sink;
	void *state;
} RowReceiver;

static bool
row_receive(TupleTableSlot *slot, DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;

	receiver->sink(receiver->state, slot);
	return true;
}

static void
row_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
row_nothing(DestReceiver *self)
{
}

void
pctl_plan_each(PctlPlan *plan, const Datum *args, bool read_only, PctlRowSink sink, void *state)
{
	RowReceiver receiver = {.pub = {.receiveSlot = row_receive,
	                                .rStartup = row_startup,
	                                .rShutdown = row_nothing,
	                                .rDestroy = row_nothing,
	                                .mydest = DestNone},
	                        .sink = sink,
	                        .state = state};
	SPIExecuteOptions options = {
	    .params = makeParamList(plan->nargs), .read_only = read_only, .dest = &receiver.pub};
	int code;

	for (int i = 0; i < plan->nargs; i++)
		options.params->params[i] = (ParamExternData){
		    .value = args[i], .pflags = PARAM_FLAG_CONST, .ptype = plan->types[i]};
	if (plan->plan == NULL)
		plan->plan = plan_make(plan);
	code = SPI_execute_plan_extended(plan->plan, &options);
	if (code < 0)
		elog(ERROR, "could not execute \"%s\": %s", plan->sql, SPI_result_code_string(code));
	pfree(options.params);
}

Datum
pctl_array(Datum *values, bool *nulls, int count, Oid type)
{
	int lower = 1;
	int16 len;
	bool by_value;
	char align;

	get_typlenbyvalalign(type, &len, &by_value, &align);
	return PointerGetDatum(
	    construct_md_array(values, nulls, 1, &count, &lower, type, len, by_value, align));
}

Datum
pctl_spi_value(uint64 row, int column, bool *isnull)
{
	bool null;
	Datum value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &null);

	if (isnull != NULL)
		*isnull = null;
	else if (null)
		elog(ERROR, "unexpected null in column %d", column);
	return value;
}
