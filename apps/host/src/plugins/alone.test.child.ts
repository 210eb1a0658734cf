/** Is alone with the plugin files of a registry manifest, its last argument, until it is ended, and says so. */
import { alone } from './alone.ts'

await alone(process.argv.at(-1) ?? '')
process.stdout.write('alone\n')
setInterval(() => undefined, 60_000)
