// Puts what is released into one folder, with the checksum of each file.
import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

mkdirSync('release', { recursive: true })
cpSync('dist', 'release', { recursive: true })
const sums = readdirSync('release')
  .sort()
  .map(
    (file) =>
      `${createHash('sha256')
        .update(readFileSync(join('release', file)))
        .digest('hex')}  ${file}`,
  )
writeFileSync('release/SHA256SUMS', `${sums.join('\n')}\n`)
console.log(sums.join('\n'))
