/* SPDX-License-Identifier: PostgreSQL
 *
 * look.c -- see look.h.
 */
#include "core/look.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "core/table.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

struct PctlLook
{
	Relation table, index;
	Snapshot snapshot;
	IndexScanDesc scan;
	TupleTableSlot *row;
	ScanKeyData keys[INDEX_MAX_KEYS];
	int key_count;
};

/* Columns of a primary key have the equality of their type's own btree family. */
static void
keys_make(PctlLook *look)
{
	look->key_count = IndexRelationGetNumberOfKeyAttributes(look->index);
	for (int i = 0; i < look->key_count; i++)
	{
		Oid type = look->index->rd_opcintype[i];
		Oid equal = get_opfamily_member(look->index->rd_opfamily[i], type, type,
		                                BTEqualStrategyNumber);

		if (!OidIsValid(equal))
			elog(ERROR, "column %d of a primary key has no equality", i + 1);
		ScanKeyInit(&look->keys[i], (AttrNumber) (i + 1), BTEqualStrategyNumber, get_opcode(equal),
		            (Datum) 0);
		look->keys[i].sk_collation = look->index->rd_indcollation[i];
	}
}

PctlLook *
pctl_look_open(const char *table)
{
	PctlLook *look = palloc0(sizeof(*look));

	look->table = pctl_table_open(table, AccessShareLock);
	look->index = index_open(RelationGetPrimaryKeyIndex(look->table), AccessShareLock);
	keys_make(look);
	look->snapshot = RegisterSnapshot(GetLatestSnapshot());
	look->scan = index_beginscan(look->table, look->index, look->snapshot, look->key_count, 0);
	look->row = table_slot_create(look->table, NULL);
	return look;
}

TupleTableSlot *
pctl_look(PctlLook *look, const Datum *key)
{
	for (int i = 0; i < look->key_count; i++)
		look->keys[i].sk_argument = key[i];
	index_rescan(look->scan, look->keys, look->key_count, NULL, 0);
	return index_getnext_slot(look->scan, ForwardScanDirection, look->row) ? look->row : NULL;
}

void
pctl_look_close(PctlLook *look)
{
	ExecDropSingleTupleTableSlot(look->row);
	index_endscan(look->scan);
	UnregisterSnapshot(look->snapshot);
	index_close(look->index, NoLock);
	table_close(look->table, NoLock);
	pfree(look);
}
