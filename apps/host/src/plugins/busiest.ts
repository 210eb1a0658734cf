/** The most that one turn of the host's event loop has taken from the processes of a provider. */
import type { ProviderStatus } from './api.ts'
import type { PluginProcess } from './process.ts'

export interface Busiest {
  /** Of this process too, as it is now. */
  with(process: PluginProcess | undefined): ProviderStatus['busiest']
}

export function openBusiest(): Busiest {
  let most = { bytes: 0, frames: 0 }
  return {
    with(process) {
      const now = process?.connection.stats().busiest
      if (now !== undefined) most = { bytes: Math.max(most.bytes, now.bytes), frames: Math.max(most.frames, now.frames) }
      return most
    },
  }
}
