/* SPDX-License-Identifier: PostgreSQL
 *
 * merkle.h -- the tree of RFC 6962 section 2.1 over the hashes of a chain's events, kept as a frontier.
 *
 * The frontier of a tree of n leaves holds one node for each bit set in n, from the highest: the roots
 * of the perfect subtrees side by side. It is all that is needed to add leaves and to know the
 * root, and it stays when the leaves below it are pruned.
 */
#ifndef PCTL_AUDIT_MERKLE_H
#define PCTL_AUDIT_MERKLE_H

#include "postgres.h"

#include "core/crypto.h"

#define MERKLE_NODES_MAX 64

typedef struct MerkleNode
{
	uint8 hash[PCTL_SHA256_LEN];
} MerkleNode;

typedef struct MerkleFrontier
{
	uint64 size;
	int count; /* bits set in size */
	MerkleNode nodes[MERKLE_NODES_MAX];
} MerkleFrontier;

/* Adds the hash of an event as the next leaf. */
void merkle_add(MerkleFrontier *frontier, const uint8 hash[PCTL_SHA256_LEN]);

/* Root of the tree; SHA-256 of nothing when it is empty. */
void merkle_root(const MerkleFrontier *frontier, MerkleNode *root);

/* As stored: nodes only, the size stands beside. False when the length does not fit the size. */
bytea *merkle_store(const MerkleFrontier *frontier);
bool merkle_load(MerkleFrontier *frontier, uint64 size, const bytea *stored);

/* Event hashes of leaves [first, last), in order; given by whoever has the table. */
typedef void (*MerkleLeaves)(void *arg, uint64 first, uint64 last, MerkleFrontier *into);

/* A tree of `size` leaves of which those below pruned.size are known by their frontier alone. */
typedef struct MerkleTree
{
	uint64 size;
	MerkleFrontier pruned;
	MerkleLeaves leaves;
	void *arg;
} MerkleTree;

/* Nodes of a proof, nearest the leaf first; returns how many, or -1 when a needed node was pruned. */
int merkle_inclusion(const MerkleTree *tree, uint64 leaf, MerkleNode proof[MERKLE_NODES_MAX]);
int merkle_consistency(const MerkleTree *tree, uint64 first, MerkleNode proof[MERKLE_NODES_MAX]);

#endif
