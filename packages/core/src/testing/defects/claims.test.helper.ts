import type { Life } from '../fake/life.ts'

/** Lives of plugin processes that claim something for themselves, by vendor and worker; gone with their process. */
export function claims(): {
  take(key: string, life: Life): void
  holder(key: string): Life | undefined
  drop(key: string): void
} {
  const held = new Map<string, Life>()
  return {
    take(key, life) {
      held.set(key, life)
      life.onEnd(() => {
        if (held.get(key) === life) held.delete(key)
      })
    },
    holder: (key) => held.get(key),
    drop: (key) => held.delete(key),
  }
}
