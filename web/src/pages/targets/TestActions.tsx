// SPDX-License-Identifier: PostgreSQL
//
// Edit, pause, delete: the same for a row of the table and for the detail page.
import { useState } from 'react';
import { messageOf } from '../../api/client';
import { useDeleteTest, useUpdateTest } from '../../api/queries';
import type { Test } from '../../api/types';
import { Confirm } from '../../components/Dialog';
import type { MenuItem } from '../../components/Menu';
import { nameOf } from '../../lib/rows';
import { toast } from '../../state/toast';
import { TestForm } from './TestForm';

type Open = { what: 'form' | 'delete'; test: Test | null } | null;

export interface TestActions {
  items: (test: Test) => MenuItem[];
  add: () => void;
  dialogs: React.ReactNode;
}

function DeleteDialog({ test, onClose, onDeleted }: { test: Test; onClose: () => void; onDeleted: () => void }) {
  const remove = useDeleteTest();
  const name = nameOf(test);
  const confirm = (): void =>
    remove.mutate(test.test_id, {
      onSuccess: () => {
        toast(`Deleted ${name}`);
        onClose();
        onDeleted();
      },
    });
  return (
    <Confirm
      title="Delete this test?"
      action="Delete test"
      busy={remove.isPending}
      error={remove.error ? messageOf(remove.error) : null}
      onConfirm={confirm}
      onClose={onClose}
    >
      <p>
        <strong>{name}</strong> stops on every agent and leaves this page. To stop it for a while, pause it instead.
      </p>
    </Confirm>
  );
}

export function useTestActions(onDeleted: () => void = () => undefined): TestActions {
  const [open, setOpen] = useState<Open>(null);
  const update = useUpdateTest();
  const close = (): void => setOpen(null);

  const toggle = (test: Test): void => {
    const name = nameOf(test);
    update.mutate(
      { testId: test.test_id, patch: { enabled: !test.enabled } },
      {
        onSuccess: () => toast(test.enabled ? `Paused ${name}` : `Resumed ${name}`),
        onError: (error) => toast(messageOf(error), 'failed'),
      },
    );
  };

  return {
    add: () => setOpen({ what: 'form', test: null }),
    items: (test) => [
      { label: 'Edit', icon: 'edit', onSelect: () => setOpen({ what: 'form', test }) },
      { label: test.enabled ? 'Pause' : 'Resume', icon: test.enabled ? 'pause' : 'play', onSelect: () => toggle(test) },
      { label: 'Delete', icon: 'trash', danger: true, onSelect: () => setOpen({ what: 'delete', test }) },
    ],
    dialogs: (
      <>
        {open?.what === 'form' && <TestForm test={open.test} onClose={close} />}
        {open?.what === 'delete' && open.test && <DeleteDialog test={open.test} onClose={close} onDeleted={onDeleted} />}
      </>
    ),
  };
}
