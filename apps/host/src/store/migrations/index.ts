/** All migrations in order. Each is a module, so that the bundled daemon carries them; a released one never changes. */
import type { Migration } from 'kysely/migration'
import { up as initial } from './0001-initial.ts'
import { up as operator } from './0002-operator.ts'
import { up as lists } from './0003-lists.ts'
import { up as agents } from './0004-agents.ts'
import { up as logs } from './0005-logs.ts'
import { up as keptPlugins } from './0006-kept-plugins.ts'
import { up as fallbacks } from './0007-fallbacks.ts'
import { up as pluginPackages } from './0008-plugin-packages.ts'
import { up as logEnds } from './0009-log-ends.ts'
import { up as providerConfigs } from './0010-provider-configs.ts'
import { up as ahead } from './0011-ahead.ts'

export const migrations: Readonly<Record<string, Migration>> = {
  '0001-initial': { up: initial },
  '0002-operator': { up: operator },
  '0003-lists': { up: lists },
  '0004-agents': { up: agents },
  '0005-logs': { up: logs },
  '0006-kept-plugins': { up: keptPlugins },
  '0007-fallbacks': { up: fallbacks },
  '0008-plugin-packages': { up: pluginPackages },
  '0009-log-ends': { up: logEnds },
  '0010-provider-configs': { up: providerConfigs },
  '0011-ahead': { up: ahead },
}
