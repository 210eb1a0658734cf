/** What a configuration and the manifests of its plugins say together. Pure: starts nothing, reads nothing. */
import { fieldsOf, type LaunchSpec, type PluginManifest, type WorkerPluginManifest } from '@muster/core'
import type { PoolConfig } from '../engine/model.ts'
import { bareHost, isLoopback } from './address.ts'
import { suggest } from './document.ts'
import { checkBySchema } from './foreign.ts'
import { type LoadedConfig, type MusterConfig, type ProviderConfig, urlFor } from './load.ts'
import type { Problem } from './problem.ts'

type At = LoadedConfig['problem']
/** Manifests by alias; null for an alias whose plugin could not be loaded (said elsewhere). */
export type Manifests = ReadonlyMap<string, PluginManifest | null>

/** All that is wrong between `muster.yaml` and the plugins, in no special order; of a file with problems, as far as it is right. */
export function crossCheck(loaded: LoadedConfig, manifests: Manifests, { strictly }: { strictly: boolean }): Problem[] {
  const { config, partial, problem: at } = loaded
  const checked = config ?? partial?.config
  if (checked === undefined) return []
  const dropped = partial?.dropped ?? []
  const surroundings: Surroundings = {
    config: checked,
    at,
    manifests,
    strictly,
    damaged: (path) => dropped.some((gone) => path.every((part, index) => gone[index] === part)),
  }
  return [
    ...checkListen(checked, at),
    ...checked.providers.flatMap((provider) => checkProvider(provider, surroundings)),
    ...checked.pools.flatMap((pool) => checkPool(pool, surroundings)),
  ]
}

/** Providers of a readable configuration whose own section is wrong already: their plugin, if started, would say the same again. */
export function refusedProviders({ config, problem: at }: LoadedConfig, manifests: Manifests): string[] {
  if (config === undefined) return []
  const surroundings: Surroundings = { config, at, manifests, strictly: false, damaged: () => false }
  return config.providers.filter((one) => checkProvider(one, surroundings).length > 0).map((one) => one.name)
}

function checkListen(config: MusterConfig, at: At): Problem[] {
  const problems: Problem[] = []
  if (config.listen.port > 65_535)
    problems.push(at(['host', 'listen'], { reason: `port ${config.listen.port} does not exist`, fix: 'use 0 to 65535' }))
  if ((config.metrics.listen?.port ?? 0) > 65_535)
    problems.push(
      at(['host', 'metrics', 'listen'], {
        reason: `port ${config.metrics.listen?.port ?? 0} does not exist`,
        fix: 'use 0 to 65535',
      }),
    )
  if (!isLoopback(config.listen.host) && config.tls === undefined)
    problems.push(
      at(['host', 'listen'], {
        reason: `'${config.listen.host}' is not loopback, and there is no TLS: tokens would travel in clear`,
        fix: 'add host.tls with a certificate and its key, or listen on 127.0.0.1 or [::1]',
      }),
    )
  return problems
}

function checkProvider(provider: ProviderConfig, { at, config, manifests, strictly, damaged }: Surroundings): Problem[] {
  const path = ['providers', provider.name]
  const manifest = manifests.get(provider.alias)
  if (manifest === undefined) {
    const fix = suggest(provider.alias, manifests.keys()) ?? 'add the plugin to the registry manifest'
    return [at([...path, 'plugin'], { reason: `no plugin has the alias '${provider.alias}'`, fix })]
  }
  if (manifest === null) return []
  if (manifest.kind !== 'worker-provider')
    return [
      at([...path, 'plugin'], {
        reason: `'${manifest.name}' is a ${manifest.kind}, not a worker provider`,
        fix: 'name a plugin that makes workers',
      }),
    ]
  return [
    ...checkBySchema(
      [...path, 'config'],
      { schema: manifest.config, value: provider.config, what: `the config schema of ${manifest.name}`, strictly },
      at,
    ),
    ...checkSecrets(provider, manifest, at),
    ...(damaged(path) ? [] : checkCallback(provider, manifest, { at, config })),
  ]
}

