// SPDX-License-Identifier: PostgreSQL
//
// The frame: navigation is a table, one error boundary for each page, and a sign-in page
// whenever the gateway says that there is no session.
import { useQueryClient } from '@tanstack/react-query';
import { lazy, Suspense, useEffect, type ComponentType } from 'react';
import { ApiError } from './api/client';
import { can, keys, signOut, useMe } from './api/queries';
import type { Me } from './api/types';
import { Icon } from './components/Icon';
import { LiveBadge, LiveNotice } from './components/LiveBadge';
import { Menu, type MenuItem } from './components/Menu';
import { Boundary, EmptyState, LoadError, Loading, Toasts } from './components/Parts';
import { Link, matchPath, usePath } from './lib/router';
import { AgentsPage } from './pages/agents/AgentsPage';
import { AuditPage } from './pages/audit/AuditPage';
import { SignInPage } from './pages/signin/SignInPage';
import { StatusPage } from './pages/status/StatusPage';
import { TargetsPage } from './pages/targets/TargetsPage';
import { live } from './state/live';
import { setTheme, useTheme, type Theme } from './state/theme';
import { toast } from './state/toast';

// The chart is loaded with the page that draws it.
const ResultPage = lazy(() => import('./pages/result/ResultPage'));

export interface PageProps {
  me: Me;
  params: Record<string, string>;
}

interface Route {
  pattern: string;
  title: string;
  page: ComponentType<PageProps>;
  /** In the navigation, under this permission. */
  nav?: string;
}

const ROUTES: Route[] = [
  { pattern: '/', title: 'Targets', page: TargetsPage, nav: 'test.read' },
  { pattern: '/agents', title: 'Agents', page: AgentsPage, nav: 'agent.read' },
  { pattern: '/audit', title: 'Audit', page: AuditPage, nav: 'audit.read' },
  { pattern: '/status', title: 'Status', page: StatusPage, nav: 'diagnostics.read' },
  { pattern: '/results/:test/:agent', title: 'Result', page: ResultPage },
];

const NEXT_THEME: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' };
const THEME_ICON = { system: 'system', light: 'sun', dark: 'moon' } as const;

function ThemeButton() {
  const theme = useTheme();
  return (
    <button
      type="button"
      className="button button-quiet button-icon"
      aria-label={`Theme: ${theme}. Change to ${NEXT_THEME[theme]}`}
      title={`Theme: ${theme}`}
      onClick={() => setTheme(NEXT_THEME[theme])}
    >
      <Icon name={THEME_ICON[theme]} />
    </button>
  );
}

function Header({ me, path }: { me: Me; path: string }) {
  const client = useQueryClient();
  const leave = async (): Promise<void> => {
    try {
      await signOut();
      live.stop();
      client.clear();
      location.assign('/');
    } catch (error) {
      toast(error instanceof Error ? error.message : 'Signing out failed', 'failed');
    }
  };
  const who = me.principal.name || me.principal.email || me.principal.kind;
  const help = me.branding.support_url;
  const support: MenuItem[] = help ? [{ label: 'Support', icon: 'user', onSelect: () => void window.open(help, '_blank', 'noopener') }] : [];
  return (
    <header className="top">
      <Link to="/" className="brand" aria-label={`${me.branding.product_name}, home`}>
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <rect width="32" height="32" rx="8" style={me.branding.accent ? { fill: me.branding.accent } : undefined} />
          <path d="M5 17h5l3-8 5 15 3.5-10 1.8 3H27" />
        </svg>
        <span>{me.branding.product_name}</span>
      </Link>
      <nav className="nav" aria-label="Pages">
        {ROUTES.filter((r) => r.nav && can(me, r.nav)).map((r) => (
          <Link key={r.pattern} to={r.pattern} aria-current={path === r.pattern ? 'page' : undefined}>
            {r.title}
          </Link>
        ))}
      </nav>
      <div className="top-side">
        <LiveBadge />
        <span className="tenant" title={`Tenant ${me.tenant.slug}`}>
          <span className="sr">Tenant </span>
          {me.tenant.name}
        </span>
        <ThemeButton />
        <Menu
          label="Account"
          button={<Icon name="user" />}
          header={
            <div className="menu-head">
              <strong>{who}</strong>
              {me.principal.email && me.principal.email !== who && <span>{me.principal.email}</span>}
              <span>{me.tenant.name}</span>
            </div>
          }
          items={[...support, { label: 'Sign out', icon: 'back', onSelect: () => void leave() }]}
        />
      </div>
    </header>
  );
}

function NotFound() {
  return (
    <EmptyState title="There is no such page">
      <p>
        <Link to="/">Go to the targets</Link>
      </p>
    </EmptyState>
  );
}

function Signed({ me, path }: { me: Me; path: string }) {
  const client = useQueryClient();
  useEffect(() => {
    live.onRefused = () => void client.invalidateQueries({ queryKey: keys.me });
    live.start();
    return () => live.stop();
  }, [client]);

  const hit = ROUTES.map((route) => ({ route, params: matchPath(route.pattern, path) })).find((r) => r.params !== null);
  const Page = hit?.route.page;
  useEffect(() => {
    document.title = `${hit?.route.title ?? 'Not found'} \u00b7 ${me.branding.product_name}`;
  }, [hit?.route.title, me.branding.product_name]);

  return (
    <>
      <a className="skip" href="#main">
        Skip to the content
      </a>
      <Header me={me} path={path} />
      <LiveNotice />
      <main id="main" tabIndex={-1}>
        <Boundary place={path}>
          <Suspense fallback={<Loading what="the page" />}>
            {Page && hit?.params ? <Page key={path} me={me} params={hit.params} /> : <NotFound />}
          </Suspense>
        </Boundary>
      </main>
      <Toasts />
    </>
  );
}

export function App() {
  const path = usePath();
  const me = useMe(path !== '/signin');
  const signedOut = me.error instanceof ApiError && me.error.status === 401;
  if (path === '/signin' || signedOut) return <SignInPage ended={me.data !== undefined && path !== '/signin'} />;
  if (me.data) return <Signed me={me.data} path={path} />;
  if (me.error) return <LoadError error={me.error} onRetry={() => void me.refetch()} />;
  return <Loading what="your session" />;
}
