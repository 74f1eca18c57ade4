// SPDX-License-Identifier: PostgreSQL
//
// Everything the run measured and noted, under human names. The OTel name is on hover,
// for those who write a query for it.
import type { RunFields } from '../../api/types';
import { isTlsAttribute } from '../../lib/certificate';
import { attributeGroups, metricGroups, type FieldGroup } from '../../lib/names';

function Groups({ groups }: { groups: FieldGroup[] }) {
  return (
    <>
      {groups.map((group) => (
        <div key={group.title} className="fields-group">
          <h3>{group.title}</h3>
          <dl className="fields">
            {group.fields.map((field) => (
              <div key={field.name} title={field.name}>
                <dt>{field.label}</dt>
                <dd>{field.value}</dd>
              </div>
            ))}
          </dl>
        </div>
      ))}
    </>
  );
}

export function FieldsPanel({ run }: { run: RunFields }) {
  const metrics = metricGroups(run.metrics);
  const attributes = attributeGroups(run.attributes, isTlsAttribute);
  return (
    <>
      <section className="panel" aria-labelledby="metrics">
        <h2 id="metrics">Measurements</h2>
        {metrics.length ? <Groups groups={metrics} /> : <p className="dim">This run has no metrics.</p>}
      </section>
      {attributes.length > 0 && (
        <section className="panel" aria-labelledby="attributes">
          <h2 id="attributes">Attributes</h2>
          <Groups groups={attributes} />
        </section>
      )}
    </>
  );
}
