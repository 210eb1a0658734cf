// Joins the modules of src into one file and writes beside it what went in.
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const { name, version } = JSON.parse(readFileSync('package.json', 'utf8'))
const order = ['units.js', 'parse.js', 'format.js']
const parts = order.map((file) => {
  const text = readFileSync(join('src', file), 'utf8')
  // Imports between the parts fall away; what index.js exports stays exported.
  const body = text.replace(/^import .*\n/gm, '').trim()
  return file === 'units.js' ? body.replace(/^export /m, '') : body
})
const bundle = `// ${name} ${version}\n${parts.join('\n\n')}\n`
mkdirSync('dist', { recursive: true })
writeFileSync('dist/durations.js', bundle)
writeFileSync('dist/package.json', `${JSON.stringify({ name, version, type: 'module' }, null, 2)}\n`)
const built = await import(join(process.cwd(), 'dist/durations.js'))
console.log(`dist/durations.js: ${bundle.length} bytes, exports ${Object.keys(built).sort().join(', ')}`)
console.log(`sha256 ${createHash('sha256').update(bundle).digest('hex')}`)
