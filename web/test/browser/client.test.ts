import { expect, test } from 'vitest';
import { room, until } from '../fixture/room.ts';

test('a job put on the server reaches the page, and its end settles it', async () => {
  const { client: make, ...server } = room();
  await server.do({ put: { id: 'a', title: 'Set', state: 'running', current: 1, total: 4 } });
  const client = make();
  const settled = client.job('a').settled();
  client.job('a').track();
  client.start();
  await until(() => client.job('a').getSnapshot().current === 1);
  expect(client.connection.getSnapshot().status).toBe('connected');
  await server.do({ put: { id: 'a', state: 'completed', current: 4, output_url: '/out' } });
  expect(await settled).toMatchObject({ state: 'completed', output_url: '/out', total: 4 });
});
