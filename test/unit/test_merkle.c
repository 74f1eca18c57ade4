/* SPDX-License-Identifier: PostgreSQL
 *
 * test_merkle.c -- the server's Merkle tree against the definition in RFC 6962 and the verification of RFC 9162.
 *
 * The module lives in the server, so its source is compiled here with the few things it takes from
 * there. Every size up to 70, every leaf, every pair of sizes and every place retention may cut at.
 */
#include "audit/merkle.c"

#include <openssl/evp.h>

/* cmocka's types are the server's too. */
#include "unit.h"

#define SIZES 70

static EVP_MD_CTX *digest;

void
pctl_sha256_begin(void)
{
	if (!digest)
		digest = EVP_MD_CTX_new();
	EVP_DigestInit_ex(digest, EVP_sha256(), NULL);
}

void
pctl_sha256_add(const void *data, size_t len)
{
	EVP_DigestUpdate(digest, data, len);
}

void
pctl_sha256_end(uint8 out[PCTL_SHA256_LEN])
{
	EVP_DigestFinal_ex(digest, out, NULL);
}

void *
palloc(Size size)
{
	return malloc(size);
}

uint64
pg_popcount(const char *buf, int bytes)
{
	uint64 count = 0;

	for (int i = 0; i < bytes; i++)
		count += (uint64) __builtin_popcount((unsigned char) buf[i]);
	return count;
}

const uint8 pg_leftmost_one_pos[256] = {0};

static MerkleNode leaves[SIZES];
static int asked_below; /* leaves asked for that retention has taken */

static int
leaves_make(void **state)
{
	for (int i = 0; i < SIZES; i++)
		EVP_Digest(&i, sizeof(i), leaves[i].hash, NULL, EVP_sha256(), NULL);
	return 0;
}

static int
digest_free(void **state)
{
	EVP_MD_CTX_free(digest);
	digest = NULL;
	return 0;
}

static void
join(uint8 prefix, const void *left, const void *right, MerkleNode *out)
{
	uint8 data[1 + 2 * PCTL_SHA256_LEN] = {prefix};

	memcpy(data + 1, left, PCTL_SHA256_LEN);
	if (right)
		memcpy(data + 1 + PCTL_SHA256_LEN, right, PCTL_SHA256_LEN);
	EVP_Digest(data, right ? sizeof(data) : 1 + PCTL_SHA256_LEN, out->hash, NULL, EVP_sha256(),
	           NULL);
}

/* MTH of RFC 6962 section 2.1. */
static MerkleNode
mth(uint64 first, uint64 n)
{
	MerkleNode left, right, out;
	uint64 k = 1;

	if (n == 0)
		EVP_Digest("", 0, out.hash, NULL, EVP_sha256(), NULL);
	else if (n == 1)
		join(0, leaves[first].hash, NULL, &out);
	else
	{
		while (k * 2 < n)
			k *= 2;
		left = mth(first, k);
		right = mth(first + k, n - k);
		join(1, left.hash, right.hash, &out);
	}
	return out;
}

static bool
same(const MerkleNode *a, const MerkleNode *b)
{
	return memcmp(a->hash, b->hash, PCTL_SHA256_LEN) == 0;
}

/* RFC 9162 section 2.1.3.2. */
static bool
inclusion_holds(uint64 leaf, uint64 size, const MerkleNode *proof, int count,
                const MerkleNode *root)
{
	uint64 fn = leaf, sn = size - 1;
	MerkleNode r = mth(leaf, 1);

	for (int i = 0; i < count; i++)
	{
		if (sn == 0)
			return false;
		if ((fn & 1) || fn == sn)
		{
			join(1, proof[i].hash, r.hash, &r);
			for (; !(fn & 1) && fn != 0; fn >>= 1)
				sn >>= 1;
		}
		else
			join(1, r.hash, proof[i].hash, &r);
		fn >>= 1;
		sn >>= 1;
	}
	return sn == 0 && same(&r, root);
}

/* RFC 9162 section 2.1.4.2. */
static bool
consistency_holds(uint64 first, uint64 second, const MerkleNode *proof, int count)
{
	MerkleNode old = mth(0, first), new = mth(0, second), fr, sr;
	uint64 fn = first - 1, sn = second - 1;
	int i = 0;

	if (first == second)
		return count == 0;
	if ((first & (first - 1)) == 0)
		fr = old;
	else if (count > 0)
		fr = proof[i++];
	else
		return false;
	sr = fr;
	for (; fn & 1; fn >>= 1)
		sn >>= 1;
	for (; i < count; i++)
	{
		if (sn == 0)
			return false;
		if ((fn & 1) || fn == sn)
		{
			join(1, proof[i].hash, fr.hash, &fr);
			join(1, proof[i].hash, sr.hash, &sr);
			for (; !(fn & 1) && fn != 0; fn >>= 1)
				sn >>= 1;
		}
		else
			join(1, sr.hash, proof[i].hash, &sr);
		fn >>= 1;
		sn >>= 1;
	}
	return sn == 0 && same(&fr, &old) && same(&sr, &new);
}

