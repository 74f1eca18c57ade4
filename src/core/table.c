/* SPDX-License-Identifier: PostgreSQL
 *
 * table.c -- see table.h.
 */
#include "core/table.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

Relation
pctl_table_open(const char *name, LOCKMODE lock)
{
	return table_open(get_relname_relid(name, get_namespace_oid("probectl", false)), lock);
}

Relation
pctl_table_open_columns(const char *name, int columns)
{
	Relation table = pctl_table_open(name, RowExclusiveLock);

	if (RelationGetDescr(table)->natts != columns)
		elog(ERROR, "probectl.%s has %d columns, expected %d", name, RelationGetDescr(table)->natts,
		     columns);
	return table;
}

EState *
pctl_table_executor(Relation table)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	EState *estate = CreateExecutorState();

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(table);
	rte->relkind = table->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	ExecInitRangeTable(estate, list_make1(rte));
	return estate;
}
