/** A configuration whose providers are all the fixture, as the daemon reads it. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { LaunchSpec } from '@muster/core'
import { type LoadedConfig, type MusterConfig, parseConfig } from '../../config/load.ts'
import { discover, type Discovery } from '../discover.ts'
import { bareGround, type Ground } from '../ground.ts'
import { fixtureManifest } from './package.ts'

export interface FixtureSite {
  /** The data folder; plugins.json goes into it as well. */
  data: string
  /** Of the packed fixture. */
  folder: string
  providers: Record<string, { knobs: object; secrets?: string }>
  /** As the registry manifest has it; default: its folder. */
  entry?: object
  /** Absent: nobody gets a user of its own. */
  ground?: Ground
  /** More of `host`, as YAML in one line. */
  host?: string
}

/** What a provider of such a site can be asked to launch. */
export const launchSpec: LaunchSpec = {
  id: `w${'1'.repeat(26)}`,
  tags: {
    'muster-owner': 'me',
    'muster-provider': 'p',
    'muster-pool': 'a',
    'muster-worker': `w${'1'.repeat(26)}`,
    'muster-epoch': '3',
  },
  work: { mode: 'command', command: ['true'] },
}

/** Throws when anything is wrong with it. */
export async function configureFixture({
  data,
  folder,
  providers,
  host = '',
  ground = bareGround,
  entry = { package: fixtureManifest.name, version: '1.0.0', source: { folder } },
}: FixtureSite): Promise<{ config: MusterConfig; discovery: Discovery; at: LoadedConfig['problem'] }> {
  await writeFile(join(data, 'plugins.json'), JSON.stringify({ plugins: { fix: entry } }))
  const sections = Object.entries(providers).map(
    ([name, { knobs, secrets = '' }]) => `  ${name}: { plugin: fix, config: ${JSON.stringify(knobs)}${secrets} }\n`,
  )
  const pool = `pools:\n  a: { placement: [${Object.keys(providers).join(', ')}] }\n`
  const text = `host: { data: ${data}${host === '' ? '' : `, ${host}`} }\nproviders:\n${sections.join('')}${pool}`
  const { config, problem, problems } = parseConfig(join(data, 'muster.yaml'), text)
  if (config === undefined) throw new Error(JSON.stringify(problems))
  const discovery = await discover(config.pluginsFile, {
    stores: [join(data, 'plugins')],
    shown: 'plugins.json',
    ground: async () => ground,
  })
  if (discovery.problems.length > 0) throw new Error(JSON.stringify(discovery.problems))
  return { config, discovery, at: problem }
}

/** The parts of a host that plugins ask nothing of, for a room of them: it may act, and says nothing. */
export const quietHost = {
  owner: 'me',
  fence: { epoch: () => 3, mayAct: () => true },
  log: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
}
