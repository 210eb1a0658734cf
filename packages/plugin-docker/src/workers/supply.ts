/** The images of the containers beside a worker: brought by the rules that the worker's own image is brought by. */
import { type Call, type LaunchSpec, ProviderError } from '@muster/core'
import { asProviderError } from './containers.ts'
import { MENDED_RETRY_MS } from '../errors.ts'
import type { Puller } from '../images/image.ts'
import { settingsOf } from '../settings.ts'

export interface Wanted {
  image: string
  /** The field that names it, for errors; absent: it is the provider's own. */
  at?: string
}

export interface Supplying {
  spec: LaunchSpec
  call: Call
  /** Ends the wait: the worker is terminated. */
  doomed: AbortSignal
}

/** Resolves when the engine has the image, to the name that it has it under. */
export type Supply = (wanted: Wanted, work: Supplying) => Promise<string>

export function createSupply(puller: Puller): Supply {
  return async ({ image, at }, { spec, call, doomed }) => {
    const { pull: policy = 'missing' } = settingsOf(spec)
    const signal = AbortSignal.any([call.signal, doomed])
    const there = await puller.has(image, signal)
    if (!there && policy === 'never') throw absent(image, { at: at ?? 'network.egress.restricted' })
    // A digest stands for one content: what is there is what it was.
    if (!there || (policy === 'always' && !image.includes('@')))
      await puller.pull({ image }, { signal, log: call.log }).catch((error: unknown) => {
        throw renamed(asProviderError(error, call, { doing: `pull the image ${image}`, mutates: false }), at)
      })
    await puller.used(image)
    return puller.nameHere(image)
  }
}

/** What a pool that pulls nothing says of an image that is not there. */
export function absent(image: string, { at, cause }: { at: string; cause?: unknown }): ProviderError {
  const hint = 'Put it there, or let the pool pull it: `settings.pull: missing`.'
  return new ProviderError('unsupported', `the engine has no image ${image}, and the pool pulls none`, {
    effect: 'none',
    path: at,
    hint,
    retryAfterMs: MENDED_RETRY_MS,
    cause,
  })
}

/** The spec's `image` is another one: the error names the field that this one is in, or none. */
function renamed(error: Error, at: string | undefined): Error {
  if (!(error instanceof ProviderError) || error.path !== 'image') return error
  const { code, message, effect, hint, retryAfterMs, scope, cause } = error
  return new ProviderError(code, message, {
    effect,
    ...(at === undefined ? {} : { path: at }),
    ...(hint === undefined ? {} : { hint }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(scope === undefined ? {} : { scope }),
    cause,
  })
}
