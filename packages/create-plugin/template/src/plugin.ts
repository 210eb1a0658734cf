/** A whole worker provider: each worker is one command on this machine, and a folder that outlives the plugin. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { link, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { fieldsOf, type LaunchSpec, ProviderError, serve, type WorkerObservation, type WorkerPlugin } from '@muster/core'
import manifest from '../muster-plugin.json' with { type: 'json' }

// Of many that are started for one worker, one goes on. It keeps the exit code, whoever is killed meanwhile.
const supervisor = 'set -C; : >started; "$@" >/dev/null 2>&1; echo $? >exit.new; mv exit.new exit'

const create: WorkerPlugin<{ dir: string }>['create'] = async ({ dir }, { now }) => {
  const read = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '')
  async function running(id: string): Promise<number[]> {
    const pids = (await readdir('/proc')).filter((name) => Number(name) > 0)
    const environments = await Promise.all(pids.map((pid) => read(`/proc/${pid}/environ`)))
    return pids.flatMap((pid, at) => (environments[at]?.includes(`MINIMAL=${dir}/${id}\0`) ? Number(pid) : []))
  }
  async function look(id: string): Promise<WorkerObservation[]> {
    const [runs, spec, exit] = [(await running(id)).length > 0, await read(`${dir}/${id}/spec`), await read(`${dir}/${id}/exit`)]
    if (spec === '') return []
    const seen = { id, tags: (JSON.parse(spec) as LaunchSpec).tags, handle: { v: 1, data: null }, ready: runs }
    if (exit === '') return [{ ...seen, phase: runs ? 'running' : 'provisioning' }]
    return [{ ...seen, phase: 'exited', exit: { code: Number(exit), reason: 'exited' } }]
  }
  return {
    probe: async () => ({ state: 'ready', notes: ['no isolation: same user'] }),
    async launch(spec) {
      const [path, argv] = spec.work.mode === 'command' ? [fieldsOf(spec)[0], spec.work.command] : ['work.mode', []]
      if (path !== undefined) throw new ProviderError('unsupported', `cannot do this ${path}`, { effect: 'none', path })
      const [cwd, text, draft] = [`${dir}/${spec.id}`, JSON.stringify(spec), `draft.${process.pid}.${performance.now()}`]
      await mkdir(cwd, { recursive: true })
      await writeFile(`${cwd}/${draft}`, text)
      await link(`${cwd}/${draft}`, `${cwd}/spec`).catch(() => 'it is there already')
      if ((await read(`${cwd}/spec`)) !== text) throw new ProviderError('conflict', 'another spec', { effect: 'none' })
      const options = { cwd, env: { PATH: '/usr/bin:/bin', MINIMAL: cwd }, detached: true, stdio: 'ignore' } as const
      const child = spawn('/bin/sh', ['-c', supervisor, 'sh', ...argv], options)
      child.unref()
      await once(child, 'spawn')
      return { handle: { v: 1, data: null } }
    },
    async terminate({ id }, { graceMs, force }, call) {
      const end = now() + (force ? 0 : graceMs)
      for (let pids; (pids = await running(id)).length > 0; await delay(10, undefined, call))
        await Promise.allSettled(pids.map(async (pid) => process.kill(pid, now() < end ? 'SIGTERM' : 'SIGKILL')))
      await rm(`${dir}/${id}`, { recursive: true, force: true, maxRetries: 9 })
      return { state: 'gone' }
    },
    async list({ tags, limit, cursor = '' }) {
      const ids = (await readdir(dir)).filter((id) => id > cursor).sort()
      const all = (await Promise.all(ids.map(look))).flat()
      const ours = all.filter((one) => JSON.stringify({ ...one.tags, ...tags }) === JSON.stringify(one.tags))
      const page = { workers: ours.slice(0, limit), asOf: new Date(now()).toISOString() }
      return ours.length > limit ? { ...page, next: String(page.workers.at(-1)?.id) } : page
    },
    inspect: async (targets) => (await Promise.all(targets.map(({ id }) => look(id)))).flat(),
  }
}

serve({ manifest: manifest as WorkerPlugin['manifest'], create })
