/** Workers that run an agent: what it gets, that there is one, and how its end is told. A small listener stands in for the host. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { LaunchSpec } from '../../spec.ts'
import type { Bench } from './bench.ts'
import { force, inspected, launched, listed, whenExited, whenGone } from './help.ts'
import type { AgentScript } from './setup.ts'
import type { SuiteTest } from './test.ts'

interface Asked {
  path: string
  bearer: string
}

interface Host {
  /** Below a path of its own, as behind a proxy. */
  url: string
  path: string
  ticket: string
  /** What it answers a ticket with. */
  session: string
  /** All requests so far. */
  asked: Asked[]
}

/** As the host's `/v1/self` answers first: a session for the ticket, and thanks for all else. */
async function openHost(bench: Bench): Promise<Host> {
  const { host = '127.0.0.1' } = agentOf(bench)
  const [path, session] = [`/${randomBytes(6).toString('hex')}`, `session-${randomBytes(16).toString('base64url')}`]
  const asked: Asked[] = []
  const server = createServer(({ url = '', headers }, response) => {
    asked.push({ path: url, bearer: headers.authorization?.replace(/^Bearer /, '') ?? '' })
    response.end(url.endsWith('/v1/self/ready') ? session : 'thanks')
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, host, resolve)
  })
  bench.atEnd(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const { port } = server.address() as AddressInfo
  const name = host.includes(':') ? `[${host}]` : host
  // In the form of a real one, which has every kind of character that one may have.
  const ticket = `mtk_w${'0'.repeat(26)}_${randomBytes(32).toString('base64url')}`
  return { url: `http://${name}:${port}${path}`, path, ticket, session, asked }
}

function agentOf(bench: Bench): AgentScript {
  const agent = bench.setup.scripts?.agent
  assert.ok(agent !== undefined)
  return agent
}

const curl = 'curl -sS -f -X POST -H "Authorization: Bearer $2" "$1"'

/** A worker whose agent runs this script, with `ask PATH BEARER` at hand. */
function agentSpec(bench: Bench, { url, ticket }: Pick<Host, 'url' | 'ticket'>, script: string): LaunchSpec {
  const agent = agentOf(bench)
  const lines = [
    `url=$(${agent.url})`,
    `ticket=$(${agent.ticket})`,
    `post() { ${agent.post ?? curl}; }`,
    // As any agent does: the worker may be there before its way to the host is.
    'ask() { tries=0; until post "$url/v1/self/$1" "$2"; do tries=$((tries + 1)); [ $tries -lt 20 ] || exit 99; sleep 0.5; done; }',
    script,
  ]
  return bench.spec({ mode: 'agent', ticket: { $secret: ticket }, url }, agent.spec(lines.join('\n')))
}

const nobody = { url: 'http://127.0.0.1:9', ticket: 'a-ticket' }
const needs = ['work:agent', 'script:agent'] as const

export const agentTests: readonly SuiteTest[] = [
  {
    name: 'an agent gets its ticket and the address of the host as they are, and opens its session with them',
    needs,
    async run(bench) {
      const [session, host] = [await bench.session(), await openHost(bench)]
      const script = 'session=$(ask ready "$ticket"); ask took "$session" >/dev/null; sleep 1000'
      await launched(bench, session, agentSpec(bench, host, script))
      await bench.until('the agent has asked twice', async () => (host.asked.length >= 2 ? true : undefined))
      assert.deepEqual(host.asked.slice(0, 2), [
        { path: `${host.path}/v1/self/ready`, bearer: host.ticket },
        { path: `${host.path}/v1/self/took`, bearer: host.session },
      ])
    },
  },
  {
    name: 'the ticket of an agent is in no handle and no observation',
    needs,
    async run(bench) {
      const [session, host] = [await bench.session(), await openHost(bench)]
      const spec = agentSpec(bench, host, 'ask ready "$ticket" >/dev/null; sleep 1000')
      const answer = await session.launch(spec)
      await bench.until('the agent is there', async () => (host.asked.length > 0 ? true : undefined))
      const target = { id: spec.id, handle: answer.handle }
      const told = JSON.stringify([answer, await inspected(session, target), await listed(bench, session, [spec.id])])
      // What stands behind the name of the worker is the secret.
      assert.ok(!told.includes(host.ticket.slice(-43)), 'the ticket is told')
    },
  },
  {
    name: 'a launch that is repeated starts no second agent: its ticket is good once',
    needs,
    async run(bench) {
      const [session, host] = [await bench.session(), await openHost(bench)]
      const arrived = (name: string): number => host.asked.filter(({ path }) => path.endsWith(`/v1/self/${name}`)).length
      const spec = agentSpec(bench, host, 'ask ready "$ticket" >/dev/null; while :; do ask beat x >/dev/null; sleep 0.1; done')
      await Promise.all([session.launch(spec), session.launch(spec)])
      await bench.until('the agent works', async () => (arrived('beat') > 1 ? true : undefined))
      await session.launch(spec)
      const before = arrived('beat')
      // A second one would have come first.
      await bench.until('the agent works on', async () => (arrived('beat') > before + 5 ? true : undefined))
      assert.equal(arrived('ready'), 1)
    },
  },
  {
    name: 'an agent that ends is told with its exit, and the worker stays until it is terminated',
    needs: [...needs, 'exitCode'],
    async run(bench) {
      const session = await bench.session()
      const target = await launched(bench, session, agentSpec(bench, nobody, 'exit 7'))
      assert.equal((await whenExited(bench, session, target)).code, 7)
      const [shown] = await listed(bench, session, [target.id])
      assert.deepEqual([shown?.phase, shown?.exit?.code], ['exited', 7])
    },
  },
  {
    name: 'an agent asks nothing more once its worker is gone',
    needs,
    async run(bench) {
      const [session, host] = [await bench.session(), await openHost(bench)]
      const target = await launched(bench, session, agentSpec(bench, host, 'while :; do ask beat x >/dev/null; sleep 0.05; done'))
      await bench.until('the agent works', async () => (host.asked.length > 0 ? true : undefined))
      await session.terminate(target, force)
      await whenGone(bench, session, target)
      // One may be under way.
      const before = host.asked.length + 1
      // paced: what goes on would ask every 50 ms; looked at often, so that on a busy machine it has its turns as well
      for (let look = 0; look < 30 && host.asked.length <= before; look++) await delay(50)
      assert.ok(host.asked.length <= before, `${host.asked.length - before} requests of an agent whose worker is gone`)
    },
  },
]
