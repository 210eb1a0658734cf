/** The version of this host. */
import { readFileSync } from 'node:fs'

/** Sources and bundle lie equally deep below the package's file. */
const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
export const hostVersion: string = version
