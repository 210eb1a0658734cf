/** Where the secrets that a plugin may ask for come from: the host's environment or files, read when asked. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { ProviderError, type SecretValue } from '@muster/core'

export type SecretSources = Readonly<Record<string, { env: string } | { file: string }>>

export type SecretReader = (name: string) => Promise<SecretValue>

/** A value is read anew at every question, so that a rotated file needs no restart. Errors: ProviderError `auth`, effect `none`. */
export function secretReader(sources: SecretSources): SecretReader {
  return async (name) => {
    const source = sources[name]
    if (source === undefined)
      throw new ProviderError('auth', `no source for the secret '${name}' is configured`, {
        effect: 'none',
        hint: `add secrets.${name} to the provider`,
      })
    const value = 'env' in source ? process.env[source.env] : await readSecretFile(name, source.file)
    if (value === undefined || value === '') {
      const where = 'env' in source ? `the variable ${source.env} is empty` : 'the file is empty'
      throw new ProviderError('auth', `the secret '${name}' cannot be read: ${where}`, { effect: 'none' })
    }
    return { value, version: createHash('sha256').update(value).digest('base64url').slice(0, 16) }
  }
}

async function readSecretFile(name: string, path: string): Promise<string> {
  try {
    // Editors and `echo` end a file with a line break that is no part of the secret.
    return (await readFile(path, 'utf8')).replace(/\r?\n$/, '')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unreadable'
    throw new ProviderError('auth', `the secret '${name}' cannot be read: ${code}`, {
      effect: 'none',
      hint: `see the file named in secrets.${name}`,
    })
  }
}
