/** `npm create @muster/plugin NAME [FOLDER]`. */
import { relative } from 'node:path'
import { CreateFault, createPlugin } from './create.ts'

const [name, folder, ...more] = process.argv.slice(2)

if (name === undefined || name.startsWith('-') || more.length > 0) {
  console.error('usage: npm create @muster/plugin NAME [FOLDER]')
  console.error('begins a Muster plugin: NAME as muster-plugin-cloud or @acme/muster-plugin-cloud')
  process.exitCode = name === '--help' || name === '-h' ? 0 : 2
} else {
  try {
    const made = await createPlugin({ name, ...(folder === undefined ? {} : { folder }) })
    const shown = relative('.', made.folder) || '.'
    console.log(`${name} is in ${shown}: ${made.files.join(', ')}`)
    console.log(`\nnow:\n  cd ${shown}\n  npm install\n  npm test`)
  } catch (error) {
    process.exitCode = 1
    if (!(error instanceof CreateFault)) throw error
    console.error(`create-plugin: ${error.message}`)
    console.error(`create-plugin: fix: ${error.fix}`)
  }
}
