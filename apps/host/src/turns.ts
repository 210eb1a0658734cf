/** Work that is done one after the other, in the order in which it was asked for. What fails rejects for whoever asked, and the next goes on. */
export type Turns = <T>(work: () => Promise<T> | T) => Promise<T>

export function openTurns(): Turns {
  let last: Promise<unknown> = Promise.resolve()
  return (work) => {
    const mine = last.then(work)
    last = mine.catch(() => undefined)
    return mine
  }
}