function checkSecrets(provider: ProviderConfig, manifest: WorkerPluginManifest, at: At): Problem[] {
  const path = ['providers', provider.name, 'secrets']
  return Object.keys(provider.secrets)
    .filter((name) => !manifest.secrets.includes(name))
    .map((name) =>
      at([...path, name], {
        at: 'key',
        reason: `${manifest.name} never asks for a secret '${name}'`,
        fix: suggest(name, manifest.secrets) ?? 'remove it',
      }),
    )
}

function checkCallback(
  provider: ProviderConfig,
  manifest: WorkerPluginManifest,
  { at, config }: Pick<Surroundings, 'at' | 'config'>,
): Problem[] {
  if (!manifest.capabilities.callback) return []
  const url = provider.url ?? config.url
  const path = provider.url === undefined && config.url !== undefined ? ['host', 'url'] : ['providers', provider.name, 'url']
  if (url === undefined)
    return [
      at(path, {
        reason: `workers of ${manifest.name} call the host back, and no url says where`,
        fix: 'add url: how these workers reach this host',
      }),
    ]
  if (!isLoopback(bareHost(new URL(url).hostname))) return []
  return [
    at(path, {
      reason: `workers of ${manifest.name} call the host back, and '${url}' is loopback: they would call themselves`,
      fix: 'use an address that the workers reach',
    }),
  ]
}

interface Surroundings {
  config: MusterConfig
  at: At
  manifests: Manifests
  /** See {@link ForeignPart}. */
  strictly: boolean
  /** Whether something at or below this path was already refused: then what is missing there is no news. */
  damaged: (path: readonly PropertyKey[]) => boolean
}

function checkPool(pool: PoolConfig, { config, at, manifests, strictly, damaged }: Surroundings): Problem[] {
  const path = ['pools', pool.name]
  const problems: Problem[] = []
  const { min, max, warm } = pool.scale
  for (const [key, value] of [
    ['min', min],
    ['warm', warm],
  ] as const)
    if (value > max && !damaged([...path, 'scale']))
      problems.push(
        at([...path, 'scale', key], { reason: `${key} ${value} is more than max ${max}`, fix: `raise max or lower ${key}` }),
      )
  if (pool.keepFailedMs !== undefined && pool.keepFailedMs > pool.lifetimeMs && !damaged([...path, 'worker']))
    problems.push(
      at([...path, 'keepFailed'], {
        reason: 'a worker would be kept for longer than its lifetime, which ends it first',
        fix: 'shorten keepFailed or lengthen worker.lifetime',
      }),
    )
  for (const [index, name] of pool.credentials.entries())
    problems.push(
      at([...path, 'credentials', index], {
        reason: `no credential is named '${name}'`,
        fix: 'remove it: this host has no credential providers configured',
      }),
    )
  for (const [index, name] of pool.placement.entries()) {
    const here = [...path, 'placement', index]
    const provider = config.providers.find((one) => one.name === name)
    if (provider === undefined) {
      if (damaged(['providers', name])) continue
      const fix =
        suggest(
          name,
          config.providers.map((one) => one.name),
        ) ?? 'add it under providers'
      problems.push(at(here, { reason: `no provider is named '${name}'`, fix }))
      continue
    }
    if (pool.placement.indexOf(name) !== index)
      problems.push(at(here, { reason: `'${name}' stands twice in this placement`, fix: 'keep one' }))
    const manifest = manifests.get(provider.alias)
    if (manifest?.kind === 'worker-provider')
      problems.push(
        ...checkAbilities(pool, { name, manifest }, { at, strictly, damaged }),
        ...(pool.work === 'agent' ? checkWayBack(provider, { at, config }) : []),
      )
  }
  return problems
}

/** An agent calls the host, wherever it is: it must be told where. */
function checkWayBack(provider: ProviderConfig, { at, config }: Pick<Surroundings, 'at' | 'config'>): Problem[] {
  if (urlFor(provider, config) !== undefined) return []
  return [
    at(['providers', provider.name, 'url'], {
      reason: 'agents call the host, and no url says where: the port of host.listen is chosen by the system',
      fix: 'add url, or give host.listen a port',
    }),
  ]
}

