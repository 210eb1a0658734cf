/** What the tests of pure rooms share: an engine's facts, a spec, and how a refusal is told. */
import type { LaunchSpec, OwnerTags } from '@muster/core'
import { type EngineFacts, factsOf } from '../engine/facts.ts'

export const id: string = 'w0123456789abcdefghijklmnop'
export const tags: OwnerTags = {
  'muster-owner': 'o',
  'muster-provider': 'docker',
  'muster-pool': 'p',
  'muster-worker': id,
  'muster-epoch': '1',
}
export const spec = (parts: Partial<LaunchSpec> = {}): LaunchSpec => ({ id, tags, image: 'i', work: { mode: 'hold' }, ...parts })
const info = {
  ...{ Name: 'n', OSType: 'linux', Architecture: 'x86_64', NCPU: 4, MemTotal: 8e9, Driver: 'overlay2' },
  ...{ MemoryLimit: true, SwapLimit: true, PidsLimit: true, CpuCfsPeriod: true, CpuCfsQuota: true },
  ...{ CPUShares: true, CPUSet: true, SecurityOptions: ['name=seccomp,profile=default'] },
}
export const facts: EngineFacts = factsOf(info, { api: '1.41', version: '20.10.24', oldestApi: '1.12' })

/** `none`, or code and path. */
export const refusal = (work: () => unknown): string => {
  try {
    work()
    return 'none'
  } catch (error) {
    const { code, path } = error as { code: string; path: string }
    return `${code} ${path}`
  }
}
