/** Folders that the host gives to providers for themselves: each goes with its provider, unless another of its name begins in it. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { MusterConfig } from '../config/load.ts'
import type { RoomLog } from './supervise.ts'

/** A provider's own folder inside the data folder. */
export function providerDir(config: Pick<MusterConfig, 'data'>, provider: { name: string }): string {
  return join(config.data, 'providers', provider.name)
}

export interface OwnFolders {
  /** One of these may begin in its folder from now on. Waits for a removal under way; what is returned ends it. */
  begin(names: readonly string[]): Promise<() => void>
  /**
   * Once its process has ended; whoever begins meanwhile waits for that. Without `known`, nobody could say what was left there: it stays, and
   * that is told.
   */
  remove(name: string, how: { folder: string; known: boolean; ended: Promise<void> }): Promise<void>
}

export function ownFolders(log: RoomLog): OwnFolders {
  const beginning = new Map<string, number>()
  const removing = new Set<Promise<void>>()
  const count = (name: string, by: 1 | -1): void => void beginning.set(name, (beginning.get(name) ?? 0) + by)

  async function remove(name: string, { folder, ended }: { folder: string; ended: Promise<void> }): Promise<void> {
    await ended
    try {
      await rm(folder, { recursive: true, force: true })
    } catch (error) {
      log.warn({ provider: name, folder, err: error }, 'the folder of a provider that is gone stays: remove it by hand')
    }
  }

  return {
    async begin(names) {
      await Promise.all(removing)
      const open = [...names]
      for (const name of open) count(name, 1)
      return () => {
        for (const name of open.splice(0)) count(name, -1)
      }
    },
    async remove(name, { folder, known, ended }) {
      if ((beginning.get(name) ?? 0) > 0) return ended
      if (!known) {
        await ended
        log.warn(
          { provider: name, folder },
          'a provider is gone that could not say what it left: look, and remove its folder by hand',
        )
        return
      }
      const removed = remove(name, { folder, ended })
      removing.add(removed)
      await removed
      removing.delete(removed)
    },
  }
}
