/** Secrets: asked for by name, renewed while a call runs, shown nowhere. */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { isProviderError } from '../../errors.ts'
import type { LaunchSpec } from '../../spec.ts'
import type { Bench } from './bench.ts'
import { awaited, fails, force, launched, pages, queryOf } from './help.ts'
import type { SecretServer } from './setup.ts'
import type { SuiteTest } from './test.ts'

function serverOf(bench: Bench): SecretServer {
  const server = bench.setup.hooks?.secrets
  if (server === undefined) throw new Error('no secrets in this setup')
  return server
}

/** Everything a provider says of a worker, and of a call about it that fails. */
async function everythingSaid(bench: Bench, spec: LaunchSpec): Promise<string> {
  const session = await bench.open()
  const said: unknown[] = []
  const hear = async (call: Promise<unknown>): Promise<void> => {
    said.push(
      await call.catch((error: unknown) => (isProviderError(error) ? [error.message, JSON.stringify(error)] : String(error))),
    )
  }
  await hear(session.probe())
  await hear(session.launch(spec))
  await hear(session.launch({ ...spec, tags: { ...spec.tags, 'muster-pool': 'other' } }))
  await hear(session.inspect([{ id: spec.id }]))
  await hear(pages(session, queryOf(bench)))
  const { id: other, tags } = bench.lasting()
  const impossible = { ...spec, id: other, tags, image: `no such image/${'x'.repeat(300)}` }
  await hear(session.launch(impossible))
  // Some take it, and tell later that it cannot start.
  for (const { id } of [spec, impossible]) await hear(session.terminate({ id }, force))
  await session.close()
  return JSON.stringify(said) + session.link.words()
}

export const secretTests: readonly SuiteTest[] = [
  {
    name: 'values of env and of files show nowhere',
    async run(bench) {
      const canary = `canary${bench.newExecId()}`
      const text = Buffer.from(`file ${canary}`).toString('base64')
      const spec = bench.lasting({
        ...(bench.declares('field:env') && { env: { HIDDEN: canary } }),
        ...(bench.declares('field:files') && { files: [{ path: 'hidden', base64: text }] }),
      })
      const said = await everythingSaid(bench, spec)
      for (const word of [canary, text]) assert.ok(!said.includes(word), `shown: ${around(said, word)}`)
    },
  },
  {
    name: 'a secret of the host shows nowhere',
    needs: ['secrets', 'hook:secrets'],
    alone: true,
    async run(bench) {
      const server = serverOf(bench)
      const restore = await server.revoke()
      const session = await bench.open()
      const refused = await session.list(queryOf(bench)).catch((error: unknown) => error)
      await restore()
      await session.close()
      const message = isProviderError(refused) ? `${refused.message} ${refused.hint ?? ''} ${refused.path ?? ''}` : ''
      const said = (await everythingSaid(bench, bench.lasting())) + message + session.link.words()
      for (const value of server.values()) assert.ok(!said.includes(value), `shown: ${around(said, value)}`)
    },
  },
  {
    name: 'a secret that the vendor refuses is asked anew, without a restart',
    needs: ['secrets', 'hook:secrets'],
    alone: true,
    async run(bench) {
      const session = await bench.open()
      const target = await launched(bench, session, bench.lasting())
      await serverOf(bench).rotate()
      assert.equal((await session.inspect([target])).length, 1)
    },
  },
  {
    name: 'a secret can change while a stream runs',
    needs: ['secrets', 'hook:secrets', 'watch'],
    alone: true,
    async run(bench) {
      const session = await bench.open()
      const watch = session.watch(queryOf(bench))[Symbol.asyncIterator]()
      let next = awaited(watch.next())
      const end = Date.now() + bench.patienceMs
      for (const rotated of [false, true]) {
        if (rotated) await serverOf(bench).rotate()
        const own = new Set<string>()
        for (let heard = false; !heard;) {
          const spec = bench.lasting()
          own.add(spec.id)
          await session.launch(spec)
          while (!heard) {
            const result = await Promise.race([next, delay(500, undefined)])
            if (result === undefined) break
            assert.ok(result.done !== true, 'the watch ended')
            heard = own.has(result.value.id)
            next = awaited(watch.next())
          }
          assert.ok(Date.now() < end, `nothing heard ${rotated ? 'after the rotation' : 'before it'}`)
        }
      }
      await watch.return?.()
    },
  },
  {
    name: 'a secret that stays refused is auth, without effect',
    needs: ['secrets', 'hook:secrets'],
    alone: true,
    async run(bench) {
      const session = await bench.open()
      const restore = await serverOf(bench).revoke()
      const spec = bench.lasting()
      try {
        await fails('launch', session.launch(spec), { code: 'auth', effect: 'none' })
      } finally {
        await restore()
      }
      assert.deepEqual(await session.inspect([{ id: spec.id }]), [])
    },
  },
]

function around(text: string, word: string): string {
  const at = text.indexOf(word)
  return `…${text.slice(Math.max(0, at - 60), at)}<it>${text.slice(at + word.length, at + word.length + 20)}…`
}
