/* SPDX-License-Identifier: PostgreSQL
 *
 * merkle.c -- RFC 6962 section 2.1: leaf = H(0 | data), node = H(1 | left | right).
 *
 * The RFC states the tree and its proofs by recursion over [0, n), split at the largest power of two
 * below n. Both proofs here walk that recursion downwards in a loop and write what they pass; the
 * caller gets it reversed, as the RFC orders it.
 */
#include "audit/merkle.h"

#include "port/pg_bitutils.h"

static void
node_join(const MerkleNode *left, const MerkleNode *right, MerkleNode *out)
{
	static const uint8 prefix = 1;

	pctl_sha256_begin();
	pctl_sha256_add(&prefix, 1);
	pctl_sha256_add(left->hash, PCTL_SHA256_LEN);
	pctl_sha256_add(right->hash, PCTL_SHA256_LEN);
	pctl_sha256_end(out->hash);
}

void
merkle_add(MerkleFrontier *f, const uint8 hash[PCTL_SHA256_LEN])
{
	static const uint8 prefix = 0;
	MerkleNode node;

	pctl_sha256_begin();
	pctl_sha256_add(&prefix, 1);
	pctl_sha256_add(hash, PCTL_SHA256_LEN);
	pctl_sha256_end(node.hash);
	/* Like a carry: each low bit set is a perfect subtree of the same size as the node. */
	for (uint64 bits = f->size; (bits & 1) != 0; bits >>= 1)
		node_join(&f->nodes[--f->count], &node, &node);
	f->nodes[f->count++] = node;
	f->size++;
}

void
merkle_root(const MerkleFrontier *f, MerkleNode *root)
{
	if (f->count == 0)
	{
		pctl_sha256_begin();
		pctl_sha256_end(root->hash);
		return;
	}
	*root = f->nodes[f->count - 1];
	for (int i = f->count - 2; i >= 0; i--)
		node_join(&f->nodes[i], root, root);
}

bytea *
merkle_store(const MerkleFrontier *f)
{
	size_t len = f->count * sizeof(MerkleNode);
	bytea *stored = palloc(VARHDRSZ + len);

	SET_VARSIZE(stored, VARHDRSZ + len);
	memcpy(VARDATA(stored), f->nodes, len);
	return stored;
}

bool
merkle_load(MerkleFrontier *f, uint64 size, const bytea *stored)
{
	memset(f, 0, sizeof(*f));
	f->size = size;
	f->count = pg_popcount((const char *) &size, sizeof(size));
	if (VARSIZE_ANY_EXHDR(stored) != f->count * sizeof(MerkleNode))
		return false;
	memcpy(f->nodes, VARDATA_ANY(stored), f->count * sizeof(MerkleNode));
	return true;
}

/* Largest power of two below n (n > 1). */
static uint64
split_point(uint64 n)
{
	return UINT64CONST(1) << pg_leftmost_one_pos64(n - 1);
}

/* Nodes of the pruned frontier that begin at leaf `first`, as the frontier of [first, pruned). Possible
 * only when `first` is the left edge of one of them. */
static bool
pruned_tail(const MerkleFrontier *pruned, uint64 first, MerkleFrontier *out)
{
	uint64 at = 0;
	int index = 0;

	memset(out, 0, sizeof(*out));
	for (int bit = 63; bit >= 0; bit--)
	{
		uint64 width = UINT64CONST(1) << bit;

		if ((pruned->size & width) == 0)
			continue;
		if (at >= first)
		{
			out->nodes[out->count++] = pruned->nodes[index];
			out->size += width;
		}
		else if (at + width > first)
			return false; /* inside a node: what is below it is gone */
		at += width;
		index++;
	}
	return true;
}

/* Hash of the subtree over [first, last). */
static bool
subtree(const MerkleTree *tree, uint64 first, uint64 last, MerkleNode *out)
{
	MerkleFrontier f;

	memset(&f, 0, sizeof(f));
	if (first < tree->pruned.size)
	{
		if (!pruned_tail(&tree->pruned, first, &f))
			return false;
		if (last < tree->pruned.size)
		{
			/* A perfect subtree that is the first of the tail, or nothing that is still known. */
			if (last - first != UINT64CONST(1) << pg_leftmost_one_pos64(f.size) || f.count == 0)
				return false;
			*out = f.nodes[0];
			return true;
		}
		first = tree->pruned.size;
	}
	tree->leaves(tree->arg, first, last, &f);
	merkle_root(&f, out);
	return true;
}

static void
proof_reverse(MerkleNode *proof, int count)
{
	for (int i = 0; i < count / 2; i++)
	{
		MerkleNode swap = proof[i];

		proof[i] = proof[count - 1 - i];
		proof[count - 1 - i] = swap;
	}
}

int
merkle_inclusion(const MerkleTree *tree, uint64 leaf, MerkleNode proof[MERKLE_NODES_MAX])
{
	uint64 low = 0, high = tree->size;
	int count = 0;

	while (high - low > 1)
	{
		uint64 middle = low + split_point(high - low);
		bool left = leaf < middle;

		if (!subtree(tree, left ? middle : low, left ? high : middle, &proof[count++]))
			return -1;
		if (left)
			high = middle;
		else
			low = middle;
	}
	proof_reverse(proof, count);
	return count;
}

/* SUBPROOF of RFC 6962 section 2.1.2; `whole` is its flag b. */
int
merkle_consistency(const MerkleTree *tree, uint64 first, MerkleNode proof[MERKLE_NODES_MAX])
{
	uint64 low = 0, high = tree->size;
	bool whole = true;
	int count = 0;

	while (first != high)
	{
		uint64 middle = low + split_point(high - low);

		if (first <= middle)
		{
			if (!subtree(tree, middle, high, &proof[count++]))
				return -1;
			high = middle;
		}
		else
		{
			if (!subtree(tree, low, middle, &proof[count++]))
				return -1;
			low = middle;
			whole = false;
		}
	}
	if (!whole && !subtree(tree, low, high, &proof[count++]))
		return -1;
	proof_reverse(proof, count);
	return count;
}