static void
leaves_give_counted(void *arg, uint64 first, uint64 last, MerkleFrontier *into)
{
	MerkleTree *tree = arg;

	if (first < tree->pruned.size)
		asked_below++;
	assert_true(last <= tree->size);
	for (uint64 i = first; i < last; i++)
		merkle_add(into, leaves[i].hash);
}

static MerkleTree
tree_of(uint64 size, uint64 pruned)
{
	MerkleTree tree = {.size = size, .leaves = leaves_give_counted};

	for (uint64 i = 0; i < pruned; i++)
		merkle_add(&tree.pruned, leaves[i].hash);
	return tree;
}

static void
roots_are_those_of_the_definition(void **state)
{
	MerkleFrontier f = {0};
	MerkleNode root, want;

	for (uint64 n = 0; n < SIZES; n++)
	{
		merkle_root(&f, &root);
		want = mth(0, n);
		assert_true(same(&root, &want));
		assert_int_equal(f.size, n);
		assert_int_equal(f.count, __builtin_popcountll(n));
		merkle_add(&f, leaves[n].hash);
	}
}

static void
a_frontier_survives_storage(void **state)
{
	MerkleFrontier f = {0}, again;

	for (uint64 n = 0; n < SIZES; n++)
	{
		bytea *stored = merkle_store(&f);

		assert_true(merkle_load(&again, n, stored));
		assert_memory_equal(f.nodes, again.nodes, (size_t) f.count * sizeof(MerkleNode));
		assert_int_equal(again.count, f.count);
		assert_false(merkle_load(&again, n * 2 + 1, stored));
		free(stored);
		merkle_add(&f, leaves[n].hash);
	}
}

static void
inclusion_of_every_leaf(void **state)
{
	MerkleNode proof[MERKLE_NODES_MAX];

	for (uint64 n = 1; n <= SIZES; n++)
	{
		MerkleTree tree = tree_of(n, 0);
		MerkleNode root = mth(0, n), wrong = mth(0, n - 1);

		tree.arg = &tree;
		for (uint64 leaf = 0; leaf < n; leaf++)
		{
			int count = merkle_inclusion(&tree, leaf, proof);

			assert_true(count >= 0);
			assert_true(inclusion_holds(leaf, n, proof, count, &root));
			assert_false(inclusion_holds(leaf, n, proof, count, &wrong));
			if (count > 0)
			{
				assert_false(inclusion_holds(leaf, n, proof, count - 1, &root));
				proof[0].hash[0] ^= 1;
				assert_false(inclusion_holds(leaf, n, proof, count, &root));
			}
		}
	}
}

static void
consistency_of_every_pair(void **state)
{
	MerkleNode proof[MERKLE_NODES_MAX];

	for (uint64 n = 1; n <= SIZES; n++)
	{
		MerkleTree tree = tree_of(n, 0);

		tree.arg = &tree;
		for (uint64 first = 1; first <= n; first++)
		{
			int count = merkle_consistency(&tree, first, proof);

			assert_true(count >= 0);
			assert_true(consistency_holds(first, n, proof, count));
			if (count > 0)
			{
				proof[count - 1].hash[5] ^= 1;
				assert_false(consistency_holds(first, n, proof, count));
			}
		}
	}
}

/* Whatever retention has taken is never asked for: what is left is always proved, from the cut on. */
static void
what_retention_left_is_proved(void **state)
{
	MerkleNode proof[MERKLE_NODES_MAX];

	asked_below = 0;
	for (uint64 n = 1; n <= SIZES; n++)
		for (uint64 cut = 1; cut <= n; cut++)
		{
			MerkleTree tree = tree_of(n, cut);
			MerkleNode root = mth(0, n);
			int count;

			tree.arg = &tree;
			for (uint64 leaf = cut; leaf < n; leaf++)
			{
				count = merkle_inclusion(&tree, leaf, proof);
				assert_true(count >= 0);
				assert_true(inclusion_holds(leaf, n, proof, count, &root));
			}
			for (uint64 first = cut; first <= n; first++)
			{
				count = merkle_consistency(&tree, first, proof);
				assert_true(count >= 0);
				assert_true(consistency_holds(first, n, proof, count));
			}
		}
	assert_int_equal(asked_below, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(roots_are_those_of_the_definition),
	    cmocka_unit_test(a_frontier_survives_storage),
	    cmocka_unit_test(inclusion_of_every_leaf),
	    cmocka_unit_test(consistency_of_every_pair),
	    cmocka_unit_test(what_retention_left_is_proved),
	};

	return cmocka_run_group_tests_name("merkle", tests, leaves_make, digest_free);
}
