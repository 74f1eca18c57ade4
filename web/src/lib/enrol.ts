// SPDX-License-Identifier: PostgreSQL

/** The command line that enrols an agent here. */
export function enrolCommand(origin: string, token: string): string {
  return `probectl enroll --server ${origin} --ca ca.pem --token ${token}`;
}
