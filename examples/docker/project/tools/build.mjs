// Puts what is released into one folder, with the checksum of each file.
import { createHash } from 'node:crypto'
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

cpSync('src', 'dist', { recursive: true })
cpSync('migrations', 'dist/migrations', { recursive: true })
const files = readdirSync('dist', { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name).slice('dist/'.length))
  .sort()
const sums = files.map(
  (file) =>
    `${createHash('sha256')
      .update(readFileSync(join('dist', file)))
      .digest('hex')}  ${file}`,
)
writeFileSync('dist/SHA256SUMS', `${sums.join('\n')}\n`)
console.log(sums.join('\n'))
