/** SIGKILL of a plugin process at every frame of a call, and at instants between them. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Bench } from './bench.ts'
import type { Session } from './session.ts'

export interface Sweep<T> {
  /** What must be there before the call that is killed. */
  prepare(session: Session): Promise<T>
  act(session: Session, prepared: T): Promise<unknown>
  /** Looks at what is there after the kill. */
  judge(prepared: T, when: string): Promise<void>
}

/** Parts of the time that an undisturbed call takes: where no frame passes, effects happen. */
const instants = [0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95]
/** No call has more effects than this; a plugin that reaches it is never killed by count. */
const mostEffects = 50

export async function sweepKills<T>(bench: Bench, sweep: Sweep<T>): Promise<void> {
  const { frames, ms, countable } = await undisturbed(bench, sweep)
  for (let frame = 1; frame <= frames; frame++) {
    await once(bench, sweep, { when: `killed at frame ${frame} of ${frames}`, arm: (session) => killAtFrame(session, frame) })
  }
  if (countable) {
    for (let effect = 1; effect < mostEffects; effect++) {
      const died = await once(bench, sweep, {
        when: `killed at effect ${effect}`,
        arm: (session) => session.link.killAtEffect?.(effect),
      })
      if (!died) return
    }
    return
  }
  for (const part of instants) {
    const after = Math.round(ms * part)
    await once(bench, sweep, {
      when: `killed ${after} ms after its call`,
      arm: (session) => void delay(after).then(() => session.link.kill()),
    })
  }
}

async function undisturbed<T>(bench: Bench, sweep: Sweep<T>): Promise<{ frames: number; ms: number; countable: boolean }> {
  const session = await bench.open({ tapped: true })
  const prepared = await sweep.prepare(session)
  const before = session.tap?.frames.length ?? 0
  const start = performance.now()
  await sweep.act(session, prepared)
  const found = { frames: (session.tap?.frames.length ?? 0) - before, ms: performance.now() - start }
  await session.kill()
  await sweep.judge(prepared, 'killed after the answer')
  return { ...found, countable: session.link.killAtEffect !== undefined }
}

/** Gives whether the plugin died in the call. */
async function once<T>(bench: Bench, sweep: Sweep<T>, kill: { when: string; arm(session: Session): void }): Promise<boolean> {
  const session = await bench.open({ tapped: true })
  const prepared = await sweep.prepare(session)
  kill.arm(session)
  const answered = await sweep.act(session, prepared).then(
    () => true,
    () => false,
  )
  await session.kill()
  await sweep.judge(prepared, kill.when)
  return !answered
}

function killAtFrame(session: Session, frame: number): void {
  const { tap, link } = session
  if (tap === undefined) return
  const wanted = tap.frames.length + frame
  tap.onFrame = (_way, number) => {
    if (number === wanted) void link.kill()
  }
}
