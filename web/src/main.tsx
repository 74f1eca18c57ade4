// SPDX-License-Identifier: PostgreSQL
import { QueryCache, QueryClientProvider } from '@tanstack/react-query';
import { createRoot } from 'react-dom/client';
import { ApiError } from './api/client';
import { createQueryClient, keys } from './api/queries';
import { App } from './App';
import './styles/tokens.css';
import './styles/base.css';
import './styles/frame.css';
import './styles/targets.css';
import './styles/detail.css';

const client = createQueryClient();

// A session that ended shows at whatever request comes first; `me` decides what is on screen.
const cache: QueryCache = client.getQueryCache();
cache.config.onError = (error, query) => {
  if (error instanceof ApiError && error.status === 401 && query.queryKey[0] !== keys.me[0]) {
    void client.invalidateQueries({ queryKey: keys.me });
  }
};

createRoot(document.getElementById('root')!).render(
  <QueryClientProvider client={client}>
    <App />
  </QueryClientProvider>,
);