/** Can this provider do what the pool's template asks of every worker? */
function checkAbilities(
  pool: PoolConfig,
  provider: { name: string; manifest: WorkerPluginManifest },
  { at, strictly, damaged }: Pick<Surroundings, 'at' | 'strictly' | 'damaged'>,
): Problem[] {
  const path = ['pools', pool.name]
  const { capabilities, settings } = provider.manifest
  const problems: Problem[] = []
  const lacks = (part: readonly PropertyKey[], reason: string, fix: string): void => {
    problems.push(at([...path, ...part], { reason, fix }))
  }
  const elsewhere = `remove it, or take '${provider.name}' out of the placement`
  if (pool.work !== 'auto' && !capabilities.work.includes(pool.work))
    lacks(
      ['worker', 'work'],
      `provider '${provider.name}' has no workers that ${pool.work} (it has ${capabilities.work.join(', ')})`,
      `use one of: auto, ${capabilities.work.join(', ')}`,
    )
  const holds = capabilities.work.includes('hold') && capabilities.exec !== undefined
  const agents = capabilities.work.includes('agent')
  const canWarm = pool.work === 'agent' ? agents : pool.work === 'command' ? false : holds || agents
  for (const key of ['warm', 'min'] as const)
    if (pool.scale[key] > 0 && !canWarm)
      lacks(
        ['scale', key],
        `workers kept ready need hold with exec, or agent; on '${provider.name}' this pool has neither`,
        `set ${key}: 0, or use work: hold on a provider with exec`,
      )
  if ((pool.keepFailedMs ?? 0) > 0 && (!holds || (pool.work !== 'auto' && pool.work !== 'hold')))
    lacks(
      ['keepFailed'],
      holds
        ? `a worker is over with its command or its agent: nothing can be kept where work is ${pool.work}`
        : `a worker can be kept for a look where it holds and has exec; '${provider.name}' has not both`,
      'remove keepFailed, or use work: hold on a provider with exec',
    )
  if (pool.uses > 1 && pool.work === 'agent')
    lacks(['uses'], 'an agent serves one lease: its session ends with that', 'set uses: 1')
  else if (pool.uses > 1 && !canWarm)
    lacks(['uses'], `a worker that is its command serves one lease; '${provider.name}' cannot re-use it`, 'set uses: 1')
  if (capabilities.image === 'required' && pool.worker.image === undefined && !damaged([...path, 'worker']))
    lacks(['worker'], `provider '${provider.name}' needs an image, and this pool names none`, 'add worker.image')
  if (capabilities.maxLifetimeMs !== undefined && pool.lifetimeMs > capabilities.maxLifetimeMs)
    lacks(
      ['worker', 'lifetime'],
      `workers of '${provider.name}' live ${capabilities.maxLifetimeMs / 60_000} min at most`,
      'shorten the lifetime',
    )
  for (const field of fieldsOf(draft(pool)))
    if (!capabilities.fields.includes(field))
      lacks(fieldPath(field), `provider '${provider.name}' does not honour '${field}'`, elsewhere)
  if (pool.worker.settings !== undefined)
    problems.push(
      ...checkBySchema(
        [...path, 'worker', 'settings'],
        { schema: settings, value: pool.worker.settings, what: `the settings schema of ${provider.manifest.name}`, strictly },
        at,
      ),
    )
  return problems
}

/** A spec with this pool's template and nothing else, to ask which fields it uses. */
function draft(pool: PoolConfig): LaunchSpec {
  const tags = { 'muster-owner': '', 'muster-provider': '', 'muster-pool': pool.name, 'muster-worker': '', 'muster-epoch': '' }
  return { id: '', tags, work: { mode: 'hold' }, ...pool.worker }
}

/** Where a spec field stands in the file. */
function fieldPath(field: string): string[] {
  const inFile: Record<string, string[]> = {
    'resources.memoryBytes': ['resources', 'memory'],
    'resources.diskBytes': ['resources', 'disk'],
  }
  const parts =
    inFile[field] ??
    (field.startsWith('network.egress') ? ['network', 'egress'] : field.startsWith('mounts') ? ['mounts'] : field.split('.'))
  return ['worker', ...parts]
}
