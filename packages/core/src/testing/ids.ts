/** Ids as a host chooses them, for tests. */
import { randomBytes } from 'node:crypto'
import type { ExecId } from '../provider.ts'
import type { WorkerId } from '../spec.ts'

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz'

/** 26 characters: time first (9 of them), then chance. */
function stamp(): string {
  let time = Date.now()
  let text = ''
  for (let n = 0; n < 9; n++) {
    text = (alphabet[time % 32] ?? '0') + text
    time = Math.floor(time / 32)
  }
  for (const byte of randomBytes(17)) text += alphabet[byte % 32] ?? '0'
  return text
}

export function newWorkerId(): WorkerId {
  return `w${stamp()}`
}

export function newExecId(): ExecId {
  return `x${stamp()}`
}
