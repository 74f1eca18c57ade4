// SPDX-License-Identifier: PostgreSQL
//
// The journey over a real control plane: gateway, database, ingest and an agent.
import { describeJourney } from './journey.mjs';
import { realMissing, startReal } from './targets.mjs';

describeJourney('journey, control plane', startReal, realMissing());
