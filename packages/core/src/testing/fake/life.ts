/** The life of the process a fake provider runs in, as seen from inside: asked before every effect, so that a test can end it there. */

export interface Life {
  /** Resolves when the effect may happen; never, when the process is dead. */
  step(name: string): Promise<void>
  /** Runs at the end of the process, for things that would end with it. */
  onEnd(end: () => void): void
}

/** A real process: nothing has to be asked, and what ends with it ends by itself. */
export const realLife: Life = {
  step: () => Promise.resolve(),
  onEnd() {},
}

export interface MortalLife extends Life {
  readonly dead: boolean
  /** Names of all steps so far. */
  readonly steps: readonly string[]
  /** From now on no step resolves. */
  end(): void
}

/** A life for in-process tests: `end()` is what SIGKILL is to a process. */
export function mortalLife(): MortalLife {
  let dead = false
  const steps: string[] = []
  const ends: (() => void)[] = []
  return {
    get dead() {
      return dead
    },
    steps,
    step(name) {
      if (dead) return new Promise(() => {})
      steps.push(name)
      return Promise.resolve()
    },
    onEnd(end) {
      if (dead) end()
      else ends.push(end)
    },
    end() {
      if (dead) return
      dead = true
      for (const end of ends.splice(0)) end()
    },
  }
}
