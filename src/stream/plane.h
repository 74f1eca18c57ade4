/* SPDX-License-Identifier: PostgreSQL
 *
 * plane.h -- the kinds of batches there are. The name is what producers and tables say.
 */
#ifndef PCTL_STREAM_PLANE_H
#define PCTL_STREAM_PLANE_H

typedef enum PctlPlane
{
	PCTL_PLANE_NETWORK,
	PCTL_PLANES
} PctlPlane;

static const char *const pctl_plane_names[PCTL_PLANES] = {[PCTL_PLANE_NETWORK] = "network"};

#endif
