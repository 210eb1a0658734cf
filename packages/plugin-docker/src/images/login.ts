/** Logins to registries: what the secret `registry-logins` holds, and what an engine is told of it. Pure but for the secret. */
import { ProviderError } from '@muster/core'
import * as z from 'zod'
import { registryOf } from './name.ts'

/** The part of Docker's own `config.json` that is about logins. */
const loginsSchema = z.object({
  auths: z.record(
    z.string(),
    z.object({
      /** base64 of `user:password`. */
      auth: z.string().exactOptional(),
      username: z.string().exactOptional(),
      password: z.string().exactOptional(),
      /** A refresh token: the engine gets its tokens with it. */
      identitytoken: z.string().exactOptional(),
      /** A bearer token, used as it is. */
      registrytoken: z.string().exactOptional(),
    }),
  ),
})

/** The header `X-Registry-Auth` for an image. Errors: ProviderError `auth`, without a word of the secret. */
export function loginHeader(secret: string, image: string): string {
  const registry = registryOf(image)
  const parsed = parse(secret)
  const found = Object.entries(parsed.auths).find(([name]) => hostOf(name) === registry)?.[1]
  if (found === undefined) throw refused(`it has no login for ${registry}`)
  const { auth, ...login } = found
  const [username, ...rest] = auth === undefined ? [] : Buffer.from(auth, 'base64').toString().split(':')
  const pair = username === undefined ? {} : { username, password: rest.join(':') }
  return paddedBase64Url(JSON.stringify({ ...pair, ...login, serveraddress: registry }))
}

function parse(secret: string): z.infer<typeof loginsSchema> {
  try {
    return loginsSchema.parse(JSON.parse(secret))
  } catch {
    // Neither parser's message may pass: both can quote what they read.
    throw refused('it is not as Docker\'s config.json: { "auths": { "registry.example": { "auth": "…" } } }')
  }
}

function refused(why: string): ProviderError {
  return new ProviderError('auth', `the secret 'registry-logins' cannot be used: ${why}`, { effect: 'none', path: 'image' })
}

/** Keys are hosts or addresses. Docker Hub's are addresses of machines of its own, as `https://index…/v1/`. */
function hostOf(key: string): string {
  const host = key.replace(/^https?:\/\//, '').replace(/\/.*$/, '')
  return /^(?:index|registry-1)\.docker\.io$/.test(host) ? 'docker.io' : host
}

/** With its padding: without it an engine takes the header for empty, in silence. */
function paddedBase64Url(text: string): string {
  return Buffer.from(text).toString('base64').replaceAll('+', '-').replaceAll('/', '_')
}
